/** Scales for fixed codes that minimise the error of a block in a quadratic form, (T - Q) G (T - Q)ᵀ summed over rows. */
import { roundToHalf } from "../tensor/half.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { cholesky } from "../tensor/linalg.ts";
import { matrix, matrix64 } from "../tensor/matrix.ts";
import { defineRows } from "../tensor/row_loop.ts";
import { CHUNK, chunks, IN_PLACE } from "./daq_block.ts";
import type { RefitTarget } from "./daq_refit.ts";
import type { LevelBlock } from "./levels_block.ts";

// Relative, on the diagonals: columns that always move together make the system of the column scales singular.
const RIDGE = 1e-6;

/** Row scales: a_i = m T Gᵀ / (m G mᵀ) with m = c o z_i, z = 2q - (2^K - 1) (o: elementwise). */
export async function refitRows(block: LevelBlock, { G, TG }: RefitTarget, kernels: Kernels): Promise<void> {
  const { rows, width } = block;
  const form = matrix(width, width, Float32Array.from(G.data));
  const shapes = matrix(rows, width);
  await kernels.rows(rowShapes, chunks(rows), { ...block, shapes: shapes.data }, IN_PLACE);
  const images = await kernels.gemm(shapes, form);
  await kernels.rows(solveRows, chunks(rows), { ...block, shapes: shapes.data, images: images.data, TG }, IN_PLACE);
}

/**
 * Column scales: one system of size `width` with the matrix (RᵀR) o G, R = a o z. Solved for the change from the current scales, so that the ridge
 * damps the step and the loss cannot rise.
 */
export async function refitColumns(block: LevelBlock, { G, TG }: RefitTarget, kernels: Kernels): Promise<void> {
  const { rows, width, colScale } = block;
  const shapes = matrix(rows, width);
  const sums = new Float64Array(chunks(rows) * width);
  await kernels.rows(columnShapes, chunks(rows), { ...block, shapes: shapes.data, TG, sums }, IN_PLACE);
  const gram = (await kernels.gemm(shapes, shapes, { transA: true })).data;
  const A = matrix64(width, width);
  const b = new Float64Array(width);
  let mean = 0;
  for (let p = 0; p < width; p++) {
    for (let chunk = 0; chunk < chunks(rows); chunk++) b[p] += sums[chunk * width + p];
    for (let q = 0; q < width; q++) {
      const a = gram[p * width + q] * G.data[p * width + q];
      A.data[p * width + q] = a;
      b[p] -= a * colScale[q];
    }
    mean += A.data[p * width + p] / width;
  }
  // A block of zeros makes no demand.
  if (!(mean > 0)) return;
  for (let p = 0; p < width; p++) A.data[p * width + p] += RIDGE * (A.data[p * width + p] + mean);
  const L = cholesky(A).data;
  for (let i = 0; i < width; i++) {
    for (let j = 0; j < i; j++) b[i] -= L[i * width + j] * b[j];
    b[i] /= L[i * width + i];
  }
  for (let i = width - 1; i >= 0; i--) {
    b[i] /= L[i * width + i];
    for (let j = 0; j < i; j++) b[j] -= L[i * width + j] * b[i];
  }
  for (let p = 0; p < width; p++) colScale[p] += b[p];
}

/** Row, column and row scales again, ending on scales that fp16 holds: the last ones are fitted to column scales that are rounded already. */
export async function refitStored(block: LevelBlock, target: RefitTarget, kernels: Kernels): Promise<void> {
  await refitRows(block, target, kernels);
  await refitColumns(block, target, kernels);
  balanceScales(block);
  roundScales(block.colScale);
  await refitRows(block, target, kernels);
  roundScales(block.rowScale);
}

/** Moves a power of two from the column scales to the row scales, so that the largest column scale lies in [1, 2): fp16 then has room on both sides. */
export function balanceScales({ rowScale, colScale }: LevelBlock): void {
  let largest = 0;
  for (const c of colScale) largest = Math.max(largest, Math.abs(c));
  if (!(largest > 0)) return;
  const shift = 2 ** Math.floor(Math.log2(largest));
  for (let i = 0; i < rowScale.length; i++) rowScale[i] *= shift;
  for (let j = 0; j < colScale.length; j++) colScale[j] /= shift;
}

/** Rounds scales to what is stored, fp16. */
export function roundScales(scales: Float64Array): void {
  for (let i = 0; i < scales.length; i++) scales[i] = roundToHalf(scales[i]);
}

/** Writes m = c o z, `[rows, width]`. */
const rowShapes = defineRows({
  name: "levels.rowShapes",
  module: import.meta.url,
  writes: ["shapes"],
  run: (args: LevelBlock & { shapes: Float32Array }, start, end) => {
    const { rows, width, order, codes, colScale, shapes } = args;
    const top = 2 ** order - 1;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      for (let j = 0, at = i * width; j < width; j++, at++) shapes[at] = colScale[j] * (2 * codes[at] - top);
    }
  },
});

/** Writes R = a o z, `[rows, width]`, and per chunk the sums over rows of R o TG. */
const columnShapes = defineRows({
  name: "levels.columnShapes",
  module: import.meta.url,
  writes: ["shapes", "sums"],
  run: (args: LevelBlock & { shapes: Float32Array; TG: Float32Array; sums: Float64Array }, start, end) => {
    const { rows, width, order, codes, rowScale, shapes, TG, sums } = args;
    const top = 2 ** order - 1;
    for (let chunk = start; chunk < end; chunk++) {
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        const a = rowScale[i], sum = chunk * width;
        for (let j = 0, at = i * width; j < width; j++, at++) {
          const value = a * (2 * codes[at] - top);
          shapes[at] = value;
          sums[sum + j] += value * TG[at];
        }
      }
    }
  },
});

const solveRows = defineRows({
  name: "levels.solveRows",
  module: import.meta.url,
  writes: ["rowScale"],
  run: (args: LevelBlock & { shapes: Float32Array; images: Float32Array; TG: Float32Array }, start, end) => {
    const { rows, width, rowScale, shapes, images, TG } = args;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      let over = 0, under = 0;
      for (let j = 0, at = i * width; j < width; j++, at++) {
        over += shapes[at] * TG[at];
        under += shapes[at] * images[at];
      }
      if (under > 0) rowScale[i] = over / under;
    }
  },
});
