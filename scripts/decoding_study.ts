/**
 * What quantisation does to decoding: models write answers of several tokens with a sampler that commits as much as it is sure of.
 * `deno task reproduce --study decoding`: seven models, five seeds, a line for each in `decoding.jsonl`, gone on with when it is started again.
 */
import { join } from "@std/path";
import {
  apdSampler,
  type ArmInputs,
  armMean,
  compare,
  type Comparison,
  curves,
  daq,
  type Decoded,
  decodingOf,
  encodeRows,
  gptq,
  levels,
  lladaSampler,
  loadCorpus,
  type Method,
  type Metric,
  type Model,
  type Outcomes,
  promptsOf,
  quantize,
  type Row,
  rtn,
  type Sampler,
  simulateMasks,
  sizeOf,
  type Table,
  tasks,
  textTable,
  tuned,
} from "quant-dllm";
import { createWorld, WORLD_SEED, worldText } from "quant-dllm/testbed";
import { meter } from "./cli.ts";
import { armInputs } from "./inputs.ts";
import { calibrationFile, calibrationLength } from "./plans.ts";
import { renderPng } from "./render.ts";
import { readStored } from "./stored.ts";
import { group, names } from "./studies.ts";
import { pairLines } from "./tables.ts";
import { batch, ratesFor } from "./tuning_scale.ts";
import type { Verdict } from "./verdicts.ts";

export interface DecodingScale {
  readonly seeds: readonly number[];
  readonly prompts: number;
  readonly windows: number;
  /** Of the tuned model. */
  readonly steps: number;
}
export const decodingFull: DecodingScale = { seeds: [1, 2, 3, 4, 5], prompts: 200, windows: 128, steps: 400 };
export const decodingQuick: DecodingScale = { seeds: [1], prompts: 12, windows: 32, steps: 4 };

/** Tasks whose right answers have several tokens. */
const asked = [tasks.nano_bbh, tasks.nano_arc_challenge];

/** One token a pass, and what is sure enough at once. */
const samplers: readonly Sampler[] = [
  lladaSampler(),
  ...[0.9, 0.7, 0.5].map((threshold) => lladaSampler({ threshold })),
  ...[0.5, 0.9].map((mix) => apdSampler({ mix })),
];
const [single, usual] = samplers;

/** Models by what tables call them; full precision has no method. */
function arms({ steps }: DecodingScale): readonly { readonly label: string; readonly method?: Method }[] {
  const text = worldText(createWorld({ seed: WORLD_SEED }), { batch });
  const uniform = levels({ bits: 2, group });
  return [
    { label: names.full },
    { label: "RTN", method: rtn({ bits: 2, group }) },
    { label: "GPTQ", method: gptq({ bits: 2, group }) },
    { label: "official", method: daq({ bits: 2, group, profile: "official" }) },
    { label: "plus", method: daq({ bits: 2, group }) },
    { label: "levels", method: uniform },
    { label: "levels + codes", method: tuned(uniform, { what: "codes", text, steps, ...ratesFor(steps) }) },
  ];
}

const pairs: readonly (readonly [a: string, b: string])[] = [
  ["RTN", names.full],
  ["GPTQ", names.full],
  ["official", names.full],
  ["plus", names.full],
  ["levels", names.full],
  ["levels + codes", names.full],
  ["levels + codes", "levels"],
];

/** What one model did at one seed: per sampler the answers, and what counts them. */
interface Line {
  readonly label: string;
  readonly seed: number;
  /** Digests of code, model, texts and tasks: a line serves while they are the same. */
  readonly inputs: ArmInputs;
  readonly scale: DecodingScale;
  readonly bitsPerWeight: number;
  readonly method: string;
  /** By the sampler's name. */
  readonly decoded: Readonly<Record<string, readonly Answer[]>>;
}
type Answer = Omit<Decoded, "tokens">;

