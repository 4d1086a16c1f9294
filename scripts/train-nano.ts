/**
 * Trains nano-llada on NanoWorld with the LLaDA objective and writes it as an ordinary LLaDA checkpoint.
 *   deno task train-nano [--steps 9000] [--device auto] [--seed 1] [--out data/nano-llada] [--work results/train-nano]
 * Stop it with Ctrl-C and start it again with the same options: it goes on from the last saved step.
 */
import { parseArgs } from "@std/cli/parse-args";
import {
  answerAccuracy,
  createWorld,
  type Device,
  Engine,
  familyOf,
  initialState,
  lladaConfig,
  modelFromTraining,
  openRuntime,
  readTrainingState,
  rng,
  saveModel,
  train,
  type TrainingPlan,
  WORLD_SEED,
  writeTrainingState,
} from "quant-dllm";

const args = parseArgs(Deno.args, {
  string: ["steps", "device", "seed", "out", "work", "width", "layers", "hidden", "heads", "rate", "batch", "entities"],
  default: {
    steps: "9000",
    device: "auto",
    seed: "1",
    out: "data/nano-llada",
    work: "results/train-nano",
    width: "256",
    layers: "4",
    hidden: "512",
    heads: "4",
    rate: "4e-3",
    batch: "32",
  },
  unknown: (name: string) => {
    console.error(`Unknown option ${name}; see the head of scripts/train-nano.ts for the options.`);
    Deno.exit(2);
  },
});
const time = 64;
const saveEvery = 250;
const measureEvery = 500;

const world = createWorld({ seed: WORLD_SEED, ...(args.entities ? { entities: Number(args.entities) } : {}) });
const config = lladaConfig({
  width: Number(args.width),
  layers: Number(args.layers),
  hidden: Number(args.hidden),
  heads: Number(args.heads),
  vocabSize: world.vocabulary.length,
  maxLength: 128,
  maskId: world.maskId,
  eosId: world.eosId,
});
const architecture = familyOf(config, "config").architecture(config, "config");
await using runtime = await openRuntime({ device: args.device as Device });
await using engine = new Engine(runtime, architecture);
const plan: TrainingPlan = {
  architecture,
  seed: Number(args.seed),
  steps: Number(args.steps),
  batch: Number(args.batch),
  time,
  rate: Number(args.rate),
  warmup: 100,
  finalRate: 0.02,
  optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, momentum: 0.95, weightDecay: 0.1, clip: 1 },
  curriculum: 0.75,
};
await Deno.mkdir(args.work, { recursive: true });
const stateFile = `${args.work}/state.safetensors`;
const curveFile = `${args.work}/curve.jsonl`;
let state = await readTrainingState(stateFile, plan) ?? initialState(plan);
if (state.step === 0) await Deno.writeTextFile(curveFile, "");
console.error(`nano-llada: ${runtime.device}, world ${world.version}, step ${state.step} of ${plan.steps}`);

const end = world.vocabulary.indexOf(".");
const stop = new AbortController();
Deno.addSignalListener("SIGINT", () => stop.abort());

const validation = Array.from({ length: 512 }, (_, i) => world.sequence(validationRng(i), "validation", time));
const log = (row: Record<string, unknown>) =>
  Deno.writeTextFile(curveFile, JSON.stringify(row) + "\n", { append: true });
const started = performance.now();
const first = state.step;
let mean = 0;
let counted = 0;
for await (
  const { report, state: next } of train(
    runtime,
    plan,
    (r, tokens, answers, statement) => {
      world.fill(r, "train", tokens, answers, 0, time);
      for (let p = 0, index = 0; p < time; p++) {
        statement[p] = index;
        if (tokens[p] === end) index++;
      }
    },
    state,
    stop.signal,
  )
) {
  state = next;
  if (!Number.isFinite(report.loss)) throw new Error(`Training diverged at step ${report.step}: lower --rate`);
  mean += report.loss;
  counted++;
  if (report.step % 50 === 0) {
    const seconds = (performance.now() - started) / 1000;
    const perSecond = (report.step - first) / seconds;
    const left = (plan.steps - report.step) / perSecond;
    console.error(
      `step ${report.step}/${plan.steps} ${report.phase} loss ${(mean / counted).toFixed(4)} ` +
        `${Math.trunc(perSecond * plan.batch * time)} tokens/s ETA ${Math.trunc(left / 60)}m${Math.trunc(left % 60)}s`,
    );
    await log({
      step: report.step,
      phase: report.phase,
      loss: mean / counted,
      rate: report.rate,
      norm: report.gradientNorm,
    });
    mean = counted = 0;
  }
  if (report.step % saveEvery === 0) await writeTrainingState(stateFile, plan, state);
  if (report.step % measureEvery === 0 || report.step === plan.steps) {
    const families = await answerAccuracy(modelFromTraining(engine, config, state), validation);
    for (const { family, exact, token } of families) await log({ step: report.step, family, exact, token });
    console.error(families.map((f) => `${f.family} ${(100 * f.exact).toFixed(0)}`).join("  "));
  }
}
await writeTrainingState(stateFile, plan, state);
if (state.step < plan.steps) {
  console.error(`Stopped at step ${state.step}; run the same command to go on.`);
} else {
  await saveModel(modelFromTraining(engine, config, state), args.out);
  await Deno.copyFile(curveFile, `${args.out}/training-curve.jsonl`);
}
console.log(JSON.stringify({ step: state.step, steps: plan.steps, out: args.out }));

function validationRng(i: number) {
  return rng(WORLD_SEED, "validation-sequence", i);
}
