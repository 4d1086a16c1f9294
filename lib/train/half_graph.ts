/** Half a block and its gradients as graphs: in one, or cut in two between the forward pass and the way back. */
import {
  type Architecture,
  attentionWeights,
  type BlockWeight,
  feedForwardWeights,
  type Half,
  weightShape,
} from "../model/architecture.ts";
import { attend, feedForward, ropeTables } from "../model/block.ts";
import { type BlockParts, denseParts } from "../model/parts.ts";
import { gradients } from "../onnx/autodiff.ts";
import { Graph, type Value } from "../onnx/graph.ts";
import { kept } from "../onnx/kept.ts";
import { mul } from "../onnx/ops.ts";

/** The forward pass, which gives `y` and what the way back reads; the way back from that; or the way back from the states that entered alone. */
export type Pass = "forward" | "backward" | "whole";

export const weightsOf = (a: Architecture, half: Half) =>
  half === "attention" ? attentionWeights(a) : feedForwardWeights(a);

export interface HalfGraph {
  readonly g: Graph;
  /** Outputs of the forward pass and inputs of the way back, in the same order. */
  readonly kept: readonly Value[];
}

/**
 * Inputs: the states `x` that enter, `[batch, time, width]` for attention and `[n, width]` for the feed-forward network, the weights by their names, `rows`
 * where only those leave attention, and `dOut`. Outputs of the way back: `dX` unless it is not wanted, and `d.` with the name of each weight.
 */
export function halfGraph(
  a: Architecture,
  { pass, half, batch, time, rows, states }: {
    readonly pass: Pass;
    readonly half: Half;
    readonly batch: number;
    readonly time: number;
    readonly rows: boolean;
    readonly states: boolean;
  },
): HalfGraph {
  const g = new Graph();
  const x = g.input("x", "float32", half === "attention" ? [batch, time, a.width] : ["n", a.width]);
  const names = weightsOf(a, half);
  const weights = new Map(names.map((name) => [name, g.input(name, "float32", weightShape(a, name))]));
  const weight = (name: BlockWeight) => weights.get(name)!;
  const parts = states || half === "feedForward" ? denseParts(g, weight) : foldedParts(g, a, weight);
  const output = () => {
    if (half === "feedForward") return feedForward(g, a, x, parts);
    const tables = ropeTables(a, time), shape = [time, a.headSize / 2];
    const rotation = { cos: g.constant(tables.cos, shape), sin: g.constant(tables.sin, shape) };
    return attend(g, a, x, parts, rotation, rows ? { rows: g.input("rows", "int64", ["n"], { distinct: true }) } : {});
  };
  const y = output(), from = g.nodes.length, dy = g.input("dOut", "float32", y.shape);
  const wanted = [...(states ? ["x"] : []), ...names];
  const all = gradients(g, y, [...(states ? [x] : []), ...weights.values()], { dy });
  const values = pass === "whole" ? [] : kept(g, from, all);
  for (const value of values) {
    if (pass === "forward") g.output(value.name, value);
    else g.given(value);
  }
  if (pass === "forward") g.output("y", y);
  else wanted.forEach((name, i) => g.output(name === "x" ? "dX" : `d.${name}`, all[i]));
  return { g, kept: values };
}

/**
 * Parts of attention where the weight of its norm is a factor of the columns of q, k and v. The gradient of the norm then is a sum over their weights, and
 * that of the states before them is not needed.
 */
function foldedParts(g: Graph, a: Architecture, weight: (name: BlockWeight) => Value): BlockParts {
  const ones = g.constant(new Float32Array(a.width).fill(1), [a.width]);
  const folded = (name: BlockWeight) => "qkv".includes(name) ? mul(g, weight(name), weight("attnNorm")) : weight(name);
  return { ...denseParts(g, folded), vector: (name) => name === "attnNorm" ? ones : weight(name) };
}
