/**
 * Reproduces the paper's comparison and ablations on the nano testbed: rows, tables, figures.
 *   deno task reproduce [--study tuning|second-world|methods|decoding] [--quick] [--seeds 3] [--device auto] [--model DIR] [--out results/reproduce]
 * Every finished arm is stored at once: a run that was stopped goes on where it was when it is started again with the same options. Stored arms serve
 * where they are of the same options, model, data and code.
 */
import { join } from "@std/path";
import { type Arm, type Device, encodeRows, identityOf, loadModel, type Measurement } from "quant-dllm";
import { type ArmRequest, measureAll } from "./arm_workers.ts";
import { armInputs } from "./inputs.ts";
import {
  count as positive,
  deviceOption,
  interruptSignal,
  isGiven,
  main,
  meter,
  oneOf,
  readOptions,
  refuse,
} from "./cli.ts";
import {
  calibrationFile,
  calibrationLength,
  modelOf,
  type PlanName,
  planOf,
  type StudyName,
  studyNames,
} from "./plans.ts";
import { decodingFull, decodingQuick, decodingStudy } from "./decoding_study.ts";
import { acrossOption, checkOneDevice } from "./one_device.ts";
import { secondWorldRemedy } from "./second_world.ts";
import { writeMethodsReport } from "./methods_report.ts";
import { writeReport } from "./reproduce_report.ts";
import { writeTuningReport } from "./tuning_report.ts";
import type { Plan, Study } from "./studies.ts";
import { keyOf, measureOnSlurm } from "./slurm.ts";
import { readStored } from "./stored.ts";
import { wholeArms } from "./whole_arms.ts";

const options = readOptions("deno task reproduce [options]", {
  study: {
    default: "paper",
    check: oneOf(...studyNames, "decoding"),
    help:
      "paper (its comparison and ablations), tuning (towards the model's loss), second-world, methods (of the field), or decoding",
  },
  quick: { default: false, help: "one seed and few items: under a minute; decides nothing" },
  report: { default: false, help: "measure nothing: report on the arms that are there for every seed" },
  only: { default: "", help: "studies by their ids, with commas; all by default" },
  seeds: { default: "", help: "number of seeds; 5, or 1 with --quick", check: positive() },
  workers: {
    default: "auto",
    help: "arms measured at once; auto: 1 for paper, one for each core for tuning",
    check: positive("auto"),
  },
  launcher: {
    default: "local",
    help:
      "where arms are measured: local, or slurm (a job array; all nodes must see the folder of --out; --device is theirs)",
    check: oneOf("local", "slurm"),
  },
  "slurm-options": {
    default: "",
    help: 'options of sbatch, with spaces between: --slurm-options="--partition=gpu --time=60"',
  },
  device: deviceOption,
  "across-devices": acrossOption,
  model: { default: "", help: "checkpoint folder; data/nano-llada, or the second world's", path: true },
  out: {
    default: "",
    help: "folder for rows, tables and figures; results/reproduce, results/tuning or results/quick",
    path: true,
  },
});
const writes = options.study === "decoding";
const study = writes ? "paper" : options.study as StudyName;
const location = options.model || modelOf(study);
const folder = options.study === "paper"
  ? options.quick ? "quick" : "reproduce"
  : options.quick
  ? `${options.study}-quick`
  : options.study;
const out = options.out || `results/${folder}`;
const cores = navigator.hardwareConcurrency;
const count = options.workers === "auto" ? study === "paper" ? 1 : cores : Number(options.workers);
const name: PlanName = {
  study,
  quick: options.quick,
  ...(options.only && { only: options.only.split(",") }),
  ...(options.seeds && { seeds: Number(options.seeds) }),
};

if (options["slurm-options"] !== "" && options.launcher === "local") {
  refuse("--slurm-options is for --launcher slurm");
}

