import { assert, assertEquals } from "@std/assert";
import type { Architecture } from "../../lib/model/architecture.ts";
import { type Feed, openRuntime, type Runtime } from "../../lib/runtime/runtime.ts";
import { gradientGraph, type Optimiser, parametersOf, stateOf, trainingGraph } from "../../lib/train/graph.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance } from "../layers.ts";
import { GRADIENT_RELATIVE, LOGITS_TINY, STEP_RELATIVE } from "../tolerances.ts";
import { eigenvalues, newtonSchulz } from "./muon.ts";
import { logSoftmax, referencePass, type ReferenceWeights } from "../model/reference.ts";
import { architectureOf, arraysOf, tinyConfig, tinyModel } from "../model/tiny.ts";

const config = tinyConfig({
  d_model: 8,
  n_heads: 2,
  n_kv_heads: 2,
  mlp_hidden_size: 12,
  vocab_size: 11,
  embedding_size: 11,
  mask_token_id: 10,
});
const a = architectureOf(config);
const batch = 2, time = 5, count = batch * time;
const optimiser: Optimiser = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, momentum: 0.95, weightDecay: 0.1, clip: 1e9 };

type Tensors = Map<string, Float32Array>;
const size = (shape: readonly number[]) => shape.reduce((x, y) => x * y, 1);
const shapes = new Map(stateOf(a).map((t) => [t.name, t.shape]));
const largest = (x: ArrayLike<number>) => Array.from(x).reduce((m, y) => Math.max(m, Math.abs(y)), 0);

/** Parameters of a size that makes every part of the graph matter. */
function parameters(seed: number): Tensors {
  return new Map(
    parametersOf(a).map(({ name, shape }) => {
      const r = rng(seed, name);
      return [
        name,
        Float32Array.from({ length: size(shape) }, () => shape.length === 1 ? 1 + 0.3 * r.normal() : 0.4 * r.normal()),
      ];
    }),
  );
}

function batchOf(seed: number) {
  const r = rng(seed, "batch");
  const targets = Int32Array.from({ length: count }, () => r.int(10));
  const weights = Float32Array.from({ length: count }, () => r.next() < 0.6 ? r.next() : 0);
  const tokens = targets.map((t, i) => weights[i] > 0 ? a.maskId : t);
  const feeds: Record<string, Feed> = {
    tokens: { dims: [count], data: BigInt64Array.from(tokens, BigInt) },
    targets: { dims: [count, 1], data: BigInt64Array.from(targets, BigInt) },
    weights: { dims: [count, 1], data: weights },
  };
  return { tokens, targets, weights, feeds };
}

const feedsOf = (tensors: Tensors): Record<string, Feed> =>
  Object.fromEntries([...tensors].map(([name, data]) => [name, { dims: shapes.get(name)!, data }]));

/** Σ weight · cross entropy by float64 loops. */
function plainLoss(
  a: Architecture,
  get: (name: string) => ArrayLike<number>,
  { tokens, targets, weights }: ReturnType<typeof batchOf>,
) {
  const block = (layer: number) => new Proxy({}, { get: (_, name) => get(`${layer}.${String(name)}`) });
  const model = { embed: get("embed"), finalNorm: get("finalNorm"), head: get("head"), blocks: [block(0), block(1)] };
  let loss = 0;
  for (let start = 0; start < count; start += time) {
    const { logits } = referencePass(a, model as unknown as ReferenceWeights, tokens.subarray(start, start + time));
    logits.forEach((row, p) => loss -= weights[start + p] * logSoftmax(row)[targets[start + p]]);
  }
  return loss;
}

async function gradientsOf(runtime: Runtime, tensors: Tensors, { feeds }: ReturnType<typeof batchOf>) {
  await using session = await runtime.session(gradientGraph(a, { batch, time }));
  return await session.run({ ...feedsOf(tensors), ...feeds });
}

Deno.test("the gradient of every parameter agrees with central differences of float64 loops", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const tensors = parameters(1);
  const data = batchOf(1);
  const outputs = await gradientsOf(runtime, tensors, data);
  const plain = new Map([...tensors].map(([name, x]) => [name, Float64Array.from(x)]));
  const loss = () => plainLoss(a, (name) => plain.get(name)!, data);
  assert(Math.abs(outputs.loss.data[0] - loss()) <= 1e-5 * loss());
  for (const [name, x] of plain) {
    const h = 1e-5;
    const numeric = Float64Array.from(x, (value, i) => {
      x[i] = value + h;
      const above = loss();
      x[i] = value - h;
      const below = loss();
      x[i] = value;
      return (above - below) / (2 * h);
    });
    const off = distance(outputs[`d.${name}`].data, numeric) / largest(numeric);
    assert(off <= GRADIENT_RELATIVE, `the gradient of ${name} is off by ${off} of its largest entry`);
  }
});

Deno.test("training and inference, with its fused attention, give the same loss", async () => {
  await using model = await tinyModel({ config });
  const data = batchOf(2);
  const w = arraysOf(model);
  const tensors: Tensors = new Map([["embed", w.embed], ["finalNorm", w.finalNorm], ["head", w.head]]);
  w.blocks.forEach((b, layer) => Object.entries(b).forEach(([name, x]) => tensors.set(`${layer}.${name}`, x)));
  const { loss } = await gradientsOf(model.engine.runtime, tensors, data);
  const { data: logits } = await model.logits(data.tokens, { batch });
  let wanted = 0;
  for (let i = 0; i < count; i++) {
    wanted -= data.weights[i] * logSoftmax(logits.subarray(i * 11, (i + 1) * 11))[data.targets[i]];
  }
  assert(Math.abs(loss.data[0] - wanted) <= LOGITS_TINY, `${loss.data[0]} in training, ${wanted} in inference`);
});

