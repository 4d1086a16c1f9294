import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Architecture } from "../../lib/model/architecture.ts";
import type { BlockTensors, Hidden } from "../../lib/model/engine.ts";
import type { Model } from "../../lib/model/model.ts";
import type { WeightArrays } from "../../lib/model/weights.ts";
import { gradients } from "../../lib/onnx/autodiff.ts";
import { Graph } from "../../lib/onnx/graph.ts";
import { logSoftmax, matmul, mul, pick, reduceSum, rmsNorm } from "../../lib/onnx/ops.ts";
import { loadModel } from "../../lib/checkpoint/open.ts";
import type { Feed } from "../../lib/runtime/runtime.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { backward, forward, memoryTape } from "../../lib/train/backward.ts";
import { gradientGraph, parametersOf } from "../../lib/train/graph.ts";
import { addRelativeError } from "../../lib/train/hidden_loss.ts";
import { KlHead } from "../../lib/train/kl_head.ts";
import { BlockVjp, type Kept } from "../../lib/train/vjp.ts";
import { distance } from "../layers.ts";
import { logSoftmax as plainLogSoftmax, referencePass } from "../model/reference.ts";
import { arraysOf, familyConfigs, randomTokens, tinyConfig, tinyModel } from "../model/tiny.ts";
import { BACKWARD_RELATIVE, GRADIENT_RELATIVE } from "../tolerances.ts";

const largest = (x: ArrayLike<number>) => Array.from(x).reduce((m, y) => Math.max(m, Math.abs(y)), 0);

/** Tokens with some masked, never the first of a sequence; where they are; how much each counts. */
function maskedBatch(a: Architecture, { batch, time, seed }: { batch: number; time: number; seed: number }) {
  const r = rng(seed, "masks");
  const tokens = randomTokens(batch * time, seed);
  const positions = Int32Array.from(tokens.keys()).filter((p) => p % time !== 0 && r.next() < 0.6);
  for (const p of positions) tokens[p] = a.maskId;
  return { tokens, batch, time, positions, weights: Float32Array.from(positions, () => 0.5 + r.next()) };
}

/** What a pass may leave out. */
interface Shortcuts {
  /** States of no use: those whose rows the divergence does not read. */
  rows?: boolean;
  /** Computing the forward pass again. */
  kept?: boolean;
  /** The gradient of the embedding. */
  states?: boolean;
}

/** Σ weight · KL(teacher || student) and its gradient in every weight that the student's blocks and final norm have, blocks one at a time. */
async function streamed(
  { teacher, student, chunk, rows: fewer, kept, states }:
    & { teacher: Model; student: Model; chunk?: number }
    & Shortcuts,
  { tokens, batch, time, positions, weights }: ReturnType<typeof maskedBatch>,
) {
  const { engine } = student, arrays = arraysOf(student);
  await using vjp = new BlockVjp(engine);
  await using head = new KlHead(engine);
  const behind = student.rowsBehind(positions, time), rows = fewer ? behind : undefined;
  const wanted = await forward(engine, { x: await teacher.embed(tokens, batch), weights: teacher.weights, rows });
  const tape = memoryTape(), x = await student.embed(tokens, batch);
  const last = await forward(engine, { x, weights: student.weights, tape, rows, vjp: kept ? vjp : undefined });
  const { kl, dX, dNorm } = await head.run(last, {
    rows: fewer ? behind.map((_, i) => i) : behind,
    weights,
    teacher: (rows) => teacher.forward.head(wanted, rows),
    norm: arrays.finalNorm,
    head: arrays.head,
  }, { chunk });
  const blocks: BlockTensors[] = [];
  const seen: number[] = [];
  const dEmbed = await backward(vjp, {
    weights: student.weights,
    tape,
    dOut: dX,
    rows,
    states,
    onBlock(layer, gradients) {
      seen.push(layer);
      blocks[layer] = Object.fromEntries(Object.entries(gradients).map(([name, x]) => [name, x.slice()]));
    },
  });
  return { kl, dNorm, blocks, seen, dEmbed };
}

