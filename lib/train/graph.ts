/** Forward, backward and the optimiser step of a whole model as one graph. */
import { type Architecture, blockWeights, weightShape } from "../model/architecture.ts";
import { block, ropeTables } from "../model/block.ts";
import { denseParts } from "../model/parts.ts";
import { gradients } from "../onnx/autodiff.ts";
import { Graph, type Value } from "../onnx/graph.ts";
import {
  add,
  div,
  gather,
  logSoftmax,
  matmul,
  min,
  mul,
  pick,
  reduceSum,
  reshape,
  rmsNorm,
  sqrt,
  sub,
} from "../onnx/ops.ts";

/** A trainable tensor: its place in the model, its shape, and whether it is a linear of a block: those take Muon with weight decay, the rest Adam. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly muon: boolean;
}

/** The parameters of a model in a fixed order: embed, blocks, finalNorm, head. Block weights are called `${layer}.${weight}`. */
export function parametersOf(a: Architecture): Parameter[] {
  const blocks = Array.from({ length: a.layers }, (_, layer) =>
    blockWeights(a).map((w): Parameter => {
      const shape = weightShape(a, w);
      return { name: `${layer}.${w}`, shape, muon: shape.length === 2 };
    })).flat();
  return [
    { name: "embed", shape: [a.vocabSize, a.width], muon: false },
    ...blocks,
    { name: "finalNorm", shape: [a.width], muon: false },
    { name: "head", shape: [a.vocabSize, a.width], muon: false },
  ];
}

/** What a graph of training is built for. */
interface Sizes {
  /** Sequences. */
  readonly batch: number;
  /** Tokens of each. */
  readonly time: number;
}

export interface Optimiser {
  /** Adam, for embeddings, head and norms. */
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Muon, for the linears of the blocks. */
  readonly momentum: number;
  readonly weightDecay: number;
  /** The global gradient norm is clipped to this. */
  readonly clip: number;
}

/**
 * One training step. Inputs: `tokens` int64 `[batch · time]` (masked), `targets` int64 `[batch · time, 1]`, `weights` float32 `[batch · time, 1]` (the
 * weight of each position's cross entropy; 0 where nothing is masked), scalars `rate`, `c1`, `c2` (learning rate and the bias corrections
 * 1 / (1 - beta^step)), and the tensors of `stateOf`. Outputs: `loss` = Σ weight · cross entropy, `norm` (of the gradient before clipping), and the
 * new tensors, each with a prime.
 */
export function trainingGraph(
  a: Architecture,
  { batch, time, optimiser }: Sizes & { readonly optimiser: Optimiser },
): Uint8Array {
  const g = new Graph();
  const parameters = parametersOf(a);
  const values = parameters.map((p) => g.input(p.name, "float32", p.shape));
  const loss = lossOf(g, a, batch, time, new Map(values.map((v) => [v.name, v])));
  const grads = gradients(g, loss, values);
  const squares = grads.map((grad) => reduceSum(g, mul(g, grad, grad), grad.shape.map((_, i) => i), { keep: false }));
  const norm = sqrt(g, squares.reduce((x, y) => add(g, x, y)));
  const scale = min(g, g.scalar(1), div(g, g.scalar(optimiser.clip), norm));
  const [rate, c1, c2] = ["rate", "c1", "c2"].map((name) => g.input(name, "float32", []));
  parameters.forEach(({ name, shape, muon }, i) => {
    const grad = mul(g, grads[i], scale);
    const m = g.input(`m.${name}`, "float32", shape);
    let update: Value;
    if (muon) {
      const momentum = toward(g, m, grad, 1 - optimiser.momentum);
      g.output(`m.${name}'`, momentum);
      const direction = orthogonalise(g, toward(g, grad, momentum, optimiser.momentum)); // Nesterov
      const decay = mul(g, values[i], g.scalar(optimiser.weightDecay));
      update = add(g, decay, mul(g, direction, g.scalar(0.2 * Math.sqrt(Math.max(...shape)))));
    } else {
      const mean = toward(g, m, grad, 1 - optimiser.beta1);
      const square = toward(g, g.input(`v.${name}`, "float32", shape), mul(g, grad, grad), 1 - optimiser.beta2);
      g.output(`m.${name}'`, mean);
      g.output(`v.${name}'`, square);
      update = div(g, mul(g, mean, c1), add(g, sqrt(g, mul(g, square, c2)), g.scalar(optimiser.epsilon)));
    }
    g.output(`${name}'`, sub(g, values[i], mul(g, update, rate)));
  });
  g.output("loss", loss);
  g.output("norm", norm);
  return g.encode();
}

/** Names and shapes of all tensors that training carries on: the parameters, first moments `m.P`, and second moments `v.P` where Adam needs them. */
export function stateOf(a: Architecture): { readonly name: string; readonly shape: readonly number[] }[] {
  return parametersOf(a).flatMap(({ name, shape, muon }) =>
    [name, `m.${name}`, ...(muon ? [] : [`v.${name}`])].map((key) => ({ name: key, shape }))
  );
}

/** x + weight · (target - x). */
function toward(g: Graph, x: Value, target: Value, weight: number): Value {
  return add(g, x, mul(g, sub(g, target, x), g.scalar(weight)));
}

/**
 * The nearest semi-orthogonal matrix of M, roughly (singular values 0.7 to 1.2): five Newton-Schulz steps X ← a X + (b A + c A²) X, A = X Xᵀ, from
 * M / ‖M‖_F. The step of Muon (K. Jordan et al. 2024); scaled by 0.2 sqrt(max(rows, cols)) its entries are as large as those of Adam (arXiv 2502.16982).
 */
function orthogonalise(g: Graph, M: Value): Value {
  const tall = (M.shape[0] as number) > (M.shape[1] as number);
  const norm = sqrt(g, reduceSum(g, mul(g, M, M), [0, 1], { keep: false }));
  let X = div(g, M, add(g, norm, g.scalar(1e-7)));
  for (let step = 0; step < 5; step++) {
    const A = matmul(g, X, X, tall ? { transA: true } : { transB: true });
    const B = add(g, mul(g, A, g.scalar(-4.775)), mul(g, matmul(g, A, A), g.scalar(2.0315)));
    X = add(g, mul(g, X, g.scalar(3.4445)), tall ? matmul(g, X, B) : matmul(g, B, X));
  }
  return X;
}

/** The graph of the gradients alone: outputs `loss` and `d.P` for each parameter. For tests. */
export function gradientGraph(a: Architecture, { batch, time }: Sizes): Uint8Array {
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
    x = block(g, a, x, denseParts(g, (name) => parameter.get(`${layer}.${name}`)!), rotation);
  }
  const last = reshape(g, rmsNorm(g, x, parameter.get("finalNorm")!, a.epsilon), [count, a.width]);
  const logits = matmul(g, last, parameter.get("head")!, { transB: true });
  const likelihood = mul(g, pick(g, logSoftmax(g, logits), targets), weights);
  return mul(g, reduceSum(g, likelihood, [0, 1], { keep: false }), g.scalar(-1));
}