/** One step from `state`, whose moments are those of some steps before. */
async function step(runtime: Runtime, state: Tensors, data: ReturnType<typeof batchOf>, options: Optimiser) {
  const scalar = (x: number): Feed => ({ dims: [], data: Float32Array.of(x) });
  await using session = await runtime.session(trainingGraph(a, { batch, time, optimiser: options }));
  const scalars = { rate: scalar(0.01), c1: scalar(1.5), c2: scalar(2.5) };
  return await session.run({ ...feedsOf(state), ...data.feeds, ...scalars });
}

function stateAt(seed: number): Tensors {
  const state = parameters(seed);
  for (const { name, shape } of stateOf(a)) {
    const r = rng(seed, "state", name);
    if (name.startsWith("m.")) state.set(name, Float32Array.from({ length: size(shape) }, () => 0.05 * r.normal()));
    if (name.startsWith("v.")) state.set(name, Float32Array.from({ length: size(shape) }, () => 0.01 * r.next()));
  }
  return state;
}

Deno.test("a step is Adam for embeddings, head and norms and Muon for linears, clipped by the global norm", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const state = stateAt(3);
  const data = batchOf(3);
  const gradients = await gradientsOf(runtime, state, data);
  const all = parametersOf(a);
  const norm = Math.sqrt(all.reduce((s, p) => s + gradients[`d.${p.name}`].data.reduce((t, x) => t + x * x, 0), 0));
  for (const clip of [1e9, norm / 3]) {
    const { beta1, beta2, epsilon, momentum, weightDecay } = optimiser;
    const got = await step(runtime, state, data, { ...optimiser, clip });
    assert(Math.abs(got.norm.data[0] - norm) <= 1e-5 * norm);
    assertEquals(got.loss.data, gradients.loss.data);
    const scale = Math.min(1, clip / norm);
    for (const { name, shape, muon } of all) {
      const old = state.get(name)!;
      const g = Float64Array.from(gradients[`d.${name}`].data, (x) => x * scale);
      const m = Float64Array.from(state.get(`m.${name}`)!);
      let update: Float64Array;
      if (muon) {
        g.forEach((x, i) => m[i] = momentum * m[i] + (1 - momentum) * x);
        const nesterov = g.map((x, i) => (1 - momentum) * x + momentum * m[i]);
        const [rows, cols] = shape;
        const O = newtonSchulz(nesterov, rows, cols);
        update = O.map((x, i) => weightDecay * old[i] + 0.2 * Math.sqrt(Math.max(rows, cols)) * x);
      } else {
        const v = Float64Array.from(state.get(`v.${name}`)!);
        g.forEach((x, i) => {
          m[i] = beta1 * m[i] + (1 - beta1) * x;
          v[i] = beta2 * v[i] + (1 - beta2) * x * x;
        });
        update = m.map((x, i) => x * 1.5 / (Math.sqrt(v[i] * 2.5) + epsilon));
        assert(distance(got[`v.${name}'`].data, v) <= STEP_RELATIVE * largest(v), `v of ${name}`);
      }
      assert(distance(got[`m.${name}'`].data, m) <= STEP_RELATIVE * largest(m), `m of ${name}`);
      const moved = got[`${name}'`].data.map((x, i) => (old[i] - x) / 0.01);
      // Differences of parameters of size 1 lose seven digits: 1e-7 / 0.01 on top.
      const off = distance(moved, update);
      assert(off <= STEP_RELATIVE * largest(update) + 3e-5, `${name}: its step is off by ${off}`);
    }
  }
});

Deno.test("the direction of Muon is nearly orthogonal for square, wide and tall matrices", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const state = stateAt(4);
  // Momenta far larger than any gradient, so that their shape alone is orthogonalised.
  for (const [name, x] of state) if (name.startsWith("m.")) x.forEach((y, i) => x[i] = 1e4 * y);
  const got = await step(runtime, state, batchOf(4), { ...optimiser, weightDecay: 0 });
  for (const { name, shape, muon } of parametersOf(a)) {
    if (!muon) continue;
    const [rows, cols] = shape;
    const scale = 0.01 * 0.2 * Math.sqrt(Math.max(rows, cols));
    const O = Float64Array.from(got[`${name}'`].data, (x, i) => (state.get(name)![i] - x) / scale);
    const values = eigenvalues(O, rows, cols).map(Math.sqrt);
    assertEquals(values.length, Math.min(rows, cols));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    assert(low >= 0.6 && high <= 1.3, `${name} [${shape}]: singular values from ${low} to ${high}`);
  }
});

Deno.test("what training carries on is named once, with the shapes of the model", () => {
  const names = stateOf(a).map((t) => t.name);
  assertEquals(new Set(names).size, names.length);
  assertEquals(names.filter((n) => n.startsWith("m.")).length, parametersOf(a).length);
  assertEquals(parametersOf(a).filter((p) => p.muon).length, 14);
  assertEquals(names.filter((n) => n.startsWith("v.")).length, parametersOf(a).length - 14);
  assertEquals(shapes.get("v.embed"), [11, 8]);
});
