/** Half a block and its gradients as graphs: in one, or cut in two between the forward pass and the way back. */
import {
  type Architecture,
  attentionWeights,
  feedForwardWeights,
  type Half,
  weightShape,
} from "../model/architecture.ts";
import { attend, feedForward, ropeTables } from "../model/block.ts";
import { denseParts } from "../model/parts.ts";
import { gradients } from "../onnx/autodiff.ts";
import { Graph } from "../onnx/graph.ts";
import { kept } from "../onnx/kept.ts";

/** The forward pass, which gives `y` and what the way back reads; the way back from that; or the way back from the states that entered alone. */
export type Pass = "forward" | "backward" | "whole";

export const weightsOf = (a: Architecture, half: Half) =>
  half === "attention" ? attentionWeights(a) : feedForwardWeights(a);

/**
 * Inputs: the states `x` that enter, `[batch, time, width]` for attention and `[n, width]` for the feed-forward network, the weights by their names, `rows`
 * where only those leave attention, and `dOut`. Outputs of the way back: `dX`, and `d.` with the name of each weight.
 */
export function halfGraph(
  a: Architecture,
  { pass, half, batch, time, rows }: {
    readonly pass: Pass;
    readonly half: Half;
    readonly batch: number;
    readonly time: number;
    readonly rows: boolean;
  },
): Graph {
  const g = new Graph();
  const x = g.input("x", "float32", half === "attention" ? [batch, time, a.width] : ["n", a.width]);
  const names = weightsOf(a, half);
  const weights = new Map(names.map((name) => [name, g.input(name, "float32", weightShape(a, name))]));
  const parts = denseParts(g, (name) => weights.get(name)!);
  const output = () => {
    if (half === "feedForward") return feedForward(g, a, x, parts);
    const tables = ropeTables(a, time), shape = [time, a.headSize / 2];
    const rotation = { cos: g.constant(tables.cos, shape), sin: g.constant(tables.sin, shape) };
    return attend(g, a, x, parts, rotation, rows ? { rows: g.input("rows", "int64", ["n"], { distinct: true }) } : {});
  };
  const y = output(), from = g.nodes.length;
  const all = gradients(g, y, [x, ...weights.values()], { dy: g.input("dOut", "float32", y.shape) });
  if (pass !== "whole") {
    for (const value of kept(g, from, all)) {
      if (pass === "forward") g.output(value.name, value);
      else g.given(value);
    }
  }
  if (pass === "forward") g.output("y", y);
  else ["dX", ...names.map((name) => `d.${name}`)].forEach((name, i) => g.output(name, all[i]));
  return g;
}