await main(async () => {
  if (writes) return await decoding();
  if (study === "second-world" && !options.model) await checkSecondWorld(location);
  await Deno.mkdir(out, { recursive: true });
  const store = join(out, "arms.jsonl");
  const measured = new Map((await readStored<Stored>(store)).map((m) => [m.identity, m]));
  // Nodes may have a device that this machine has not: it only names the arms, and reports.
  const ofNodes = options.launcher === "slurm" && options.device !== "auto" ? options.device as Device : undefined;
  await using model = await loadModel(location, { device: ofNodes ? "cpu" : options.device as Device });
  const { plan: whole, scale, arms } = planOf(name, model);
  const device = ofNodes ?? model.engine.runtime.device;
  const inputs = await armInputs({
    ...{ model: location, device, corpus: calibrationFile(study), length: calibrationLength },
    tasks: [...new Set(arms.flatMap(({ tasks }) => tasks.map(({ task }) => task)))],
  });
  const { list, of } = wholeArms(arms, inputs);
  const identity = (arm: Arm, seed: number) => identityOf(of(arm), { seed, inputs });
  const there = (arm: Arm) => scale.seeds.every((seed) => measured.has(identity(arm, seed)));
  const plan = options.report ? partOf(whole, there) : whole;
  const places = list.map((arm, place) => ({ arm, place })).filter(({ arm }) => !options.report || there(arm));
  // Seeds of one arm after another where arms take long, so that a stopped run has verdicts on some; else every arm at a seed.
  const wanted = (study === "paper"
    ? scale.seeds.flatMap((seed) =>
      places.map((p) => ({ ...p, seed }))
    )
    : places.flatMap((p) => scale.seeds.map((seed) => ({ ...p, seed }))))
    .map(({ arm, place, seed }) => ({ arm, place, seed, name: identity(arm, seed) }));
  const open = wanted.filter(({ name }) => !measured.has(name));
  const before = wanted.length - open.length;
  const progress = meter(options.quick ? `quick ${study}` : `reproduce ${study}`, wanted.length, "arms", before);
  const signal = interruptSignal();
  const titleOf = ({ arm, seed }: { readonly arm: number; readonly seed: number }) =>
    `${list[arm].label}, seed ${seed}`;
  try {
    const threads = count > 1 ? Math.max(1, Math.floor(cores / count)) : 0;
    const work = {
      ...{ name, model: location, device, threads, inputs, signal },
      async onMeasured({ arm, seed }: ArmRequest, measurement: Measurement) {
        const rows = measurement.rows.map((row) => ({ ...row, codeVersion: inputs.code }));
        const result: Stored = { identity: identity(list[arm], seed), ...measurement, rows };
        await Deno.writeTextFile(store, JSON.stringify(result) + "\n", { append: true });
        measured.set(result.identity, result);
      },
      onProgress: (done: number, latest: ArmRequest) => progress.update(before + done, titleOf(latest)),
    };
    const requests = open.map(({ place, seed, name }) => ({
      arm: place,
      seed,
      key: keyOf(name),
      title: titleOf({ arm: place, seed }),
    }));
    if (options.launcher === "local") await measureAll(requests, { ...work, count });
    else {
      const sbatch = options["slurm-options"].split(" ").filter(Boolean);
      await measureOnSlurm(requests, { ...work, threads: 0, folder: join(out, "slurm"), sbatch });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    const done = wanted.filter(({ name }) => measured.has(name)).length;
    const jobs = options.launcher === "slurm" ? ` (the jobs go on; scancel $(cat ${out}/slurm/job) ends them)` : "";
    throw new Error(`stopped after ${done} of ${wanted.length} arms${jobs}; run the same command to go on`);
  }
  progress.finish("all arms measured");
  const all = wanted.flatMap(({ name }) => measured.get(name)!.rows);
  checkOneDevice(all, { across: options["across-devices"] });
  // As a study asked for it: its own label and tasks.
  const find = (arm: Arm, seed: number): Measurement => {
    const { rows, items, ...rest } = measured.get(identity(arm, seed))!;
    const own = rows.filter(({ task }) => arm.tasks.some((t) => t.task.id === task));
    // Without platforms they are compared whatever they were measured on.
    const said = options["across-devices"] ? { platform: undefined } : {};
    return { ...rest, items, label: arm.label, rows: own.map((row) => ({ ...row, label: arm.label, ...said })) };
  };
  const write = study === "paper" ? writeReport : study === "methods" ? writeMethodsReport : writeTuningReport;
  await write({ out, scale, model, plan, find });
  const rows = wanted.flatMap(({ arm, name }) => measured.get(name)!.rows.map((row) => ({ ...row, label: arm.label })));
  await Deno.writeTextFile(join(out, "rows.jsonl"), encodeRows(rows));
  console.log(JSON.stringify({ rows: rows.length, out }));
});

/** Its arms write answers, and are stored and reported in a way of their own. */
async function decoding(): Promise<void> {
  const own = ["report", "only", "workers", "launcher", "slurm-options"];
  const idle = own.find(isGiven);
  if (idle) refuse(`--${idle} is for the other studies: decoding is measured whole, one model after another`);
  const base = options.quick ? decodingQuick : decodingFull;
  const seeds = options.seeds ? Array.from({ length: Number(options.seeds) }, (_, i) => i + 1) : base.seeds;
  await using model = await loadModel(location, { device: options.device as Device });
  await decodingStudy(model, { out, scale: { ...base, seeds }, location, signal: interruptSignal() });
}

/** The second world's model is made, not shipped. */
async function checkSecondWorld(folder: string): Promise<void> {
  const there = await Deno.stat(`${folder}/model.safetensors`).then(() => true, () => false);
  if (!there) {
    throw new Error(`Cannot measure on the second world: ${folder} holds no model yet; run ${secondWorldRemedy}`);
  }
}

/** What of a plan rests on arms that are there. */
function partOf({ main, ablations, points }: Plan, there: (arm: Arm) => boolean): Plan {
  const cut = (study: Study): Study => {
    const settings = study.settings.filter(there);
    const has = (label: string) => settings.some((arm) => arm.label === label);
    return { ...study, settings, pairs: study.pairs.filter(([a, b]) => has(a) && has(b)) };
  };
  const kept = ablations.map(cut).filter(({ pairs }) => pairs.length > 0);
  return { main: cut(main), ablations: kept, points: points.filter(({ arm }) => there(arm)) };
}

/** A measurement as it stands in the store, under the identity of what was measured. */
type Stored = Measurement & { readonly identity: string };