/** Log-probabilities at the masked positions by float64 loops. */
function plainLogs(
  a: Architecture,
  weights: WeightArrays,
  { tokens, batch, time, positions }: ReturnType<typeof maskedBatch>,
): Float64Array[] {
  const all = Array.from(
    { length: batch },
    (_, b) => referencePass(a, weights, tokens.subarray(b * time, (b + 1) * time)).logits,
  ).flat();
  return Array.from(positions, (p) => plainLogSoftmax(all[p]));
}

const families = { "LLaDA": tinyConfig(), ...familyConfigs, "LLaDA-MoE, renormalised": renormalised() };

function renormalised() {
  return { ...familyConfigs["LLaDA-MoE"], norm_topk_prob: true };
}

for (const [name, config] of Object.entries(families)) {
  Deno.test(`${name}: gradients through blocks one at a time agree with central differences of float64 loops`, async () => {
    await using teacher = await tinyModel({ config, seed: 1 });
    await using student = await tinyModel({ config, seed: 2 });
    const a = student.architecture;
    const batch = maskedBatch(a, { batch: 2, time: 6, seed: 3 });
    const found = await streamed({ teacher, student, chunk: 4, rows: true, kept: true }, batch);
    assertEquals(found.seen, [1, 0]);
    const held = arraysOf(student);
    const finalNorm = Float64Array.from(held.finalNorm);
    const blocks = held.blocks.map((b) =>
      Object.fromEntries(Object.entries(b).map(([name, x]) => [name, Float64Array.from(x)]))
    );
    const plain = { ...held, finalNorm, blocks } as unknown as WeightArrays;
    const wanted = plainLogs(a, arraysOf(teacher), batch);
    const loss = () => {
      let kl = 0;
      plainLogs(a, plain, batch).forEach((logs, i) =>
        wanted[i].forEach((log, v) => kl += batch.weights[i] * Math.exp(log) * (log - logs[v]))
      );
      return kl;
    };
    const exact = loss();
    assert(Math.abs(found.kl - exact) <= 1e-5 * exact, `the divergence is ${found.kl}, wanted ${exact}`);

    const r = rng(4, name);
    const felt = new Set<string>();
    const check = (what: string, x: Float64Array, gradient: Float32Array) => {
      // Some entries of each weight, the largest gradient among them: what is wrong by a term or a scale shows in all.
      const top = gradient.reduce((best, y, i) => Math.abs(y) > Math.abs(gradient[best]) ? i : best, 0);
      const entries = [top, ...r.choose(x.length, Math.min(7, x.length))];
      const numeric = entries.map((i) => {
        const h = 1e-5, value = x[i];
        x[i] = value + h;
        const above = loss();
        x[i] = value - h;
        const below = loss();
        x[i] = value;
        return (above - below) / (2 * h);
      });
      const off = distance(entries.map((i) => gradient[i]), numeric), size = largest(numeric);
      assert(off <= GRADIENT_RELATIVE * size, `the gradient of ${what}, of size ${size}, is off by ${off}`);
      if (size > 0) felt.add(what);
    };
    check("the final norm", finalNorm, found.dNorm);
    blocks.forEach((block, layer) => {
      for (const [name, x] of Object.entries(block)) {
        check(`${layer}.${name}`, x, found.blocks[layer][name]);
      }
    });
    // No token may go to an expert, of half of them at most; all else must matter.
    const idle = blocks.flatMap((b, layer) => Object.keys(b).map((name) => `${layer}.${name}`)).filter((n) =>
      !felt.has(n)
    );
    assert(idle.every((n) => n.includes("experts")) && idle.length <= 2 * 3 * 3, `no gradient in ${idle}`);
  });
}

