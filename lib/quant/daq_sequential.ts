/** Signs column by column inside a block, each column seeing the rounding errors of those before it (the inner loop of GPTQ on 2^K levels). */
import type { Kernels } from "../tensor/kernels.ts";
import { defineRows } from "../tensor/row_loop.ts";
import { invertLower } from "../tensor/linalg.ts";
import { matrix64 } from "../tensor/matrix.ts";
import { compensateRow } from "./obs.ts";
import { type Block, CHUNK, chunks, nearestCode, rowScales, valueAt } from "./daq_block.ts";

/**
 * Sets all signs of `block` for its scales as they stand: q_j is the level nearest to the running w_j, then w_p -= (w_j - q_j) / U_jj · U_jp for
 * p > j. A row keeps its old signs where the new ones do not lower its loss (x - Q) G (x - Q)ᵀ with G = U⁻¹U⁻ᵀ, so that no row ever gets worse.
 *
 * @param U U_bb, row-major `[width, width]` float64, upper triangular.
 */
export async function sequentialSigns(block: Block, U: Float64Array, kernels: Kernels): Promise<void> {
  const { rows, width } = block;
  const old = await rowLosses(block, U, kernels);
  await kernels.rows(sequentialLoop, chunks(rows), { ...block, U, old }, { costPerRow: CHUNK * width * width });
}

/** |(x - Q) U⁻¹|² of each row, `[rows]`: the loss in G. One product for all rows; by substitution it would take as long as choosing the signs. */
async function rowLosses(block: Block, U: Float64Array, kernels: Kernels): Promise<Float64Array> {
  const { rows, width, order, x, codes, rowScale, colScale } = block;
  const D = matrix64(rows, width), lower = matrix64(width, width), r = new Float64Array(order);
  for (let i = 0; i < rows; i++) {
    rowScales(rowScale, rows, order, i, r);
    for (let j = 0, at = i * width; j < width; j++, at++) {
      D.data[at] = x[at] - valueAt(codes[at], r, colScale, order, width, j);
    }
  }
  for (let j = 0; j < width; j++) {
    for (let p = j; p < width; p++) lower.data[p * width + j] = U[j * width + p];
  }
  const { data } = await kernels.gemm64(D, invertLower(lower), { transB: true });
  const losses = new Float64Array(rows);
  for (let p = 0; p < data.length; p++) losses[Math.floor(p / width)] += data[p] * data[p];
  return losses;
}

const sequentialLoop = defineRows({
  name: "daq.sequential",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: Block & { U: Float64Array; old: Float64Array }, start, end) => {
    const { rows, width, order, x, codes, rowScale, colScale, U, old } = args;
    const levels = new Float64Array(16), w = new Float64Array(width), r = new Float64Array(order);
    const q = new Float32Array(width), e = new Float32Array(width), fresh = new Uint8Array(width);
    const now = new Float64Array(1); // a captured number would be allocated anew at each change
    const round = (j: number, value: number) => {
      const code = nearestCode(value, r, colScale, order, width, j, levels);
      const level = valueAt(code, r, colScale, order, width, j);
      fresh[j] = code;
      const error = (value - level) / U[j * width + j];
      now[0] += error * error;
      return level;
    };
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const at = i * width;
      rowScales(rowScale, rows, order, i, r);
      now[0] = 0;
      for (let j = 0; j < width; j++) w[j] = x[at + j];
      compensateRow(w, U, width, round, q, e, 0, width);
      if (now[0] < old[i]) codes.set(fresh, at);
    }
  },
});
