/**
 * Reproduces the paper's comparison and ablations on the nano testbed: rows, tables, figures.
 *   deno task reproduce [--quick] [--seeds 3] [--device auto] [--model data/nano-llada] [--out results/reproduce]
 * Every finished arm is stored at once: a run that was stopped goes on where it was when it is started again with the same options.
 */
import { parseArgs } from "@std/cli/parse-args";
import {
  type Arm,
  type Device,
  encodeRows,
  fastKernels,
  identityOf,
  loadCorpus,
  loadModel,
  measure,
  type Measurement,
  ProgressMeter,
} from "quant-dllm";
import { writeReport } from "./reproduce_report.ts";
import { full, quick, studies, type Study } from "./studies.ts";

const args = parseArgs(Deno.args, {
  boolean: ["quick", "help"],
  string: ["seeds", "device", "model", "out"],
  default: { device: "auto", model: "data/nano-llada" },
  unknown: (option: string) => {
    console.error(
      `Unknown option ${option}. Options: --quick, --seeds N, --device auto|cpu|webgpu|cuda, --model DIR, --out DIR`,
    );
    Deno.exit(2);
  },
});
if (args.help) {
  console.log("deno task reproduce [--quick] [--seeds N] [--device auto|cpu|webgpu|cuda] [--model DIR] [--out DIR]");
  Deno.exit(0);
}
const base = args.quick ? quick : full;
const seedCount = Number(args.seeds ?? base.seeds.length);
if (!(Number.isInteger(seedCount) && seedCount > 0)) {
  console.error(`--seeds is ${args.seeds}, wanted a positive integer`);
  Deno.exit(2);
}
const scale = { ...base, seeds: Array.from({ length: seedCount }, (_, i) => i + 1) };
const out = args.out ?? (args.quick ? "results/quick" : "results/reproduce");
const plan = studies(scale);
const all: Study[] = [plan.main, ...plan.ablations, ...(args.quick ? [] : [plan.curve])];

await Deno.mkdir(out, { recursive: true });
const store = `${out}/arms.jsonl`;
const measured = await readMeasurements(store);

await using model = await loadModel(args.model, { device: args.device as Device });
await using kernels = fastKernels(model.engine.runtime);
const corpus = (count: number, seed: number) =>
  loadCorpus("data/nanoworld/calibration.jsonl", { tokenizer: model.tokenizer, count, length: 64, seed });

// Studies share arms: each is measured once.
const wanted = new Map<string, { arm: Arm; seed: number }>();
for (const seed of scale.seeds) {
  for (const arm of all.flatMap(({ settings }) => settings)) wanted.set(identityOf(arm, seed), { arm, seed });
}
const open = [...wanted].filter(([identity]) => !measured.has(identity));
const meter = new ProgressMeter({
  label: `${args.quick ? "quick " : ""}reproduce`,
  total: wanted.size,
  before: wanted.size - open.length,
  unit: "arms",
  now: () => performance.now(),
  write: (text) => void Deno.stderr.writeSync(new TextEncoder().encode(text)),
  terminal: Deno.stderr.isTerminal(),
  width: () => Deno.consoleSize().columns,
});
const stop = new AbortController();
Deno.addSignalListener("SIGINT", () => stop.abort(new Error("interrupted")));
let done = wanted.size - open.length;
try {
  for (const [identity, { arm, seed }] of open) {
    const note = `${arm.label}, seed ${seed}`;
    const result = await measure(model, arm, {
      seed,
      corpus,
      kernels,
      signal: stop.signal,
      onProgress: (share) => meter.update(done + share, note),
    });
    await Deno.writeTextFile(store, JSON.stringify(result) + "\n", { append: true });
    measured.set(identity, result);
    meter.update(++done, note);
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
  console.error(`\nStopped after ${done} of ${wanted.size} arms; run the same command to go on.`);
  Deno.exit(130);
}
meter.finish("all arms measured");

const find = (arm: Arm, seed: number) => measured.get(identityOf(arm, seed))!;
const rows = await writeReport({ out, scale, model, plan, all, find });
await Deno.writeTextFile(`${out}/rows.jsonl`, encodeRows(rows));
console.log(JSON.stringify({ rows, out }));

/** The stored arms by identity; a last line that was cut off by a kill is left out and measured again. */
async function readMeasurements(path: string): Promise<Map<string, Measurement>> {
  let text = "";
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const complete = text.slice(0, text.lastIndexOf("\n") + 1);
  if (complete !== text) await Deno.writeTextFile(path, complete);
  const list = complete.split("\n").filter(Boolean).map((line) => JSON.parse(line) as Measurement);
  return new Map(list.map((m) => [m.identity, m]));
}
