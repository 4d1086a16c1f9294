/**
 * Trains nano-llada on NanoWorld and writes it as an ordinary LLaDA checkpoint: see `deno task train-nano --help`.
 * Stop it with Ctrl-C and start it again with the same options: it goes on from the last saved step.
 */
import { join } from "@std/path";
import { type Device, openRuntime, saveModel } from "quant-dllm";
import {
  answerAccuracy,
  createWorld,
  Engine,
  familyOf,
  initialState,
  lladaConfig,
  modelFromTraining,
  readTrainingState,
  rng,
  train,
  type TrainingPlan,
  WORLD_SEED,
  writeTrainingState,
} from "quant-dllm/testbed";
import { count, deviceOption, interruptSignal, main, number, readOptions, seedOption } from "./cli.ts";

const options = readOptions("deno task train-nano [options]", {
  steps: { default: "16000", help: "training steps", check: count() },
  batch: { default: "32", help: "sequences of 64 tokens per step", check: count() },
  layers: { default: "2", help: "blocks", check: count() },
  width: { default: "256", help: "d_model", check: count() },
  hidden: { default: "256", help: "width of the SwiGLU layer", check: count() },
  heads: { default: "4", help: "attention heads", check: count() },
  rate: { default: "4e-3", help: "peak learning rate", check: number({ least: 1e-9, most: 1 }) },
  seed: seedOption("of weights, data order and masks"),
  world: { default: String(WORLD_SEED), help: "seed of the world: another one has other facts", check: count() },
  device: deviceOption,
  out: { default: "data/nano-llada", help: "folder for the checkpoint", path: true },
  work: { default: "results/train-nano", help: "folder for the state, to resume from", path: true },
});
const time = 64;
const saveEvery = 250;
const measureEvery = 500;
const logEvery = 50;

await main(async () => {
  const { out, work } = options;
  const world = createWorld({ seed: Number(options.world) });
  const config = lladaConfig({
    width: Number(options.width),
    layers: Number(options.layers),
    hidden: Number(options.hidden),
    heads: Number(options.heads),
    vocabSize: world.vocabulary.length,
    maxLength: 128,
    maskId: world.maskId,
    eosId: world.eosId,
  });
  const architecture = familyOf(config, "config").architecture(config, "config");
  await using runtime = await openRuntime({ device: options.device as Device });
  await using engine = new Engine(runtime, architecture);
  const plan: TrainingPlan = {
    architecture,
    seed: Number(options.seed),
    steps: Number(options.steps),
    batch: Number(options.batch),
    time,
    rate: Number(options.rate),
    warmup: 100,
    finalRate: 0.02,
    optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, momentum: 0.95, weightDecay: 0.1, clip: 1 },
    curriculum: 0.75,
  };
  await Deno.mkdir(work, { recursive: true });
  const stateFile = join(work, "state.safetensors");
  const curveFile = join(work, "curve.jsonl");
  let state = await readTrainingState(stateFile, plan) ?? initialState(plan);
  const first = state.step;
  // A killed run may have logged steps after its last saved state: they are trained, and logged, again.
  const curve = first === 0 ? [] : (await readCurve(curveFile)).filter(({ step }) => step <= first);
  console.error(`nano-llada on ${runtime.device}, world ${world.version}, from step ${first} of ${plan.steps}`);

  const end = world.vocabulary.indexOf(".");
  const source = (r: ReturnType<typeof rng>, tokens: Int32Array, answers: Uint8Array, statement: Int32Array) => {
    world.fill(r, "train", tokens, answers, 0, time);
    for (let p = 0, index = 0; p < time; p++) {
      statement[p] = index;
      if (tokens[p] === end) index++;
    }
  };
  const validation = Array.from(
    { length: 512 },
    (_, i) => world.sequence(rng(world.seed, "validation-sequence", i), "validation", time),
  );
  const started = performance.now();
  const signal = interruptSignal();
  const losses: number[] = [];
  for await (const { report, state: next } of train(runtime, plan, { source, state, signal })) {
    state = next;
    const { step, loss, phase, rate } = report;
    if (!Number.isFinite(loss)) throw new Error(`training diverged at step ${step}: start again with a lower --rate`);
    losses.push(loss);
    if (step % logEvery === 0) {
      const mean = losses.reduce((a, b) => a + b, 0) / losses.length;
      losses.length = 0;
      curve.push({ step, phase, loss: mean, rate });
      console.error(progress(step, plan, phase, mean, (performance.now() - started) / 1000, first));
    }
    if (step % measureEvery === 0 || step === plan.steps) {
      const families = await answerAccuracy(modelFromTraining(engine, config, state), validation);
      for (const { family, exact, token } of families) curve.push({ step, family, exact, token });
      console.error(families.map((f) => `${f.family} ${(100 * f.exact).toFixed(0)}`).join("  "));
    }
    if (step % saveEvery === 0) await save();
  }
  await save();
  if (state.step < plan.steps) {
    console.error(`Stopped at step ${state.step}; run the same command to go on.`);
  } else {
    await saveModel(modelFromTraining(engine, config, state), out);
    await Deno.copyFile(curveFile, join(out, "training-curve.jsonl"));
  }
  console.log(JSON.stringify({ step: state.step, steps: plan.steps, out: options.out }));

  async function save() {
    await writeTrainingState(stateFile, { plan, state });
    await Deno.writeTextFile(curveFile, curve.map((row) => JSON.stringify(row) + "\n").join(""));
  }
});

type CurveRow = { readonly step: number } & Record<string, number | string>;

async function readCurve(path: string): Promise<CurveRow[]> {
  const text = await Deno.readTextFile(path);
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line) as CurveRow);
}

function progress(
  step: number,
  plan: TrainingPlan,
  phase: string,
  loss: number,
  seconds: number,
  first: number,
): string {
  const perSecond = (step - first) / seconds;
  const left = (plan.steps - step) / perSecond;
  const tokens = Math.trunc(perSecond * plan.batch * plan.time);
  return `step ${step}/${plan.steps} ${phase} loss ${loss.toFixed(4)} ${tokens} tokens/s ` +
    `ETA ${Math.trunc(left / 60)}m${String(Math.trunc(left % 60)).padStart(2, "0")}s`;
}
