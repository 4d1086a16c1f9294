/** Scales for fixed codes that minimise the error of a group in a quadratic form: (T - Q) G (T - Q)ᵀ summed over rows. */
import type { Kernels } from "../../tensor/kernels.ts";
import { cholesky } from "../../tensor/linalg.ts";
import { matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import type { Scratch } from "../../tensor/scratch.ts";
import { CHUNK, chunks, type Group, type GroupKind, IN_PLACE, loopsFor, type SolveArgs } from "./group.ts";

/** The quadratic form and what is to be matched under it. */
export interface RefitTarget {
  /** Symmetric positive definite, `[width, width]` float64. */
  readonly G: Matrix64;
  /** T G, `[rows, width]` float32. */
  readonly TG: Float32Array;
}

export interface RefitOptions {
  readonly kind: GroupKind;
  readonly kernels: Kernels;
  readonly scratch: Scratch;
}

// Relative, on the diagonals: two planes with equal scales and signs make a system singular.
const RIDGE = 1e-6;

/** Row scales: per row a system with the S x S matrix m_k G m_lᵀ, m_k = a_c^k o z_k (o: elementwise), which the loop of the kind solves. */
export async function refitRows(group: Group, { G, TG }: RefitTarget, options: RefitOptions): Promise<void> {
  const { kind, kernels, scratch } = options;
  const { rows, width, colScale } = group, scales = colScale.length / width;
  const form = matrix(width, width, Float32Array.from(G.data));
  const shapes = scratch.float32("shapes", scales * rows, width);
  await kernels.rows(rowShapes, chunks(rows), { ...group, out: shapes.data }, IN_PLACE);
  const products = await kernels.gemm(shapes, form, { out: scratch.float32("products", scales * rows, width) });
  const args = { ...group, shapesOfRows: shapes.data, products: products.data, TG };
  await kernels.rows(loopsFor(kind, group.order).solveRows, chunks(rows), args, IN_PLACE);
}

/**
 * Column scales: one system of size S · width with the matrix (R_kᵀ R_l) o G, R_k = a_r^k o z_k. Solved for the change from the current scales, so that
 * the ridge damps the step and the loss cannot rise.
 */
export async function refitColumns(
  group: Group,
  { G, TG }: RefitTarget,
  { kernels, scratch }: Omit<RefitOptions, "kind">,
): Promise<void> {
  const { rows, width, colScale } = group, size = colScale.length;
  const shapes = scratch.float32("shapes", rows, size), sums = new Float64Array(chunks(rows) * size);
  await kernels.rows(columnShapes, chunks(rows), { ...group, out: shapes.data, TG, sums }, IN_PLACE);
  const gram = (await kernels.gemm(shapes, shapes, { transA: true })).data;

  const A = matrix64(size, size), b = new Float64Array(size);
  for (let p = 0; p < size; p++) {
    for (let chunk = 0; chunk < chunks(rows); chunk++) b[p] += sums[chunk * size + p];
    for (let q = 0; q < size; q++) {
      const a = gram[p * size + q] * G.data[(p % width) * width + (q % width)];
      A.data[p * size + q] = a;
      b[p] -= a * colScale[q];
    }
  }
  let mean = 0;
  for (let p = 0; p < size; p++) mean += A.data[p * size + p] / size;
  // Vanished planes make no demand; without any there is nothing to fit.
  if (!(mean > 0)) return;
  for (let p = 0; p < size; p++) A.data[p * size + p] += RIDGE * (A.data[p * size + p] + mean);
  const step = solve(A, b);
  for (let p = 0; p < size; p++) colScale[p] += step[p];
}

/** Writes m_k, `[S, rows, width]`. */
export const rowShapes = defineRows({
  name: "daq.rowShapes",
  module: import.meta.url,
  writes: ["out"],
  run: ({ rows, width, order, codes, shapes, colScale, out }: Group & { out: Float32Array }, start, end) => {
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      for (let k = 0; k * width < colScale.length; k++) {
        const to = (k * rows + i) * width, c = k * width, z = k << order;
        for (let j = 0; j < width; j++) out[to + j] = shapes[z | codes[i * width + j]] * colScale[c + j];
      }
    }
  },
});