/** Measures what `out` does not hold yet, and reports. */
export async function decodingStudy(
  model: Model,
  { out, scale, location, signal }: {
    readonly out: string;
    readonly scale: DecodingScale;
    /** Where the model was read. */
    readonly location: string;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  await Deno.mkdir(join(out, "figures"), { recursive: true });
  const store = join(out, "decoding.jsonl"), stored = await readStored<Line>(store);
  const all = arms(scale), total = all.length * scale.seeds.length;
  const { device } = model.engine.runtime, corpus = calibrationFile("paper"), length = calibrationLength;
  const inputs = await armInputs({ model: location, device, corpus, length, tasks: asked });
  const key = JSON.stringify([scale, inputs]);
  const of = (label: string, seed: number) =>
    stored.find((line) =>
      line.label === label && line.seed === seed && JSON.stringify([line.scale, line.inputs]) === key
    );
  const before = all.flatMap(({ label }) => scale.seeds.filter((seed) => of(label, seed))).length;
  const progress = meter("reproduce decoding", total, "arms", before);
  let done = before;
  for (const { label, method } of all) {
    for (const seed of scale.seeds) {
      if (of(label, seed)) continue;
      // Nothing of full precision depends on the seed at temperature 0.
      const first = method ? undefined : of(label, scale.seeds[0]);
      const line = first ? { ...first, seed } : await measured(model, label, method, { seed, scale, inputs, signal });
      await Deno.writeTextFile(store, `${JSON.stringify(line)}\n`, { append: true });
      stored.push(line);
      progress.update(++done, `${label}, seed ${seed}`);
    }
  }
  progress.finish("all arms measured");
  await report(out, all.map(({ label }) => scale.seeds.map((seed) => of(label, seed)!)));
}

async function measured(
  model: Model,
  label: string,
  method: Method | undefined,
  { seed, scale, inputs, signal }: Pick<Line, "seed" | "scale" | "inputs"> & { readonly signal: AbortSignal },
): Promise<Line> {
  const { tokenizer, maskId } = model;
  const draw = { tokenizer, count: scale.windows, length: calibrationLength, seed };
  const calibration = simulateMasks(await loadCorpus(calibrationFile("paper"), draw), { maskId, seed });
  const quantized = method ? await quantize(model, method, { calibration, seed, signal }) : model;
  const sets = await Promise.all(asked.map((task) => promptsOf(task, tokenizer)));
  const items = sets.flatMap(({ items }) => items.slice(0, scale.prompts));
  const decoded: Record<string, Answer[]> = {};
  for (const sampler of samplers) {
    const options = { sampler, reference: model, seed, now: () => performance.now(), signal };
    await decodingOf(quantized, { id: "answers", version: asked[0].version, items }, {
      ...options,
      onDecoded: (answers) => decoded[sampler.name] = answers.map(({ tokens: _, ...answer }) => answer),
    });
  }
  const { bitsPerWeight } = sizeOf(quantized), name = method?.name ?? "fp";
  return { label, seed, inputs, scale, bitsPerWeight, method: name, decoded };
}

/** Per answer: a value and what it is a share of. */
const measures: Readonly<Record<string, (answer: Answer) => readonly [value: number, of: number]>> = {
  accuracy: ({ right }) => [Number(right), 1],
  "passes per token": ({ passes, length }) => [passes, length],
  "passes per span": ({ spanPasses, spans }) => [spanPasses, spans],
  "spans at the cap": ({ capped, spans }) => [capped, spans],
  "flipped commits": ({ flips, length }) => [flips!, length],
  "tokens per second": ({ length, seconds }) => [length, seconds!],
};

async function report(out: string, all: readonly (readonly Line[])[]): Promise<void> {
  const rows = all.flatMap((lines) => samplers.flatMap(({ name }) => rowsOf(lines, name)));
  const verdicts = [single, usual].flatMap(({ name }) =>
    pairs.flatMap(([a, b]) =>
      (["accuracy", "passes per token"] as const)
        // One token a pass takes as many passes for all.
        .filter((metric) => name !== single.name || metric === "accuracy")
        .map((metric): Verdict => {
          const [ours, theirs] = [a, b].map((label) => all.find(([line]) => line.label === label)!);
          const compared: Comparison = compare(outcomes(ours, name, metric), outcomes(theirs, name, metric));
          return { study: name, bits: [ours[0].bitsPerWeight, theirs[0].bitsPerWeight], ...compared };
        })
    )
  );
  const figure = decodingFigure(rows), file = join(out, "figures", "decoding");
  await Deno.writeTextFile(`${file}.svg`, await figure.toSvg());
  await renderPng(`${file}.svg`, `${file}.png`, { patience: 100 });
  await Deno.writeTextFile(join(out, "means.jsonl"), encodeRows(rows));
  await Deno.writeTextFile(join(out, "verdicts.jsonl"), verdicts.map((v) => `${JSON.stringify(v)}\n`).join(""));
  console.error(`\n${decodingTable(rows).toText()}\n\n${decodingClaims(verdicts)}`);
  console.log(JSON.stringify({ rows: rows.length, out }));
}

function outcomes(lines: readonly Line[], sampler: string, metric: Metric): Outcomes {
  const value = (answer: Answer) => {
    const [a, b] = measures[metric](answer);
    return a / b;
  };
  const matrix = lines.map(({ decoded }) => decoded[sampler].map(value));
  const seedless = ["fp"].includes(lines[0].method) || lines[0].method.startsWith("rtn-");
  return {
    label: lines[0].label,
    metric,
    seeds: lines.map(({ seed }) => seed),
    items: { [sampler]: matrix },
    seedless,
  };
}

function rowsOf(lines: readonly Line[], sampler: string): Row[] {
  const [{ label, method, bitsPerWeight, seed, inputs }] = lines, seeds = lines.length;
  const n = lines[0].decoded[sampler].length;
  return Object.entries(measures).map(([metric, of]): Row => {
    const perSeed = lines.map(({ decoded }) => {
      const pairs = decoded[sampler].map(of);
      return pairs.reduce((sum, [a]) => sum + a, 0) / pairs.reduce((sum, [, b]) => sum + b, 0);
    });
    const value = perSeed.reduce((a, b) => a + b, 0) / seeds;
    // Over seeds and prompts where a comparison knows both, over seeds else.
    const crossed = metric === "accuracy" || metric === "passes per token";
    const spread = Math.sqrt(perSeed.reduce((s, x) => s + (x - value) ** 2, 0) / Math.max(1, seeds - 1) / seeds);
    const standardError = crossed ? armMean(outcomes(lines, sampler, metric)).standardError : spread;
    const same = { method, bitsPerWeight, seed, taskVersion: asked[0].version, codeVersion: inputs.code };
    return { ...same, study: "decoding", label, task: sampler, metric, value, standardError, n, seeds };
  });
}

/** Accuracy against passes per token, a curve for each model and kind of sampler. */
export function decodingFigure(rows: readonly Row[]) {
  const at = (row: Row) =>
    rows.find((r) => r.label === row.label && r.task === row.task && r.metric === "passes per token")!;
  const shown = rows.filter(({ metric, task }) => metric === "accuracy" && !task.startsWith("apd"));
  return curves(
    shown.map((row): Row => ({ ...row, task: "answers", "passes per token": at(row).value })),
    { x: "passes per token", value: "accuracy (%)", scale: 100, linear: true, title: "What faster decoding costs" },
  );
}

/** What README shows. */
export const usualSampler = usual.name;

/** One line for each model and sampler, or those samplers alone. */
export function decodingTable(rows: readonly Row[], only = samplers.map(({ name }) => name)): Table {
  const lines = [
    ...Map.groupBy(rows.filter(({ task }) => only.includes(task)), ({ label, task }) => `${task}|${label}`).values(),
  ].map((own) => {
    const cell = (metric: string, scale: number, digits: number) => {
      const { value, standardError } = own.find((row) => row.metric === metric)!;
      return `${(scale * value).toFixed(digits)} ± ${(scale * standardError).toFixed(digits)}`;
    };
    const [{ task, label, bitsPerWeight }] = own;
    return [
      task,
      String(label),
      bitsPerWeight.toFixed(3),
      cell("accuracy", 100, 1),
      cell("passes per token", 1, 3),
      cell("passes per span", 1, 2),
      cell("spans at the cap", 100, 1),
      cell("flipped commits", 100, 1),
    ];
  });
  const order = samplers.map(({ name }) => name);
  lines.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  const heads = [
    "sampler",
    "model",
    "bits",
    "right (%)",
    "passes per token",
    "per span",
    "at the cap (%)",
    "flipped (%)",
  ];
  return textTable(heads, lines, {
    labels: 2,
    caption:
      "Mean ± standard error, of accuracy and passes per token over seeds and prompts, of all else over seeds; a span is an answer",
  });
}

/** The sentences on decoding, by sampler. */
export function decodingClaims(verdicts: readonly Verdict[]): string {
  return [...Map.groupBy(verdicts, ({ study }) => study)].map(([sampler, own]) => {
    const [{ n, seeds }] = own;
    return [`\`${sampler}\` (${n} prompts, ${seeds} seeds):`, "", ...pairLines(own)].join("\n");
  }).join("\n\n");
}
