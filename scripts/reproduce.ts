/**
 * Reproduces the paper's comparison and ablations on the nano testbed: rows, tables, figures.
 *   deno task reproduce [--quick] [--seeds 3] [--device auto] [--model data/nano-llada] [--out results/reproduce]
 * Every finished arm is stored at once: a run that was stopped goes on where it was when it is started again with the same options. Stored arms serve
 * where they are of the same options, model, data and code.
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
import { armInputs } from "./inputs.ts";
import { interruptSignal, main, meter, positiveInteger, readOptions } from "./cli.ts";
import { writeReport } from "./reproduce_report.ts";
import { full, quick, studies } from "./studies.ts";

const options = readOptions("deno task reproduce [options]", {
  quick: { default: false, help: "one seed and few items: under a minute; decides nothing" },
  seeds: { default: "", help: "number of seeds; 5, or 1 with --quick" },
  device: { default: "auto", help: "auto, cpu, webgpu or cuda" },
  model: { default: "data/nano-llada", help: "checkpoint folder" },
  out: { default: "", help: "folder for rows, tables and figures; results/reproduce, or results/quick" },
});
const base = options.quick ? quick : full;
const seedCount = options.seeds ? positiveInteger("seeds", options.seeds) : base.seeds.length;
const out = options.out || (options.quick ? "results/quick" : "results/reproduce");
/** Where calibration windows come from, and their tokens. */
const [text, length] = ["data/nanoworld/calibration.jsonl", 64];
const scale = { ...base, seeds: Array.from({ length: seedCount }, (_, i) => i + 1) };

await main(async () => {
  await Deno.mkdir(out, { recursive: true });
  const store = join(out, "arms.jsonl");
  const measured = await readMeasurements(store);
  await using model = await loadModel(options.model, { device: options.device as Device });
  await using kernels = fastKernels(model.engine.runtime);
  const plan = studies(scale, model.maskId);
  const arms = [plan.main, ...plan.ablations].flatMap(({ settings }) => settings).concat(plan.points.map((p) => p.arm));
  const corpus = (count: number, seed: number) => loadCorpus(text, { tokenizer: model.tokenizer, count, length, seed });
  const inputs = await armInputs({
    model: options.model,
    device: model.engine.runtime.device,
    corpus: text,
    length,
    tasks: [...new Set(arms.flatMap(({ tasks }) => tasks.map(({ task }) => task)))],
  });

  // Studies share arms: each is measured once, on all the tasks that any of them asks for.
  const subject = (arm: Arm) => identityOf({ ...arm, tasks: [] }, { seed: 0, inputs });
  const whole = new Map<string, Arm>();
  for (const arm of arms) {
    const held = whole.get(subject(arm));
    const tasks = [...held?.tasks ?? [], ...arm.tasks].filter(({ task }, i, all) =>
      all.findIndex((other) => other.task === task) === i
    );
    whole.set(subject(arm), { ...arm, label: held?.label ?? arm.label, tasks });
  }
  const identity = (arm: Arm, seed: number) => identityOf(whole.get(subject(arm))!, { seed, inputs });
  const wanted = scale.seeds.flatMap((seed) =>
    [...whole.values()].map((arm) => ({ arm, seed, name: identity(arm, seed) }))
  );
  const open = wanted.filter(({ name }) => !measured.has(name));
  let done = wanted.length - open.length;
  const progress = meter(options.quick ? "quick reproduce" : "reproduce", wanted.length, "arms", done);
  const signal = interruptSignal();
  for (const { arm, seed, name } of open) {
    const note = `${arm.label}, seed ${seed}`;
    const onProgress = (share: number) => progress.update(done + share, note);
    let result: Stored;
    try {
      const measurement = await measure(model, arm, { seed, corpus, kernels, signal, onProgress });
      const rows = measurement.rows.map((row) => ({ ...row, codeVersion: inputs.code }));
      result = { identity: name, ...measurement, rows };
    } catch (error) {
      if (!signal.aborted) throw error;
      throw new Error(`stopped after ${done} of ${wanted.length} arms; run the same command to go on`);
    }
    await Deno.writeTextFile(store, JSON.stringify(result) + "\n", { append: true });
    measured.set(name, result);
    progress.update(++done, note);
  }
  progress.finish("all arms measured");
  // As a study asked for it: its own label and tasks.
  const find = (arm: Arm, seed: number): Measurement => {
    const { rows, items, ...rest } = measured.get(identity(arm, seed))!;
    const own = rows.filter(({ task }) => arm.tasks.some((t) => t.task.id === task));
    return { ...rest, items, label: arm.label, rows: own.map((row) => ({ ...row, label: arm.label })) };
  };
  await writeReport({ out, scale, model, plan, find });
  const rows = wanted.flatMap(({ arm, name }) => measured.get(name)!.rows.map((row) => ({ ...row, label: arm.label })));
  await Deno.writeTextFile(join(out, "rows.jsonl"), encodeRows(rows));
  console.log(JSON.stringify({ rows: rows.length, out }));
});

/** A measurement as it stands in the store, under the identity of what was measured. */
type Stored = Measurement & { readonly identity: string };

/** The stored arms by identity; a last line that was cut off by a kill is left out and measured again. */
async function readMeasurements(path: string): Promise<Map<string, Stored>> {
  let text = "";
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const complete = text.slice(0, text.lastIndexOf("\n") + 1);
  if (complete !== text) await Deno.writeTextFile(path, complete);
  const list = complete.split("\n").filter(Boolean).map((line) => JSON.parse(line) as Stored);
  return new Map(list.map((m) => [m.identity, m]));
}