/** Writes R_k side by side, `[rows, S * width]`, and per chunk the sums over rows of R_k o TG. */
export const columnShapes = defineRows({
  name: "daq.columnShapes",
  module: import.meta.url,
  writes: ["out", "sums"],
  run: (args: Group & { out: Float32Array; TG: Float32Array; sums: Float64Array }, start, end) => {
    const { rows, width, order, codes, shapes, rowScale, colScale, out, TG, sums } = args;
    const size = colScale.length;
    for (let chunk = start; chunk < end; chunk++) {
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        for (let k = 0; k * width < size; k++) {
          const to = i * size + k * width, sum = chunk * size + k * width, at = i * width;
          const r = rowScale[k * rows + i], z = k << order;
          for (let j = 0; j < width; j++) {
            const value = shapes[z | codes[at + j]] * r;
            out[to + j] = value;
            sums[sum + j] += value * TG[at + j];
          }
        }
      }
    }
  },
});

/** A `[K, K]` with m_k G m_lᵀ, and b `[K]` with m_k (T G)ᵀ, of one row. */
export interface RowSystem {
  readonly A: Float64Array;
  readonly b: Float64Array;
}

/** The loop over the systems of the rows, whose sums `sumsOf` takes. Solved for the change from the current scales, as those of the columns are. */
export function solveBy(sumsOf: (args: SolveArgs, i: number, system: RowSystem) => void) {
  return (args: SolveArgs, start: number, end: number): void => {
    const { rows, order, rowScale } = args;
    const system = { A: new Float64Array(order * order), b: new Float64Array(order) }, { A, b } = system;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      sumsOf(args, i, system);
      for (let k = 0; k < order; k++) {
        for (let l = 0; l < order; l++) b[k] -= A[k * order + l] * rowScale[l * rows + i];
      }
      for (let k = 0; k < order; k++) A[k * order + k] *= 1 + RIDGE;
      if (solveSmall(A, b)) {
        for (let k = 0; k < order; k++) rowScale[k * rows + i] += b[k];
      }
    }
  };
}

/** Those sums, one after another. */
export function sumsOfRow(
  { rows, width, order, shapesOfRows: m, products, TG }: SolveArgs,
  i: number,
  { A, b }: RowSystem,
): void {
  for (let k = 0; k < order; k++) {
    const own = (k * rows + i) * width, t = i * width;
    let sum = 0;
    for (let j = 0; j < width; j++) sum += m[own + j] * TG[t + j];
    b[k] = sum;
    for (let l = 0; l <= k; l++) {
      const p = (l * rows + i) * width;
      let a = 0;
      for (let j = 0; j < width; j++) a += m[own + j] * products[p + j];
      A[k * order + l] = a;
      A[l * order + k] = a;
    }
  }
}

/** Gaussian elimination of a small positive definite system, in place; false, with nothing of use in `b`, when a pivot vanishes. */
function solveSmall(A: Float64Array, b: Float64Array): boolean {
  const n = b.length;
  for (let k = 0; k < n; k++) {
    const pivot = A[k * n + k];
    if (!(pivot > 0)) return false;
    for (let i = k + 1; i < n; i++) {
      const f = A[i * n + k] / pivot;
      for (let j = k; j < n; j++) A[i * n + j] -= f * A[k * n + j];
      b[i] -= f * b[k];
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    for (let j = k + 1; j < n; j++) b[k] -= A[k * n + j] * b[j];
    b[k] /= A[k * n + k];
  }
  return true;
}

/** x with A x = b, A symmetric positive definite. */
function solve(A: Matrix64, b: Float64Array): Float64Array {
  const n = A.rows;
  const l = cholesky(A).data;
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) x[i] -= l[i * n + j] * x[j];
    x[i] /= l[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    x[i] /= l[i * n + i];
    for (let j = 0; j < i; j++) x[j] -= l[i * n + j] * x[i];
  }
  return x;
}
