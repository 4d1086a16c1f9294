/** Forward, backward and AdamW of a whole model as one graph. */
import { type Architecture, block, type BlockWeight, blockWeights, weightShape } from "./block.ts";
import { gradients } from "./autodiff.ts";
import { Graph, type Value } from "./graph.ts";
import { add, div, gather, logSoftmax, matmul, min, mul, pick, reduceSum, reshape, rmsNorm, sqrt, sub } from "./ops.ts";
import { ropeTables } from "./block.ts";

/** A trainable tensor: its place in the model, its shape, and whether weight decay applies (matrices of the blocks). */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly decay: boolean;
}

/** The parameters of a model in a fixed order: embed, blocks, finalNorm, head. Block weights are called `${layer}.${weight}`. */
export function parametersOf(a: Architecture): Parameter[] {
  const blocks = Array.from({ length: a.layers }, (_, layer) =>
    blockWeights.map((w): Parameter => {
      const shape = weightShape(a, w);
      return { name: `${layer}.${w}`, shape, decay: shape.length === 2 };
    })).flat();
  return [
    { name: "embed", shape: [a.vocabSize, a.width], decay: false },
    ...blocks,
    { name: "finalNorm", shape: [a.width], decay: false },
    { name: "head", shape: [a.vocabSize, a.width], decay: true },
  ];
}

export interface AdamW {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** The global gradient norm is clipped to this. */
  readonly clip: number;
}

/**
 * One training step. Inputs: `tokens` int64 `[batch · time]` (masked), `targets` int64 `[batch · time, 1]`, `weights` float32 `[batch · time, 1]` (the
 * weight of each position's cross entropy; 0 where nothing is masked), scalars `rate`, `c1`, `c2` (learning rate and the bias corrections
 * 1 / (1 - beta^step)), and per parameter P its value `P`, and moments `m.P`, `v.P`. Outputs: `loss` = Σ weight · cross entropy, `norm` (of the gradient
 * before clipping), and the new `P'`, `m.P'`, `v.P'`.
 */
export function trainingGraph(a: Architecture, batch: number, time: number, adam: AdamW): Uint8Array {
  const g = new Graph();
  const parameters = parametersOf(a);
  const values = parameters.map((p) => g.input(p.name, "float32", p.shape));
  const loss = lossOf(g, a, batch, time, new Map(values.map((v) => [v.name, v])));
  const grads = gradients(g, loss, values);
  const squares = grads.map((grad) => reduceSum(g, mul(g, grad, grad), grad.shape.map((_, i) => i), { keep: false }));
  const norm = sqrt(g, squares.reduce((x, y) => add(g, x, y)));
  const scale = min(g, g.scalar(1), div(g, g.scalar(adam.clip), norm));
  const [rate, c1, c2] = ["rate", "c1", "c2"].map((name) => g.input(name, "float32", []));
  const toward = (x: Value, target: Value, weight: number) => add(g, x, mul(g, sub(g, target, x), g.scalar(weight)));
  parameters.forEach(({ name, shape, decay }, i) => {
    const grad = mul(g, grads[i], scale);
    const m = toward(g.input(`m.${name}`, "float32", shape), grad, 1 - adam.beta1);
    const v = toward(g.input(`v.${name}`, "float32", shape), mul(g, grad, grad), 1 - adam.beta2);
    const update = div(g, mul(g, m, c1), add(g, sqrt(g, mul(g, v, c2)), g.scalar(adam.epsilon)));
    const decayed = decay ? add(g, update, mul(g, values[i], g.scalar(adam.weightDecay))) : update;
    g.output(`${name}'`, sub(g, values[i], mul(g, decayed, rate)));
    g.output(`m.${name}'`, m);
    g.output(`v.${name}'`, v);
  });
  g.output("loss", loss);
  g.output("norm", norm);
  return g.encode();
}

/** The graph of the gradients alone: outputs `loss` and `d.P` for each parameter. For tests. */
export function gradientGraph(a: Architecture, batch: number, time: number): Uint8Array {
  const g = new Graph();
  const values = parametersOf(a).map((p) => g.input(p.name, "float32", p.shape));
  const loss = lossOf(g, a, batch, time, new Map(values.map((v) => [v.name, v])));
  gradients(g, loss, values).forEach((grad, i) => g.output(`d.${values[i].name}`, grad));
  g.output("loss", loss);
  return g.encode();
}

function lossOf(g: Graph, a: Architecture, batch: number, time: number, parameter: ReadonlyMap<string, Value>): Value {
  const count = batch * time;
  const tokens = g.input("tokens", "int64", [count]);
  const targets = g.input("targets", "int64", [count, 1]);
  const weights = g.input("weights", "float32", [count, 1]);
  const tables = ropeTables(a, time);
  const half = [time, a.headSize / 2];
  const rotation = { cos: g.constant(tables.cos, half), sin: g.constant(tables.sin, half) };
  let x = reshape(g, gather(g, parameter.get("embed")!, tokens), [batch, time, a.width]);
  for (let layer = 0; layer < a.layers; layer++) {
    const w = Object.fromEntries(blockWeights.map((name) => [name, parameter.get(`${layer}.${name}`)!]));
    x = block(g, a, x, w as Record<BlockWeight, Value>, rotation, { differentiable: true });
  }
  const last = reshape(g, rmsNorm(g, x, parameter.get("finalNorm")!, a.epsilon), [count, a.width]);
  const logits = matmul(g, last, parameter.get("head")!, { transB: true });
  const likelihood = mul(g, pick(g, logSoftmax(g, logits), targets), weights);
  return mul(g, reduceSum(g, likelihood, [0, 1], { keep: false }), g.scalar(-1));
}
