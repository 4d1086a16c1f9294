/** The operators that our graphs are made of, with their shapes. Each has its gradient in `autodiff.ts`, unless it says that it is for inference. */
import { absent, type Dimension, type Graph, type Value } from "./graph.ts";

type Shape = readonly Dimension[];

/** alpha · op(A) · op(B) over the last two axes, batched over equal leading axes. A shared weight is a B of rank 2. */
export function matmul(g: Graph, A: Value, B: Value, { transA = false, transB = false, alpha = 1 } = {}): Value {
  const m = A.shape.at(transA ? -1 : -2)!;
  const n = B.shape.at(transB ? -2 : -1)!;
  const attributes = { transA: Number(transA), transB: Number(transB), alpha };
  return g.append("FusedMatMul", [A, B], [{ shape: [...A.shape.slice(0, -2), m, n] }], attributes)[0];
}

/** Elementwise operators with numpy broadcasting. */
export const add = (g: Graph, a: Value, b: Value): Value => binary(g, "Add", a, b);
export const sub = (g: Graph, a: Value, b: Value): Value => binary(g, "Sub", a, b);
export const mul = (g: Graph, a: Value, b: Value): Value => binary(g, "Mul", a, b);
export const div = (g: Graph, a: Value, b: Value): Value => binary(g, "Div", a, b);
export const min = (g: Graph, a: Value, b: Value): Value => binary(g, "Min", a, b);
export const sigmoid = (g: Graph, x: Value): Value => g.append("Sigmoid", [x], [x])[0];
export const sqrt = (g: Graph, x: Value): Value => g.append("Sqrt", [x], [x])[0];
export const softmax = (g: Graph, x: Value): Value => g.append("Softmax", [x], [x], { axis: -1 })[0];
export const logSoftmax = (g: Graph, x: Value): Value => g.append("LogSoftmax", [x], [x], { axis: -1 })[0];

/** Sum over `axes`, which stay as 1 (or go, with `keep: false`). */
export function reduceSum(g: Graph, x: Value, axes: readonly number[], { keep = true } = {}): Value {
  const shape = keep ? x.shape.map((d, i) => axes.includes(i) ? 1 : d) : x.shape.filter((_, i) => !axes.includes(i));
  return g.append("ReduceSum", [x, g.ints(...axes)], [{ shape }], { keepdims: Number(keep) })[0];
}

/** The same numbers in row-major order under another shape; at most one dimension may be run-time, as -1. */
export function reshape(g: Graph, x: Value, shape: Shape): Value {
  const target = g.ints(...shape.map((d) => typeof d === "number" ? d : -1));
  return g.append("Reshape", [x, target], [{ type: x.type, shape }])[0];
}

export function transpose(g: Graph, x: Value, perm: readonly number[]): Value {
  return g.append("Transpose", [x], [{ shape: perm.map((p) => x.shape[p]) }], { perm })[0];
}

/** Rows of `table` [n, d] at `indices` (int64, any shape). */
export function gather(g: Graph, table: Value, indices: Value): Value {
  return g.append("Gather", [table, indices], [{ shape: [...indices.shape, ...table.shape.slice(1)] }], { axis: 0 })[0];
}

/** x[i, index[i, 0]] of a matrix x [n, m], as [n, 1]. */
export function pick(g: Graph, x: Value, index: Value): Value {
  return g.append("GatherElements", [x, index], [{ shape: index.shape }], { axis: 1 })[0];
}

/** RMSNorm over the last axis: x / sqrt(mean(x²) + epsilon) · weight. */
export function rmsNorm(g: Graph, x: Value, weight: Value, epsilon: number): Value {
  const inverse = x.shape.map((d, i) => i === x.shape.length - 1 ? 1 : d);
  return g.append("SimplifiedLayerNormalization", [x, weight], [x, { shape: inverse }], { axis: -1, epsilon })[0];
}

/**
 * Rotary embedding of heads stored side by side, x [batch, time, heads · size], half-split layout: (a, b) → (a cos - b sin, b cos + a sin) with a, b
 * the halves of a head. `cos`, `sin` [positions, size / 2]; position 0 is the first of the sequence.
 */
export function rope(g: Graph, x: Value, cos: Value, sin: Value): Value {
  return g.append("RotaryEmbedding", [x, g.ints(0), cos, sin], [x], { interleaved: 0 })[0];
}

/** Full softmax attention, fused; q, k, v [batch, time, heads · size]. For inference. */
export function fusedAttention(g: Graph, q: Value, k: Value, v: Value, heads: number): Value {
  return g.append("MultiHeadAttention", [q, k, v], [q], { num_heads: heads })[0];
}

/** Full softmax attention from differentiable operators; q, k, v [batch, time, heads · size] with static shapes. */
export function attention(g: Graph, q: Value, k: Value, v: Value, heads: number): Value {
  const [batch, time, width] = q.shape as number[];
  const size = width / heads;
  const split = (x: Value) => transpose(g, reshape(g, x, [batch, time, heads, size]), [0, 2, 1, 3]);
  const scores = matmul(g, split(q), split(k), { transB: true, alpha: 1 / Math.sqrt(size) });
  const mixed = matmul(g, softmax(g, scores), split(v));
  return reshape(g, transpose(g, mixed, [0, 2, 1, 3]), [batch, time, width]);
}

/** Repeats each of `from` heads `to / from` times, as grouped-query attention shares them; x [batch, time, from · size]. For inference. */
export function repeatHeads(g: Graph, x: Value, from: number, to: number, size: number): Value {
  if (from === to) return x;
  const [batch, time] = x.shape;
  const shaped = (shape: Shape, ints: number[], y: Value) => g.append("Reshape", [y, g.ints(...ints)], [{ shape }])[0];
  const split = shaped([batch, time, from, 1, size], [0, 0, from, 1, size], x);
  const repeated = g.append("Expand", [split, g.ints(1, 1, from, to / from, size)], [{
    shape: [batch, time, from, to / from, size],
  }])[0];
  return shaped([batch, time, to * size], [0, 0, to * size], repeated);
}

/** An all-zero gradient seed or optional input. */
export { absent };

function binary(g: Graph, op: string, a: Value, b: Value): Value {
  return g.append(op, [a, b], [{ shape: broadcast(a.shape, b.shape) }])[0];
}

function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw new TypeError(`Cannot broadcast [${a}] with [${b}]`);
    return x === 1 ? y : x;
  });
}
