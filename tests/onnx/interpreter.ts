/** Graphs in float64, operator by operator in plain loops: what gradients are differenced with. */
import type { Graph, Node, Value } from "../../lib/onnx/graph.ts";

export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** The value of `wanted`, given the inputs of the graph by name. */
export function interpret(g: Graph, wanted: Value, inputs: Readonly<Record<string, Tensor>>): Tensor {
  const values = new Map(Object.entries(inputs));
  for (const node of g.nodes) {
    if (node.op === "Identity") continue; // names an output
    const input = (i: number) => values.get(node.inputs[i].name)!;
    const given = node.op === "TopK" ? topK(input(0), g.intsOf(node.inputs[1])[0]) : [run(g, node, input)];
    given.forEach((tensor, i) => values.set(node.outputs[i].name, tensor));
    if (node.outputs[0].name === wanted.name) break;
  }
  return values.get(wanted.name)!;
}

function run(g: Graph, { op, inputs, attributes }: Node, input: (i: number) => Tensor): Tensor {
  const ints = (i: number) => g.intsOf(inputs[i]);
  const x = input(0);
  switch (op) {
    case "Add":
      return elementwise(x, input(1), (a, b) => a + b);
    case "Sub":
      return elementwise(x, input(1), (a, b) => a - b);
    case "Mul":
      return elementwise(x, input(1), (a, b) => a * b);
    case "Div":
      return elementwise(x, input(1), (a, b) => a / b);
    case "Sigmoid":
      return { ...x, data: x.data.map((v) => 1 / (1 + Math.exp(-v))) };
    case "Softmax":
      return lastAxis(x, (row) => normalised(row.map((v) => Math.exp(v))));
    case "LogSoftmax":
      return lastAxis(x, (row) => normalised(row.map((v) => Math.exp(v))).map(Math.log));
    case "ReduceSum": {
      const axes = ints(1);
      const kept = x.shape.map((d, i) => axes.includes(i) ? 1 : d);
      const shape = attributes.keepdims === 1 ? kept : x.shape.filter((_, i) => !axes.includes(i));
      const out = zeros(kept);
      x.data.forEach((v, flat) => out.data[flatten(clamp(unflatten(flat, x.shape), kept), kept)] += v);
      return { shape, data: out.data };
    }
    case "Reshape":
      return { shape: resolved(ints(1), x), data: x.data };
    case "Transpose": {
      const perm = attributes.perm as readonly number[];
      const out = zeros(perm.map((p) => x.shape[p]));
      x.data.forEach((v, flat) => {
        const at = unflatten(flat, x.shape);
        out.data[flatten(perm.map((p) => at[p]), out.shape)] = v;
      });
      return out;
    }
    case "Gemm":
    case "MatMul":
    case "FusedMatMul":
      return product(x, input(1), attributes.transA === 1, attributes.transB === 1);
    case "SimplifiedLayerNormalization":
      return lastAxis(x, (row) => {
        const mean = row.reduce((s, v) => s + v * v, 0) / row.length;
        return row.map((v, j) => v / Math.sqrt(mean + (attributes.epsilon as number)) * input(1).data[j]);
      });
    case "RotaryEmbedding":
      return rotated(x, input(2), input(3));
    case "Expand":
      return elementwise(x, zeros(ints(1)), (a) => a);
    case "NonZero": {
      const found = Array.from(x.data.keys()).filter((i) => x.data[i] !== 0);
      return { shape: [1, found.length], data: Float64Array.from(found) };
    }
    case "ScatterElements": {
      const index = input(1), updates = input(2), out = x.data.slice();
      index.data.forEach((j, i) => {
        out[Math.floor(i / index.shape[1]) * x.shape[1] + j] = updates.data[i];
      });
      return { ...x, data: out };
    }
    case "ScatterND": {
      const at = input(1), updates = input(2), out = x.data.slice(), width = x.shape[1];
      at.data.forEach((row, i) => {
        for (let j = 0; j < width; j++) out[row * width + j] += updates.data[i * width + j];
      });
      return { ...x, data: out };
    }
    case "Gather": {
      const width = x.shape[1];
      if (attributes.axis === 1) {
        const [column] = ints(1);
        return { shape: [x.shape[0], 1], data: x.data.filter((_, i) => i % width === column) };
      }
      const indices = input(1);
      const out = zeros([...indices.shape, width]);
      indices.data.forEach((row, i) => out.data.set(x.data.subarray(row * width, (row + 1) * width), i * width));
      return out;
    }
    case "GatherElements": {
      const index = input(1);
      return { shape: index.shape, data: index.data.map((j, i) => x.data[i * x.shape[1] + j]) };
    }
  }
  throw new TypeError(`Cannot interpret ${op}`);
}

