/** Scales for fixed signs that minimise the error of a block in a quadratic form: (T - Q) G (T - Q)ᵀ summed over rows. */
import type { Kernels } from "../../tensor/kernels.ts";
import { cholesky } from "../../tensor/linalg.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import { newScratch } from "../../tensor/scratch.ts";
import { type Block, CHUNK, chunks, IN_PLACE } from "./block.ts";

/** The quadratic form and what is to be matched under it. */
export interface RefitTarget {
  /** Symmetric positive definite, `[width, width]` float64. */
  readonly G: Matrix64;
  /** T G, `[rows, width]` float32. */
  readonly TG: Float32Array;
}

// Relative, on the diagonals: two planes with equal scales and signs make a system singular.
const RIDGE = 1e-6;

/**
 * Row scales: per row a K x K system with the matrix M_k G M_lᵀ, M_k = a_c^k o B_k. Solved for the change from the current scales, so that the
 * ridge damps the step and the loss cannot rise.
 */
export async function refitRows(
  block: Block,
  { G, TG }: RefitTarget,
  kernels: Kernels,
  scratch = newScratch(),
): Promise<void> {
  const { rows, width, order } = block;
  const form = matrix(width, width, Float32Array.from(G.data));
  const planes = scratch.float32("planes", order * rows, width);
  await kernels.rows(rowPlanes, chunks(rows), { ...block, planes: planes.data }, IN_PLACE);
  const products = await kernels.gemm(planes, form, { out: scratch.float32("products", order * rows, width) });
  const args = { ...block, planes: planes.data, products: products.data, TG };
  await kernels.rows(solveRows, chunks(rows), args, IN_PLACE);
}

/** Column scales: one system of size K · width with the matrix (R_kᵀ R_l) o G, R_k = a_r^k o B_k (o: elementwise). Also solved for the change. */
export async function refitColumns(
  block: Block,
  { G, TG }: RefitTarget,
  kernels: Kernels,
  scratch = newScratch(),
): Promise<void> {
  const { rows, width, order } = block;
  const size = order * width;
  const planes = scratch.float32("planes", rows, size);
  const sums = new Float64Array(chunks(rows) * size);
  await kernels.rows(columnPlanes, chunks(rows), { ...block, planes: planes.data, TG, sums }, IN_PLACE);
  await stepColumns(block, G, planes, sums, kernels);
}

/**
 * Moves the column scales, `size` of them, by the solution x of ((RᵀR) o G) x = b: the step to the least error for all else as it stands.
 *
 * @param shapes R `[rows, size]`, what the column scales are multiplied with
 * @param sums the sums over rows of R o TG, `[chunks, size]`
 */
export async function stepColumns(
  { rows, width, colScale }: Block,
  G: Matrix64,
  shapes: Matrix,
  sums: Float64Array,
  kernels: Kernels,
): Promise<void> {
  const size = colScale.length;
  const gram = (await kernels.gemm(shapes, shapes, { transA: true })).data;

  const A = matrix64(size, size);
  const b = new Float64Array(size);
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

/** Writes M_k, `[order, rows, width]`. */
const rowPlanes = defineRows({
  name: "daq.rowPlanes",
  module: import.meta.url,
  writes: ["planes"],
  run: (args: Block & { planes: Float32Array }, start, end) => {
    const { rows, width, order, codes, colScale, planes } = args;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      for (let k = 0; k < order; k++) {
        const to = (k * rows + i) * width, c = k * width;
        for (let j = 0; j < width; j++) planes[to + j] = (((codes[i * width + j] >> k) & 1) * 2 - 1) * colScale[c + j];
      }
    }
  },
});

/** Writes R_k side by side, `[rows, order * width]`, and per chunk the sums over rows of R_k o TG. */
const columnPlanes = defineRows({
  name: "daq.columnPlanes",
  module: import.meta.url,
  writes: ["planes", "sums"],
  run: (args: Block & { planes: Float32Array; TG: Float32Array; sums: Float64Array }, start, end) => {
    const { rows, width, order, codes, rowScale, planes, TG, sums } = args;
    const size = order * width;
    for (let chunk = start; chunk < end; chunk++) {
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        for (let k = 0; k < order; k++) {
          const to = i * size + k * width, sum = chunk * size + k * width, at = i * width;
          const r = rowScale[k * rows + i];
          for (let j = 0; j < width; j++) {
            const value = (((codes[at + j] >> k) & 1) * 2 - 1) * r;
            planes[to + j] = value;
            sums[sum + j] += value * TG[at + j];
          }
        }
      }
    }
  },
});

/** The K x K systems of the rows. */
const solveRows = defineRows({
  name: "daq.solveRows",
  module: import.meta.url,
  writes: ["rowScale"],
  run: (
    args: Block & { planes: Float32Array; products: Float32Array; TG: Float32Array },
    start,
    end,
  ) => {
    const { rows, width, order, rowScale, planes, products, TG } = args;
    const A = new Float64Array(order * order), b = new Float64Array(order);
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      if (order === 2) systemOfTwo(args, i, A, b);
      for (let k = 0; order !== 2 && k < order; k++) {
        const m = (k * rows + i) * width, t = i * width;
        let sum = 0;
        for (let j = 0; j < width; j++) sum += planes[m + j] * TG[t + j];
        b[k] = sum;
        for (let l = 0; l <= k; l++) {
          const p = (l * rows + i) * width;
          let a = 0;
          for (let j = 0; j < width; j++) a += planes[m + j] * products[p + j];
          A[k * order + l] = a;
          A[l * order + k] = a;
        }
      }
      for (let k = 0; k < order; k++) {
        for (let l = 0; l < order; l++) b[k] -= A[k * order + l] * rowScale[l * rows + i];
      }
      for (let k = 0; k < order; k++) A[k * order + k] *= 1 + RIDGE;
      if (solveSmall(A, b, order)) {
        for (let k = 0; k < order; k++) rowScale[k * rows + i] += b[k];
      }
    }
  },
});

/** The sums of a row with two planes, side by side so that none waits for itself: twice as fast as one after another. */
function systemOfTwo(
  { rows, width, planes, products, TG }: {
    readonly rows: number;
    readonly width: number;
    readonly planes: Float32Array;
    readonly products: Float32Array;
    readonly TG: Float32Array;
  },
  i: number,
  A: Float64Array,
  b: Float64Array,
): void {
  const first = i * width, second = (rows + i) * width;
  let b0 = 0, b1 = 0, a00 = 0, a01 = 0, a11 = 0;
  for (let j = 0; j < width; j++) {
    const m0 = planes[first + j], m1 = planes[second + j], t = TG[first + j], p0 = products[first + j];
    b0 += m0 * t;
    b1 += m1 * t;
    a00 += m0 * p0;
    a01 += m1 * p0;
    a11 += m1 * products[second + j];
  }
  b[0] = b0;
  b[1] = b1;
  A[0] = a00;
  A[1] = A[2] = a01;
  A[3] = a11;
}

/** Gaussian elimination of a small positive definite system, in place; false, with nothing of use in `b`, when a pivot vanishes. */
function solveSmall(A: Float64Array, b: Float64Array, n: number): boolean {
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
