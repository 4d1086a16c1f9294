/** The operators that our graphs are made of, with their shapes. Each has its gradient in `autodiff.ts`, unless it says that it is for inference. */
import type { Dimension, Graph, Value } from "./graph.ts";

type Shape = readonly Dimension[];

/** op(A) · op(B) over the last two axes, batched over equal leading axes. Plain operators where they suffice: not every device has the fused one. */
export function matmul(g: Graph, A: Value, B: Value, { transA = false, transB = false } = {}): Value {
  const m = A.shape.at(transA ? -1 : -2)!;
  const n = B.shape.at(transB ? -2 : -1)!;
  const shape = [...A.shape.slice(0, -2), m, n];
  if (A.shape.length > 2 && !transA && !transB) return g.append("MatMul", [A, B], [{ shape }])[0];
  const op = A.shape.length === 2 ? "Gemm" : "FusedMatMul";
  return g.append(op, [A, B], [{ type: A.type, shape }], { transA: Number(transA), transB: Number(transB) })[0];
}

/** The rows of x `[batch, time, width]` as a matrix. */
export function flat(g: Graph, x: Value): Value {
  const [batch, time, width] = x.shape;
  return reshape(g, x, [typeof batch === "number" && typeof time === "number" ? batch * time : "rows", width]);
}

/** Rows y `[tokens, ...]` as `[batch, time, ...]`, like those of x. */
function unflat(g: Graph, y: Value, x: Value): Value {
  const [batch, time] = x.shape, width = y.shape[1];
  if (typeof batch === "number" && typeof time === "number") return reshape(g, y, [batch, time, width]);
  // The batch is only known at run time: take both leading dimensions from x.
  const lead = g.append("Shape", [x], [{ type: "int64", shape: [2] }], { start: 0, end: 2 })[0];
  const target = g.append("Concat", [lead, g.ints(-1)], [{ type: "int64", shape: [3] }], { axis: 0 })[0];
  return g.append("Reshape", [y, target], [{ shape: [batch, time, width] }])[0];
}

/** x Wᵀ of a linear layer, x `[..., in]`, W `[out, in]`: one product over all positions. */
export function linear(g: Graph, x: Value, W: Value): Value {
  return unflat(g, matmul(g, flat(g, x), W, { transB: true }), x);
}

/** Those rows of x `[batch, time, width]`, int64 `[n]`, as `[n, width]`. */
export const takeRows = (g: Graph, x: Value, rows: Value): Value => gather(g, flat(g, x), rows);

/** The rows y `[n, width]` put back where `takeRows` took them from x, among zeros. */
export function putRows(g: Graph, y: Value, { rows, x }: { readonly rows: Value; readonly x: Value }): Value {
  const all = flat(g, x), shape = [all.shape[0], y.shape[1]];
  const count = g.append("Shape", [all], [{ type: "int64", shape: [1] }], { start: 0, end: 1 })[0];
  const target = g.append("Concat", [count, g.ints(y.shape[1] as number)], [{ type: "int64", shape: [2] }], {
    axis: 0,
  });
  const zeros = g.append("ConstantOfShape", target, [{ shape }])[0];
  const at = reshape(g, rows, [rows.shape[0], 1]);
  return unflat(g, g.append("ScatterND", [zeros, at, y], [{ shape }], { reduction: "add" })[0], x);
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
  return g.append("SimplifiedLayerNormalization", [x, weight], [x], { axis: -1, epsilon })[0];
}

/**
 * Rotary embedding of heads stored side by side, x [batch, time, heads · size], half-split layout: (a, b) → (a cos - b sin, b cos + a sin) with a, b
 * the halves of a head. `cos`, `sin` [positions, size / 2]; position 0 is the first of the sequence.
 */
export function rope(g: Graph, x: Value, cos: Value, sin: Value): Value {
  return g.append("RotaryEmbedding", [x, g.ints(0), cos, sin], [x], { interleaved: 0 })[0];
}

/** Full softmax attention, fused; q, k, v [batch, time, heads · size]. Has no gradient. */
export function fusedAttention(g: Graph, q: Value, k: Value, v: Value, heads: number): Value {
  return g.append("MultiHeadAttention", [q, k, v], [q], { num_heads: heads })[0];
}

/** Rows of several x `[batch, time, n]` one after another. */
export function joinTime(g: Graph, all: readonly Value[]): Value {
  const [batch, , width] = all[0].shape;
  return g.append("Concat", [...all], [{ shape: [batch, "joined", width] }], { axis: 1 })[0];
}

/** Full softmax attention from elementary operators; q, k, v [batch, time, heads · size]. */
export function attention(g: Graph, q: Value, k: Value, v: Value, heads: number): Value {
  const [batch, time, width] = q.shape;
  const p = attentionShares(g, q, k, heads);
  const values = keepLead(g, v, [batch, v.shape[1], heads, width as number / heads]);
  const mixed = matmul(g, p, transpose(g, values, [0, 2, 1, 3]));
  return keepLead(g, transpose(g, mixed, [0, 2, 1, 3]), [batch, time, width]);
}

/** softmax(q kᵀ / sqrt(size)) of each head, [batch, heads, time of q, time of k]; q, k [batch, time, heads · size]. */
export function attentionShares(g: Graph, q: Value, k: Value, heads: number): Value {
  const [batch, , width] = q.shape;
  const size = width as number / heads;
  const split = (x: Value) => keepLead(g, x, [batch, x.shape[1], heads, size]);
  const keys = transpose(g, split(k), [0, 2, 3, 1]);
  const scores = matmul(g, transpose(g, split(q), [0, 2, 1, 3]), keys);
  return softmax(g, mul(g, scores, g.scalar(1 / Math.sqrt(size))));
}

/** s (clamp(round(x / s) + z, 0, top) - z), ties to even; x [..., n], scale and zero [n]. For inference: its gradient is zero nearly everywhere. */
export function toGrid(g: Graph, x: Value, { scale, zero, top }: { scale: Value; zero: Value; top: number }): Value {
  const rounded = g.append("Round", [div(g, x, scale)], [x])[0];
  const code = g.append("Clip", [add(g, rounded, zero), g.scalar(0), g.scalar(top)], [x])[0];
  return mul(g, scale, sub(g, code, zero));
}

/** Reshapes the axes after the first two, which stay as they are (0 copies a dimension). */
function keepLead(g: Graph, x: Value, shape: Shape): Value {
  return g.append("Reshape", [x, g.ints(0, 0, ...shape.slice(2) as number[])], [{ shape }])[0];
}

/** Repeats each of `from` heads `to / from` times, as grouped-query attention shares them; x [batch, time, from · size]. */
export function repeatHeads(g: Graph, x: Value, from: number, to: number, size: number): Value {
  if (from === to) return x;
  const [batch, time] = x.shape;
  const split = keepLead(g, x, [batch, time, from, 1, size]);
  const repeated = g.append("Expand", [split, g.ints(1, 1, from, to / from, size)], [{
    shape: [batch, time, from, to / from, size],
  }])[0];
  return keepLead(g, repeated, [batch, time, to * size]);
}

/** RMSNorm over each of the `heads` of x [batch, time, heads · size], with one weight [size] for all. */
export function headNorm(g: Graph, x: Value, weight: Value, heads: number, epsilon: number): Value {
  const [batch, time, width] = x.shape;
  const split = keepLead(g, x, [batch, time, heads, width as number / heads]);
  return keepLead(g, rmsNorm(g, split, weight, epsilon), [batch, time, width]);
}

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