/** The k largest of each row and where they stand, ties to the lowest index. */
function topK(x: Tensor, k: number): [Tensor, Tensor] {
  const [rows, cols] = x.shape, shape = [rows, k];
  const values = zeros(shape), indices = zeros(shape);
  for (let i = 0; i < rows; i++) {
    const row = x.data.subarray(i * cols, (i + 1) * cols);
    const order = Array.from(row.keys()).sort((a, b) => row[b] - row[a] || a - b).slice(0, k);
    indices.data.set(order, i * k);
    values.data.set(order.map((j) => row[j]), i * k);
  }
  return [values, indices];
}

function elementwise(a: Tensor, b: Tensor, f: (x: number, y: number) => number): Tensor {
  const rank = Math.max(a.shape.length, b.shape.length);
  const padded = (t: Tensor) => [...new Array<number>(rank - t.shape.length).fill(1), ...t.shape];
  const [p, q] = [padded(a), padded(b)];
  const out = zeros(p.map((d, i) => Math.max(d, q[i])));
  out.data.forEach((_, flat) => {
    const at = unflatten(flat, out.shape);
    out.data[flat] = f(a.data[flatten(clamp(at, p), p)], b.data[flatten(clamp(at, q), q)]);
  });
  return out;
}

function lastAxis(x: Tensor, f: (row: Float64Array) => Float64Array): Tensor {
  const n = x.shape.at(-1)!;
  const data = new Float64Array(x.data.length);
  for (let at = 0; at < data.length; at += n) data.set(f(x.data.slice(at, at + n)), at);
  return { shape: x.shape, data };
}

function product(A: Tensor, B: Tensor, transA: boolean, transB: boolean): Tensor {
  const [ra, ca] = A.shape.slice(-2);
  const [rb, cb] = B.shape.slice(-2);
  const [m, k, n] = [transA ? ca : ra, transA ? ra : ca, transB ? rb : cb];
  const out = zeros([...A.shape.slice(0, -2), m, n]);
  for (let batch = 0; batch < A.data.length / (ra * ca); batch++) {
    const a = A.data.subarray(batch * ra * ca), b = B.data.subarray(batch * rb * cb);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let p = 0; p < k; p++) sum += a[transA ? p * ca + i : i * ca + p] * b[transB ? j * cb + p : p * cb + j];
        out.data[(batch * m + i) * n + j] = sum;
      }
    }
  }
  return out;
}

function rotated(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const half = cos.shape[1];
  const [, time, width] = x.shape;
  const out = zeros(x.shape);
  for (let row = 0; row < x.data.length / width; row++) {
    for (let start = 0; start < width; start += 2 * half) {
      for (let i = 0; i < half; i++) {
        const [first, angle] = [row * width + start + i, (row % time) * half + i];
        const [a, b, c, s] = [x.data[first], x.data[first + half], cos.data[angle], sin.data[angle]];
        out.data[first] = a * c - b * s;
        out.data[first + half] = b * c + a * s;
      }
    }
  }
  return out;
}

function normalised(x: Float64Array): Float64Array {
  const total = x.reduce((s, v) => s + v, 0);
  return x.map((v) => v / total);
}

/** 0 copies a dimension, -1 is what is left. */
function resolved(target: readonly number[], x: Tensor): number[] {
  const shape = target.map((d, i) => d === 0 ? x.shape[i] : d);
  const rest = shape.reduce((s, d) => d === -1 ? s : s * d, 1);
  return shape.map((d) => d === -1 ? x.data.length / rest : d);
}

const zeros = (shape: readonly number[]): Tensor => ({
  shape,
  data: new Float64Array(shape.reduce((s, d) => s * d, 1)),
});
const clamp = (at: readonly number[], shape: readonly number[]) => at.map((i, d) => shape[d] === 1 ? 0 : i);
const flatten = (at: readonly number[], shape: readonly number[]) => at.reduce((flat, i, d) => flat * shape[d] + i, 0);

function unflatten(flat: number, shape: readonly number[]): number[] {
  const at = new Array<number>(shape.length);
  for (let d = shape.length - 1; d >= 0; d--) {
    at[d] = flat % shape[d];
    flat = Math.floor(flat / shape[d]);
  }
  return at;
}
