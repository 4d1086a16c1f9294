import { assert, assertEquals, assertRejects } from "@std/assert";
import { Engine } from "../../lib/model/engine.ts";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import {
  initialState,
  learningRate,
  maskAnswers,
  maskUniformly,
  type SequenceSource,
  type StepReport,
  train,
  type TrainingPlan,
  type TrainingState,
} from "../../lib/train/train.ts";
import { lladaConfig, modelFromTraining, readTrainingState, writeTrainingState } from "../../lib/train/state.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { architectureOf, arraysOf, inFolder, randomTokens } from "../model/tiny.ts";

const config = lladaConfig({
  layers: 1,
  width: 8,
  heads: 2,
  hidden: 12,
  vocabSize: 11,
  maxLength: 8,
  maskId: 10,
  eosId: 9,
});
const plan: TrainingPlan = {
  architecture: architectureOf(config),
  seed: 1,
  steps: 4,
  batch: 3,
  time: 8,
  rate: 0.02,
  warmup: 1,
  finalRate: 0.1,
  optimiser: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, momentum: 0.95, weightDecay: 0.1, clip: 1 },
  curriculum: 0.5,
};

/** Two statements of four tokens: three questions and the answer, which is their sum. */
const source: SequenceSource = (r, tokens, answers, statement) => {
  for (let p = 0; p < tokens.length; p++) {
    tokens[p] = p % 4 < 3 ? r.int(4) : tokens[p - 1] + tokens[p - 2] + tokens[p - 3];
    answers[p] = Number(p % 4 === 3);
    statement[p] = Math.floor(p / 4);
  }
};

async function run(steps: TrainingPlan, from: TrainingState, until = Infinity) {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const reports: StepReport[] = [];
  let tensors = from.tensors;
  for await (const { report, state } of train(runtime, steps, { source, state: from })) {
    reports.push(report);
    tensors = new Map([...state.tensors].map(([name, x]) => [name, x.slice()]));
    if (report.step === until) break;
  }
  return { reports, state: { step: from.step + reports.length, tensors } };
}

Deno.test("four steps are two, saved and read back, and two more, bit for bit", () =>
  inFolder(async (folder) => {
    const whole = await run(plan, initialState(plan));
    const path = `${folder}/state.safetensors`;
    assertEquals(await readTrainingState(path, plan), undefined);
    const first = await run(plan, initialState(plan), 2);
    await writeTrainingState(path, { plan, state: first.state });
    const read = (await readTrainingState(path, plan))!;
    assertEquals(read.step, 2);
    const second = await run(plan, read);
    assertEquals([...first.reports, ...second.reports], whole.reports);
    assertEquals(second.state.step, 4);
    for (const [name, x] of whole.state.tensors) assertEquals(second.state.tensors.get(name), x, name);
    assertEquals(whole.reports.map((r) => r.phase), ["answers", "answers", "llada", "llada"]);
    assert(whole.reports.every((r) => Number.isFinite(r.loss) && r.gradientNorm > 0));

    const other = { ...plan, rate: 0.01 };
    await assertRejects(() => readTrainingState(path, other), RangeError, "other options");
  }));

Deno.test("training leaves the state that it starts from as it was, and an abort ends it", async () => {
  const start = initialState(plan);
  const before = new Map([...start.tensors].map(([name, x]) => [name, x.slice()]));
  await run(plan, start, 1);
  assertEquals(start.tensors, before);
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const steps = await Array.fromAsync(train(runtime, plan, { source, state: start, signal: AbortSignal.abort() }));
  assertEquals(steps, []);
});

