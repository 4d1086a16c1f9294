/** The plans of `reproduce` by name, made alike by the process that gathers and by those that measure. */
import type { Arm, Corpus, MarkedText, Model } from "quant-dllm";
import { loadCorpus } from "quant-dllm";
import { createWorld, WORLD_SEED, worldText } from "quant-dllm/testbed";
import { refuse } from "./options.ts";
import { methodsStudy } from "./methods_study.ts";
import { secondWorld, secondWorldStudy } from "./second_world.ts";
import { full, type Plan, quick, type Scale, studies } from "./studies.ts";
import { measuredLast, tuningFull, tuningQuick, type TuningScale } from "./tuning_scale.ts";
import { tuningStudies } from "./tuning_studies.ts";

export const studyNames = ["paper", "tuning", "second-world", "methods"] as const;
export type StudyName = typeof studyNames[number];

/** What names a plan: plain data, so that it can be handed to another thread. */
export interface PlanName {
  readonly study: StudyName;
  readonly quick: boolean;
  /** Ids of the studies that are wanted; all when absent. */
  readonly only?: readonly string[];
  /** Number of seeds; that of the scale when absent. */
  readonly seeds?: number;
}

export interface NamedPlan {
  readonly plan: Plan;
  readonly scale: Scale;
  /** Every arm once for each study that asks for it. */
  readonly arms: readonly Arm[];
  /** Windows on which divergences are measured. */
  readonly judge?: MarkedText;
}

/** Tokens of a calibration window. */
export const calibrationLength = 64;

/** Where a study's calibration windows come from. */
export const calibrationFile = (study: StudyName): string =>
  `${study === "second-world" ? secondWorld.folder : "data"}/nanoworld/calibration.jsonl`;

/** Which model a study is of, unless another is asked for. */
export const modelOf = (study: StudyName): string =>
  `${study === "second-world" ? secondWorld.folder : "data"}/nano-llada`;

export function planOf({ study, quick: isQuick, seeds, only }: PlanName, { maskId }: Model): NamedPlan {
  const base = study === "paper" ? isQuick ? quick : full : isQuick ? tuningQuick : tuningFull;
  const scale = seeds === undefined ? base : { ...base, seeds: Array.from({ length: seeds }, (_, i) => i + 1) };
  const make =
    { paper: studies, tuning: tuningStudies, "second-world": secondWorldStudy, methods: methodsStudy }[study];
  const whole = make(scale as TuningScale, maskId);
  const plan = only ? chosen(study, whole, only) : whole;
  const known = [whole.main, ...whole.ablations].map(({ id }) => id), unknown = only?.find((id) => !known.includes(id));
  if (unknown !== undefined) {
    refuse(`--only has ${JSON.stringify(unknown)}, wanted of ${known.join(", ")}`);
  }
  const mentioned = [plan.main, ...plan.ablations].flatMap(({ settings }) => settings);
  const late = (arm: Arm) => study === "tuning" && measuredLast.includes(arm.label);
  const arms = [
    ...mentioned.filter((arm) => !late(arm)),
    ...mentioned.filter(late),
    ...plan.points.map(({ arm }) => arm),
  ];
  if (study === "paper") return { plan, scale, arms };
  const seed = study === "second-world" ? secondWorld.seed : WORLD_SEED;
  return { plan, scale, arms, judge: judgeOf(isQuick ? 32 : 128, seed) };
}

/** Of a plan the studies with these ids; without its id the main study of tuning has no arms, all others stand on theirs. */
function chosen(study: StudyName, { main, ablations, points }: Plan, ids: readonly string[]): Plan {
  const kept = study !== "tuning" || ids.includes(main.id);
  return {
    main: kept ? main : { ...main, settings: [], pairs: [] },
    ablations: ablations.filter(({ id }) => ids.includes(id)),
    points,
  };
}

/** Statements of the world that no text teaches and no task asks. */
const judgeOf = (batch: number, seed: number): MarkedText =>
  worldText(createWorld({ seed }), { batch, split: "validation" }).draw(0, 1);

/** Draws the windows to calibrate on. */
export const corpusOf = (study: StudyName, { tokenizer }: Model) => (count: number, seed: number): Promise<Corpus> =>
  loadCorpus(calibrationFile(study), { tokenizer, count, length: calibrationLength, seed });
