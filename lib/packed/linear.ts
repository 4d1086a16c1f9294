/** Linears that run from their stored codes: nodes of a graph over `com.microsoft.MatMulNBits`, weights beside the graph. */
import type { QuantizedLinear } from "../quant/method.ts";
import type { Graph, Value } from "../onnx/graph.ts";
import { absent } from "../onnx/graph.ts";
import { add, matmul, mul, reduceSum } from "../onnx/ops.ts";
import type { Run, StoredTerms, Term } from "./kernel.ts";
import { termsOf } from "./terms.ts";

/** 4 rounds activations to int8 per row and kernel block (fast); 0 keeps them in float32. */
export type AccuracyLevel = 0 | 4;

/** A linear ready to be put into a graph. */
export interface PackedLinear {
  readonly stored: StoredTerms;
  readonly shape: readonly [number, number];
  readonly accuracyLevel: AccuracyLevel;
}

export interface PackLinearOptions {
  readonly accuracyLevel?: AccuracyLevel;
  /** Keep two-bit codes in two bits. By default with int8 activations only: on the cpu, two-bit kernels for floats are 7 to 20 times slower than four-bit ones. */
  readonly narrow?: boolean;
}

/** Prepares a stored linear. Throws `TypeError` or `RangeError` when its tensors do not fit together. */
export function packLinear(q: QuantizedLinear, options: PackLinearOptions = {}): PackedLinear {
  const { accuracyLevel = 4, narrow = accuracyLevel === 4 } = options;
  return { stored: termsOf(q, narrow), shape: q.shape, accuracyLevel };
}

/** The linear with arrays of its own, which may be given away to another thread. */
export function ownArrays(p: PackedLinear): PackedLinear {
  const terms = p.stored.terms.map((t) => t.asStored ? { ...t, codes: t.codes.slice(), asStored: false } : t);
  return { ...p, stored: { ...p.stored, terms } };
}

/** Bytes that the codes and numbers of a linear take in a session. */
export function packedLinearBytes({ stored: { terms } }: PackedLinear): number {
  let bytes = 0;
  for (const { codes, scales, zeros, colScale, shift } of terms) {
    for (const part of [codes, scales, zeros, colScale, shift]) bytes += part?.byteLength ?? 0;
  }
  return bytes;
}

/** x Wᵀ of a packed linear; x `[..., in]`, any number of leading dimensions, gives `[..., out]`. */
export function packedLinear(
  g: Graph,
  x: Value,
  { stored: { terms, order }, shape, accuracyLevel }: PackedLinear,
): Value {
  const sorted = order ? gatherLast(g, x, order) : x;
  return terms.map((term) => product(g, sorted, term, shape, accuracyLevel)).reduce((sum, y) => add(g, sum, y));
}

function product(
  g: Graph,
  x: Value,
  term: Term,
  [rows, cols]: readonly [number, number],
  accuracyLevel: number,
): Value {
  const { runs, block, bits, codes, scales, zeros, colScale, shift } = term;
  const n = runs.length, K = n * block;
  let input = takeRuns(g, x, runs, block, cols);
  if (colScale) input = mul(g, input, g.weight(colScale, [K]));
  const lead = x.shape.slice(0, -1);
  const parts = [
    input,
    g.weight(codes, [rows, n, block * bits / 8]),
    g.weight(scales, [rows, n]),
    zeros ? g.weight(zeros, [rows, zeros.length / rows]) : absent,
  ];
  const attributes = { K, N: rows, bits, block_size: block, accuracy_level: accuracyLevel };
  const y = g.append("MatMulNBits", zeros ? parts : parts.slice(0, 3), [{ shape: [...lead, rows] }], attributes)[0];
  if (!shift) return y;
  const sums = reduceSum(g, splitLast(g, input, n, block), [lead.length + 1], { keep: false });
  return add(g, y, matmul(g, sums, g.weight(shift, [n, rows])));
}

/** The columns of the runs, each padded to `block`; x itself where the runs are its blocks. */
function takeRuns(g: Graph, x: Value, runs: readonly Run[], block: number, cols: number): Value {
  const aligned = runs.every(({ from, width }) => width === block && from % block === 0) && cols % block === 0;
  if (aligned && runs.length * block === cols) return x;
  const lead = x.shape.slice(0, -1), n = runs.length;
  if (aligned) {
    const blocks = splitLast(g, x, cols / block, block);
    const indices = g.constant(BigInt64Array.from(runs, ({ from }) => BigInt(from / block)), [n]);
    const taken = g.append("Gather", [blocks, indices], [{ shape: [...lead, n, block] }], { axis: lead.length })[0];
    return reshapeLast(g, taken, lead.length, [n * block]);
  }
  // Padding repeats a column of the run, which leaves the largest activation of its kernel block as it is; the codes there stand for zero.
  const columns = runs.flatMap(({ from, width }) =>
    Array.from({ length: block }, (_, j) => from + Math.min(j, width - 1))
  );
  return gatherLast(g, x, Int32Array.from(columns));
}

/** x[..., columns] */
function gatherLast(g: Graph, x: Value, columns: Int32Array): Value {
  const axis = x.shape.length - 1;
  const indices = g.constant(BigInt64Array.from(columns, BigInt), [columns.length]);
  return g.append("Gather", [x, indices], [{ shape: [...x.shape.slice(0, -1), columns.length] }], { axis })[0];
}

const splitLast = (g: Graph, x: Value, n: number, block: number): Value =>
  reshapeLast(g, x, x.shape.length - 1, [n, block]);

/** The axes after the first `lead`, which stay whatever they are at run time, as `tail`. */
function reshapeLast(g: Graph, x: Value, lead: number, tail: readonly number[]): Value {
  const kept = x.shape.slice(0, lead);
  return g.append("Reshape", [x, g.ints(...kept.map(() => 0), ...tail)], [{ shape: [...kept, ...tail] }])[0];
}