Deno.test("training learns what is there to learn, and its model is a checkpoint like any other", () =>
  inFolder(async (folder) => {
    const long = { ...plan, steps: 120, batch: 8, rate: 0.02, curriculum: 1 };
    const { reports, state } = await run(long, initialState(long));
    const mean = (part: StepReport[]) => part.reduce((s, r) => s + r.loss, 0) / part.length;
    const [start, end] = [mean(reports.slice(0, 10)), mean(reports.slice(-10))];
    assert(end < 0.8 * start, `the loss went from ${start} to ${end}`);

    await using runtime = await openRuntime({ device: "cpu", threads: 1 });
    await using engine = new Engine(runtime, plan.architecture);
    const model = modelFromTraining(engine, config, state);
    const tokens = randomTokens(8, 1, 10);
    const { shape, data } = await model.logits(tokens);
    await saveModel(model, folder);
    await using loaded = await loadModel(folder, { device: "cpu", threads: 1 });
    const again = await loaded.logits(tokens);
    assertEquals([shape, again.shape], [[8, 11], [8, 11]]);
    // bf16 keeps eight bits of each weight.
    const largest = data.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    assert(data.every((x, i) => Math.abs(x - again.data[i]) <= 0.05 * largest));
    const saved = arraysOf(loaded).embed;
    await saveModel(loaded, folder);
    await using twice = await loadModel(folder, { device: "cpu", threads: 1 });
    assertEquals(arraysOf(twice).embed, saved);
  }));

Deno.test("the state begins as the seed says", () => {
  const { step, tensors } = initialState(plan);
  assertEquals(step, 0);
  assertEquals(initialState(plan).tensors, tensors);
  assertEquals(tensors.get("0.attnNorm"), new Float32Array(8).fill(1));
  assertEquals(tensors.get("m.head"), new Float32Array(88));
  const deviation = (name: string) => Math.sqrt(tensors.get(name)!.reduce((s, x, _, a) => s + x * x / a.length, 0));
  assert(Math.abs(deviation("embed") - 0.02) < 0.004);
  assert(Math.abs(deviation("0.down") - 0.02 / Math.SQRT2) < 0.004);
});

Deno.test("the learning rate warms up, stays, and falls to its final share", () => {
  const p = { ...plan, steps: 100, warmup: 10, rate: 1, finalRate: 0.1 };
  assertEquals([0, 4, 9, 10, 50].map((s) => learningRate(p, s)), [0.1, 0.5, 1, 1, 1]);
  assert(Math.abs(learningRate(p, 75) - 0.55) < 1e-12);
  assert(Math.abs(learningRate(p, 100) - 0.1) < 1e-12);
});

Deno.test("masks of the LLaDA objective: a share t, each weighing 1 / t", () => {
  const weights = new Float32Array(20_000);
  for (const t of [0.001, 0.3, 1]) {
    maskUniformly(weights, rng(1, "uniform"), { t });
    assertEquals(new Set(weights), new Set(t === 1 ? [1] : [0, Math.fround(1 / t)]));
    const total = weights.reduce((s, w) => s + w, 0) / weights.length;
    assert(Math.abs(total - 1) < 5 * Math.sqrt((1 - t) / t / weights.length) + 1e-6, `t ${t}: mean weight ${total}`);
  }
});

Deno.test("masks of the first part: whole answers, or some tokens of the rest", () => {
  const statements = 4000;
  const answers = Uint8Array.from({ length: 4 * statements }, (_, p) => Number(p % 4 >= 2));
  const statement = Int32Array.from({ length: 4 * statements }, (_, p) => Math.floor(p / 4));
  const weights = new Float32Array(answers.length);
  maskAnswers(weights, rng(1, "answers"), { answers, statement });
  let whole = 0;
  for (let s = 0; s < statements; s++) {
    const part = Array.from(weights.subarray(4 * s, 4 * s + 4));
    if (part.join() === "0,0,1,1") whole++;
    part.forEach((w, i) => assert(w === 0 || w === (i >= 2 ? 1 : Math.fround(0.1))));
  }
  // Three of four, and of the rest those that chance masks so: rate² (1 - rate)² of them, its mean over 0 to 1/2 is 1/30.
  assert(Math.abs(whole / statements - (0.75 + 0.25 / 30)) < 0.03, `${whole} of ${statements}`);
});
