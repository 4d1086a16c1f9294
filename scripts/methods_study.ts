/** What `deno task methods` runs: every method of the field on one model, one calibration and one evaluation, as it is and with its levels tuned. */
import {
  aqlm,
  type Arm,
  awq,
  billm,
  type Calibration,
  certaintyWeighted,
  choiceTasks,
  type Corpus,
  daq,
  dllmQuant,
  gptaq,
  gptq,
  levels,
  type Method,
  pt2Llm,
  rtn,
  samplerOf,
  samplerStates,
  sbvr,
  sdqLlm,
  simulateMasks,
  slimLlm,
  tasks,
  tuned,
} from "quant-dllm";
import { createWorld, WORLD_SEED, worldText } from "quant-dllm/testbed";
import { group, names, type Pair, type Plan, type Scale } from "./studies.ts";
import { batch } from "./tuning_scale.ts";

/** Windows that errors of layers are measured on beside those that calibrate. */
const heldOut = 16;
/** Steps of a tuning of levels: enough to tell, short enough for every method. */
const STEPS = 150;

/**
 * The methods by what tables call them, each at its shape nearest to two bits. Groups of 128 as far as a method has groups; SliM-LLM needs four groups for a
 * choice, which the narrow linears of the testbed have at 64; vectors of AQLM stand for four or eight weights.
 */
export const fieldMethods: Readonly<Record<string, Method>> = {
  RTN: rtn({ bits: 2, group }),
  GPTQ: gptq({ bits: 2, group }),
  GPTAQ: gptaq({ bits: 2, group }),
  AWQ: awq({ bits: 2, group }),
  "SliM-LLM": slimLlm({ bits: 2, group: 64 }),
  BiLLM: billm({ group }),
  "AQLM 2x4 g4": aqlm({ books: 2, bits: 4, group: 4 }),
  "AQLM 1x8 g8": aqlm({ books: 1, bits: 8, group: 8 }),
  "AQLM 2x8 g8": aqlm({ books: 2, bits: 8, group: 8 }),
  "PT²-LLM": pt2Llm({ group }),
  SBVR: sbvr({ sums: 2, group }),
  "SDQ-LLM": sdqLlm({ rate: 1.25, group }),
  "Quant-dLLM official": daq({ bits: 2, group, profile: "official" }),
  "Quant-dLLM plus": daq({ bits: 2, group, profile: "plus" }),
  levels: levels({ bits: 2, group }),
};

/** The same with the exact block step, where the released codes take the diagonal of the factor. */
const exact: Readonly<Record<string, Method>> = {
  BiLLM: billm({ group, compensation: "exact" }),
  SBVR: sbvr({ sums: 2, group, compensation: "exact" }),
  "SDQ-LLM": sdqLlm({ rate: 1.25, group, compensation: "exact" }),
};
const exactName = (name: string): string => `${name}, exact step`;

/** Methods whose levels are tuned too, and what that is called. */
const tunedToo = [
  "GPTQ",
  "GPTAQ",
  "AWQ",
  "SliM-LLM",
  "BiLLM",
  "AQLM 2x4 g4",
  "AQLM 1x8 g8",
  "PT²-LLM",
  "SBVR",
  "SDQ-LLM",
  "levels",
];
export const tunedName = (name: string): string => `${name} + scales`;

export function methodsStudy(scale: Scale, maskId: number): Plan {
  // The windows that are held out have timesteps of their own, spread like those that calibrate.
  const masked = (corpus: Corpus, seed: number): Calibration => {
    const of = (windows: Corpus["windows"], seed: number) => simulateMasks({ windows }, { maskId, seed });
    const used = corpus.windows.slice(0, scale.calibrationWindows), kept = corpus.windows.slice(used.length);
    const own = of(used, seed);
    if (kept.length === 0) return own;
    const rest = of(kept, seed + 1000);
    return {
      name: own.name,
      windows: [...own.windows, ...rest.windows],
      timesteps: [...own.timesteps, ...rest.timesteps],
    };
  };
  const all = [
    ...choiceTasks.map((task) => ({ task, limit: scale.items })),
    { task: tasks.elbo, limit: scale.elboWindows },
  ];
  const arm = (label: string, method?: Method): Arm => ({
    ...{ label, method, windows: scale.calibrationWindows, tasks: all },
    ...(method && { calibration: masked, heldOut }),
  });
  const steps = scale.items < 400 ? 3 : STEPS;
  const text = worldText(createWorld({ seed: WORLD_SEED }), { batch });
  const onWay: Arm = {
    ...arm("DLLMQuant", dllmQuant({ bits: 2, group })),
    // Named by the text; what it becomes needs the model.
    calibration: (corpus, seed) => ({
      ...masked(corpus, seed),
      name: "states-tmas+certainty",
      windows: corpus.windows,
    }),
    async prepare(model, { calibration, seed }) {
      const way = { seed, sampler: samplerOf(model), quotas: [0.3, 0.2, 0.2, 0.3] };
      return { calibration: await certaintyWeighted(model, await samplerStates(model, calibration!, way)) };
    },
  };
  const main = {
    id: "methods",
    title: "Every method of the field, near two bits",
    settings: [
      arm(names.full),
      ...Object.entries(fieldMethods).map(([name, method]) => arm(name, method)),
      ...Object.entries(exact).map(([name, method]) => arm(exactName(name), method)),
      onWay,
      ...tunedToo.map((name) => arm(tunedName(name), tuned(fieldMethods[name], { what: "scales", text, steps }))),
    ],
    pairs: [
      ["GPTQ", "RTN"],
      ["AWQ", "RTN"],
      ...["GPTAQ", "SliM-LLM", "DLLMQuant", "SBVR", "SDQ-LLM", "PT²-LLM", "BiLLM", "AQLM 2x4 g4", "Quant-dLLM official"]
        .map((name): Pair => [name, "GPTQ"]),
      ["levels", "GPTQ"],
      ["AQLM 2x4 g4", "levels"],
      ["AQLM 2x4 g4", "Quant-dLLM plus"],
      ["SliM-LLM", "levels"],
      ...Object.keys(exact).map((name): Pair => [exactName(name), name]),
      ...tunedToo.map((name): Pair => [tunedName(name), name]),
      [tunedName("AQLM 2x4 g4"), tunedName("levels")],
      [names.full, tunedName("AQLM 2x4 g4")],
    ] as const satisfies readonly Pair[],
  };
  return { main, ablations: [], points: [] };
}
