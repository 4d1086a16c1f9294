/** How the graph of a block gets at its weights, and the SwiGLU network that dense blocks and experts share. */
import type { Graph, Value } from "../onnx/graph.ts";
import { linear, matmul, mul, sigmoid } from "../onnx/ops.ts";
import { type Architecture, type BlockWeight, type Linear, weightShape } from "./architecture.ts";

/** How a graph gets at the weights of a block: dense inputs, or packed nodes. */
export interface BlockParts {
  /** A norm or bias. */
  vector(name: BlockWeight): Value;
  /** x Wᵀ of a linear; x `[batch, time, in]`, or `[n, in]` for experts and the router. */
  linear(name: Linear, x: Value): Value;
}

/** Parts over float32 weights of the shapes that `weightShape` gives. */
export function denseParts(g: Graph, weight: (name: BlockWeight) => Value): BlockParts {
  return {
    vector: weight,
    linear: (name, x) =>
      x.shape.length === 2 ? matmul(g, x, weight(name), { transB: true }) : linear(g, x, weight(name)),
  };
}

/** Parts over the weights as inputs of the graph, each named once it is used. */
export function inputParts(g: Graph, a: Architecture): BlockParts {
  const inputs = new Map<BlockWeight, Value>();
  return denseParts(g, (name) => {
    let value = inputs.get(name);
    if (!value) inputs.set(name, value = g.input(name, "float32", weightShape(a, name)));
    return value;
  });
}

/** silu(gate x) · up x of the network whose linears are called `prefix` and gate, up. */
export function swiGlu(g: Graph, x: Value, parts: BlockParts, prefix = ""): Value {
  const gate = parts.linear(`${prefix}gate`, x);
  return mul(g, mul(g, gate, sigmoid(g, gate)), parts.linear(`${prefix}up`, x));
}
