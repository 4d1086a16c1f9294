/** A mixture of experts (LLaDA-MoE) as operators of a graph: every token goes through the experts that the router picks, and so do gradients. */
import type { Architecture } from "./architecture.ts";
import type { BlockParts } from "./parts.ts";
import { swiGlu } from "./parts.ts";
import type { Graph, Value } from "../onnx/graph.ts";
import { div, flat, gather, matmul, mul, reduceSum, reshape, softmax } from "../onnx/ops.ts";

/**
 * Routing weights `[n, experts]` of h `[n, width]`: softmax over all experts, kept for the `active` largest (ties to the lowest index) and zero
 * elsewhere. LLaDA-MoE does not renormalise them.
 */
export function routing(g: Graph, a: Architecture, h: Value, router: Value): Value {
  const { count, active, renormalise } = a.experts!;
  const p = softmax(g, matmul(g, h, router, { transB: true }));
  const [n] = h.shape;
  const top = [n, active];
  const [values, indices] = g.append("TopK", [p, g.ints(active)], [{ shape: top }, { type: "int64", shape: top }]);
  const kept = renormalise ? div(g, values, reduceSum(g, values, [1])) : values;
  const zeros = mul(g, p, g.scalar(0));
  return g.append("ScatterElements", [zeros, indices, kept], [{ shape: [n, count] }], { axis: 1 })[0];
}

/** Σ over experts of weight · down(silu(gate h) · up h), each expert on its own tokens only; h `[batch, time, width]` or `[n, width]`. */
export function mixture(g: Graph, a: Architecture, h: Value, parts: BlockParts): Value {
  const matrix = h.shape.length === 2 ? h : flat(g, h), [n] = matrix.shape;
  const weights = routing(g, a, matrix, parts.vector("router"));
  let sum = mul(g, matrix, g.scalar(0));
  for (let e = 0; e < a.experts!.count; e++) {
    const m = `tokens of ${e}`;
    const column = g.append("Gather", [weights, g.ints(e)], [{ shape: [n, 1] }], { axis: 1 })[0];
    const chosen = g.append("NonZero", [reshape(g, column, [n])], [{ type: "int64", shape: [1, m] }])[0];
    const rows = reshape(g, chosen, [m]);
    const y = parts.linear(`experts.${e}.down`, swiGlu(g, gather(g, matrix, rows), parts, `experts.${e}.`));
    const scaled = mul(g, y, gather(g, column, rows));
    const at = reshape(g, chosen, [m, 1]);
    sum = g.append("ScatterND", [sum, at, scaled], [{ shape: [n, a.width] }], { reduction: "add" })[0];
  }
  if (matrix === h) return sum;
  // The leading dimensions are only known at run time: take them from h.
  const lead = g.append("Shape", [h], [{ type: "int64", shape: [3] }])[0];
  return g.append("Reshape", [sum, lead], [{ shape: h.shape }])[0];
}