for (const [name, config] of Object.entries(families)) {
  Deno.test(`${name}: gradients are the same for all rows or those wanted, with what was kept or computed again, down to the embedding or not`, async () => {
    await using teacher = await tinyModel({ config, seed: 1 });
    await using student = await tinyModel({ config, seed: 2 });
    const batch = maskedBatch(student.architecture, { batch: 2, time: 6, seed: 3 });
    const wanted = await streamed({ teacher, student }, batch);
    const fewer = [{ rows: true }, { kept: true }, { states: false }, { rows: true, kept: true, states: false }];
    for (const shortcuts of fewer) {
      const found = await streamed({ teacher, student, ...shortcuts }, batch);
      const close = (what: string, x: Float32Array, y: Float32Array) => {
        const off = distance(x, y) / (largest(y) || 1);
        assert(off <= BACKWARD_RELATIVE, `${JSON.stringify(shortcuts)}: ${what} is off by ${off} of its largest entry`);
      };
      assert(Math.abs(found.kl / wanted.kl - 1) < 1e-5);
      if (found.dEmbed.length > 0) close("the gradient of the embedding", found.dEmbed, wanted.dEmbed);
      wanted.blocks.forEach((block, layer) =>
        Object.entries(block).forEach(([name, x]) =>
          close(`the gradient of ${layer}.${name}`, found.blocks[layer][name], x)
        )
      );
    }
  });
}

Deno.test("what is kept of several forward passes is their own, whatever memory is used again", async () => {
  await using model = await tinyModel();
  await using vjp = new BlockVjp(model.engine);
  const weights = await model.weights.block(0);
  for (const half of ["attention", "feedForward"] as const) {
    const xs = [await model.embed(randomTokens(6, 1), 1), await model.embed(randomTokens(6, 2), 1)];
    const dOut = new Float32Array(xs[0].data.length).fill(1);
    const back = async (x: Hidden, kept?: Kept) => (await vjp.run(x, { half, weights, dOut, kept })).dX.slice();
    const wanted = [await back(xs[0]), await back(xs[1])];
    for (let round = 0; round < 2; round++) {
      const both = [await vjp.forward(xs[0], { half, weights }), await vjp.forward(xs[1], { half, weights })];
      for (const i of [1, 0]) assert(distance(await back(xs[i], both[i].kept), wanted[i]) <= 1e-6 * largest(wanted[i]));
      await assertRejects(() => back(xs[0], both[0].kept), RangeError, "read already");
    }
  }
});

Deno.test("rows that are not there, or not ascending, are refused", async () => {
  await using model = await tinyModel();
  const { engine, weights } = model, x = await model.embed(randomTokens(6, 1), 1);
  for (const rows of [Int32Array.of(1, 6), Int32Array.of(2, 2), Int32Array.of(-1)]) {
    await assertRejects(() => forward(engine, { x, weights, rows }), RangeError, "wanted ascending ones below 6");
  }
});

Deno.test("an expert that no token is sent to has the gradient zero, whatever the call before left", async () => {
  await using model = await tinyModel({ config: familyConfigs["LLaDA-MoE"], seed: 1 });
  const { engine, architecture: a } = model;
  await using vjp = new BlockVjp(engine);
  const weights = await model.weights.block(0);
  const run = async (tokens: Int32Array) => {
    const x = await model.embed(tokens, 1);
    const dOut = new Float32Array(x.data.length).fill(1);
    const gradients = await vjp.run(x, { half: "feedForward", dOut, weights });
    return Object.fromEntries(Object.entries(gradients.weights).map(([name, x]) => [name, largest(x)]));
  };
  await run(randomTokens(12, 1));
  const one = await run(Int32Array.of(3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3));
  const idle =
    Array.from({ length: a.experts!.count }, (_, e) => one[`experts.${e}.down`] === 0).filter(Boolean).length;
  assert(idle > 0 && idle <= a.experts!.count - a.experts!.active, `${idle} experts are idle`);
  for (let e = 0; e < a.experts!.count; e++) {
    const zero = ["gate", "up", "down"].map((name) => one[`experts.${e}.${name}`] === 0);
    assert(zero.every((z) => z === zero[0]), `expert ${e}: ${zero}`);
  }
});

