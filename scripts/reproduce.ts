/**
 * Reproduces the paper's comparison and ablations on the nano testbed: rows, tables, figures.
 *   deno task reproduce [--quick] [--seeds 3] [--device auto] [--model data/nano-llada] [--out results/reproduce]
 * Every finished arm is stored at once: a run that was stopped goes on where it was when it is started again with the same options.
 */
import { join } from "@std/path";
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
} from "quant-dllm";
import { interruptSignal, main, meter, positiveInteger, readOptions } from "./cli.ts";
import { writeReport } from "./reproduce_report.ts";
import { full, quick, studies, type Study } from "./studies.ts";

const options = readOptions("deno task reproduce [options]", {
  quick: { default: false, help: "one seed and small limits: under a minute" },
  seeds: { default: "", help: "number of seeds; 3, or 1 with --quick" },
  device: { default: "auto", help: "auto, cpu, webgpu or cuda" },
  model: { default: "data/nano-llada", help: "checkpoint folder" },
  out: { default: "", help: "folder for rows, tables and figures; results/reproduce, or results/quick" },
});
const base = options.quick ? quick : full;
const seedCount = options.seeds ? positiveInteger("seeds", options.seeds) : base.seeds.length;
const out = options.out || (options.quick ? "results/quick" : "results/reproduce");
const scale = { ...base, seeds: Array.from({ length: seedCount }, (_, i) => i + 1) };

await main(async () => {
  await Deno.mkdir(out, { recursive: true });
  const store = join(out, "arms.jsonl");
  const measured = await readMeasurements(store);
  await using model = await loadModel(options.model, { device: options.device as Device });
  await using kernels = fastKernels(model.engine.runtime);
  const plan = studies(scale, model.maskId);
  const all: Study[] = [plan.main, ...plan.ablations, ...(options.quick ? [] : [plan.curve])];
  const corpus = (count: number, seed: number) =>
    loadCorpus("data/nanoworld/calibration.jsonl", { tokenizer: model.tokenizer, count, length: 64, seed });

  // Studies share arms: each is measured once.
  const wanted = new Map<string, { arm: Arm; seed: number }>();
  for (const seed of scale.seeds) {
    for (const arm of all.flatMap(({ settings }) => settings)) wanted.set(identityOf(arm, seed), { arm, seed });
  }
  const open = [...wanted].filter(([identity]) => !measured.has(identity));
  let done = wanted.size - open.length;
  const progress = meter(options.quick ? "quick reproduce" : "reproduce", wanted.size, "arms", done);
  const signal = interruptSignal();
  for (const [identity, { arm, seed }] of open) {
    const note = `${arm.label}, seed ${seed}`;
    const onProgress = (share: number) => progress.update(done + share, note);
    let result: Measurement;
    try {
      result = await measure(model, arm, { seed, corpus, kernels, signal, onProgress });
    } catch (error) {
      if (!signal.aborted) throw error;
      throw new Error(`stopped after ${done} of ${wanted.size} arms; run the same command to go on`);
    }
    await Deno.writeTextFile(store, JSON.stringify(result) + "\n", { append: true });
    measured.set(identity, result);
    progress.update(++done, note);
  }
  progress.finish("all arms measured");
  const find = (arm: Arm, seed: number) => measured.get(identityOf(arm, seed))!;
  const rows = await writeReport({ out, scale, model, plan, all, find });
  await Deno.writeTextFile(join(out, "rows.jsonl"), encodeRows(rows));
  console.log(JSON.stringify({ rows, out }));
});

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