Deno.test("on nano-llada, gradients through blocks one at a time are those of the graph of the whole model", async () => {
  await using model = await loadModel("data/nano-llada", { device: "cpu", threads: 1 });
  const { engine, architecture: a } = model, { runtime } = engine;
  const [batch, time] = [2, 16], count = batch * time;
  const { tokens, positions } = maskedBatch(a, { batch, time, seed: 1 });
  const targets = BigInt64Array.from(randomTokens(count, 2), BigInt);
  const weights = new Float32Array(count);
  for (const p of positions) weights[p] = 1 / positions.length;
  const arrays = arraysOf(model);
  const feed = (name: string, shape: readonly number[]): Feed => {
    const [layer, weight] = name.split(".");
    return { dims: shape, data: weight ? arrays.blocks[Number(layer)][weight] : arrays[name as "embed"] };
  };
  await using session = await runtime.session(gradientGraph(a, { batch, time }));
  const labels = {
    targets: { dims: [count, 1], data: targets },
    weights: { dims: [count, 1], data: weights },
  };
  const whole = await session.run({
    ...Object.fromEntries(parametersOf(a).map(({ name, shape }) => [name, feed(name, shape)])),
    ...labels,
    tokens: { dims: [count], data: BigInt64Array.from(tokens, BigInt) },
  });

  const tape = memoryTape();
  const last = await forward(engine, { x: await model.embed(tokens, batch), weights: model.weights, tape });
  await using head = await runtime.session(crossEntropy(a, count));
  const out = await head.run({
    x: { dims: [count, a.width], data: last.data },
    norm: { dims: [a.width], data: arrays.finalNorm },
    head: { dims: [a.vocabSize, a.width], data: arrays.head },
    ...labels,
  });
  const close = (what: string, found: Float32Array) => {
    const wanted = whole[`d.${what}`].data;
    const off = distance(found, wanted) / largest(wanted);
    assert(off <= BACKWARD_RELATIVE, `the gradient of ${what} is off by ${off} of its largest entry`);
  };
  close("finalNorm", out.dNorm.data);
  let compared = 0;
  await using vjp = new BlockVjp(engine);
  const dEmbed = await backward(vjp, {
    weights: model.weights,
    tape,
    dOut: out.dX.data,
    onBlock: (layer, gradients) =>
      Object.entries(gradients).forEach(([name, x]) => {
        close(`${layer}.${name}`, x);
        compared++;
      }),
  });
  assertEquals(compared, 2 * 9);
  const embed = new Float32Array(arrays.embed.length);
  tokens.forEach((token, p) => {
    for (let j = 0; j < a.width; j++) embed[token * a.width + j] += dEmbed[p * a.width + j];
  });
  close("embed", embed);
});

/** The head of training as a graph of its own: cross entropy, and its gradient in the last states and the final norm. */
function crossEntropy(a: Architecture, count: number): Uint8Array {
  const g = new Graph();
  const [x, norm] = [g.input("x", "float32", [count, a.width]), g.input("norm", "float32", [a.width])];
  const head = g.input("head", "float32", [a.vocabSize, a.width]);
  const [targets, weights] = [g.input("targets", "int64", [count, 1]), g.input("weights", "float32", [count, 1])];
  const logits = matmul(g, rmsNorm(g, x, norm, a.epsilon), head, { transB: true });
  const loss = reduceSum(g, mul(g, pick(g, logSoftmax(g, logits), targets), weights), [0, 1], { keep: false });
  const negative = mul(g, loss, g.scalar(-1));
  gradients(g, negative, [x, norm]).forEach((d, i) => g.output(["dX", "dNorm"][i], d));
  return g.encode();
}

Deno.test("a gradient of another size, and a way back that no forward pass went, are refused", async () => {
  await using model = await tinyModel();
  await using vjp = new BlockVjp(model.engine);
  const x = await model.embed(randomTokens(6, 1), 1);
  const weights = await model.weights.block(0);
  await assertRejects(
    () => vjp.run(x, { half: "attention", dOut: new Float32Array(7), weights }),
    TypeError,
    "7 numbers",
  );
  await assertRejects(() => memoryTape().take(1), RangeError, "no forward pass");
  const tape = memoryTape();
  await tape.write(1, x);
  await tape.take(1);
  await assertRejects(() => tape.take(1), RangeError, "place 1");
});

Deno.test("a loss on hidden states joins the way back: its gradient is that of the loss along every weight", async () => {
  await using teacher = await tinyModel({ seed: 1 });
  await using student = await tinyModel({ seed: 2 });
  const { engine } = student, batch = 2, tokens = randomTokens(12, 1);
  const blocks = arraysOf(student).blocks.map((b) => ({ ...b }));
  const weights = { block: (layer: number) => Promise.resolve(blocks[layer]) };
  const x = await student.embed(tokens, batch);
  const goal = memoryTape();
  const wanted = [
    await forward(engine, { x: await teacher.embed(tokens, batch), weights: teacher.weights, tape: goal }),
    ...await Promise.all([3, 2, 1].map((place) => goal.take(place))),
  ];
  /** The errors at all places, last first; with gradients, those of the weights. */
  const pass = async (onBlock: (layer: number, gradients: BlockTensors) => void = () => {}) => {
    const tape = memoryTape();
    const last = await forward(engine, { x, weights, tape });
    const dOut = new Float32Array(last.data.length);
    let loss = addRelativeError(last, { wanted: wanted[0], weight: 1, gradient: dOut });
    await using vjp = new BlockVjp(engine);
    const onStates = (place: number, x: Hidden, gradient: Float32Array) => {
      if (place > 0) loss += addRelativeError(x, { wanted: wanted[4 - place], weight: 1, gradient });
    };
    await backward(vjp, { weights, tape, dOut, onBlock, onStates });
    return loss;
  };
  const found: BlockTensors[] = [];
  await pass((layer, gradients) => {
    found[layer] = Object.fromEntries(Object.entries(gradients).map(([name, x]) => [name, x.slice()]));
  });
  for (const [layer, gradients] of found.entries()) {
    for (const [name, gradient] of Object.entries(gradients)) {
      const square = gradient.reduce((s, g) => s + g * g, 0), held = blocks[layer][name];
      // Along the gradient itself the loss changes by its square: a step that moves the loss by about 1 %, far above float32's noise.
      const step = 0.01 / square, at = (h: number) => held.map((w, i) => w + h * gradient[i]);
      blocks[layer][name] = at(step);
      const above = await pass();
      blocks[layer][name] = at(-step);
      const slope = (above - await pass()) / (2 * step);
      blocks[layer][name] = held;
      assert(Math.abs(slope / square - 1) < 0.01, `${layer}.${name}: ${slope}, wanted ${square}`);
    }
  }
});

Deno.test("a relative error is the mean over tokens, each against its own size; a token of zeros counts for nothing", () => {
  const state = (...data: number[]): Hidden => ({ batch: 1, time: 3, data: Float32Array.from(data) });
  const gradient = new Float32Array(6);
  const [x, wanted] = [state(1, 2, 30, 40, 5, 5), state(1, 1, 30, 30, 0, 0)];
  const error = addRelativeError(x, { wanted, weight: 6, gradient });
  assert(Math.abs(error - (1 / 2 + 100 / 1800) / 3) < 1e-12);
  assertEquals(Array.from(gradient, (y) => Math.fround(y)), [0, 2, 0, 4 * 10 / 1800, 0, 0].map(Math.fround));
});
