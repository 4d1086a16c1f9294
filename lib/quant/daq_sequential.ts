/** Signs column by column inside a block, each column seeing the rounding errors of those before it (the inner loop of GPTQ on 2^K levels). */
import type { Kernels } from "../tensor/kernels.ts";
import { defineRows } from "../tensor/row_loop.ts";
import { type Block, CHUNK, chunks, nearestCode, rowScales, valueAt } from "./daq_block.ts";

/**
 * Sets all signs of `block` for its scales as they stand: q_j is the level nearest to the running w_j, then w_p -= (w_j - q_j) / U_jj · U_jp for
 * p > j. A row keeps its old signs where the new ones do not lower its loss (x - Q) G (x - Q)ᵀ with G = U⁻¹U⁻ᵀ, so that no row ever gets worse.
 *
 * @param U U_bb, row-major `[width, width]` float64, upper triangular.
 */
export async function sequentialSigns(block: Block, U: Float64Array, kernels: Kernels): Promise<void> {
  const { rows, width } = block;
  await kernels.rows(sequentialLoop, chunks(rows), { ...block, U }, { costPerRow: CHUNK * width * width });
}

const sequentialLoop = defineRows({
  name: "daq.sequential",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: Block & { U: Float64Array }, start, end) => {
    const { rows, width, order, x, codes, rowScale, colScale, U } = args;
    const levels = new Float64Array(16), w = new Float64Array(width), r = new Float64Array(order);
    const fresh = new Uint8Array(width);
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const at = i * width;
      rowScales(rowScale, rows, order, i, r);
      // In terms of E = (x - Q) U⁻¹ the loss of a row is |E|²; both passes find E by forward substitution.
      let old = 0;
      for (let j = 0; j < width; j++) w[j] = x[at + j];
      for (let j = 0; j < width; j++) {
        const e = (w[j] - valueAt(codes[at + j], r, colScale, order, width, j)) / U[j * width + j];
        old += e * e;
        pass(w, e, U, j, width);
      }
      let now = 0;
      for (let j = 0; j < width; j++) w[j] = x[at + j];
      for (let j = 0; j < width; j++) {
        const code = nearestCode(w[j], r, colScale, order, width, j, levels);
        const e = (w[j] - valueAt(code, r, colScale, order, width, j)) / U[j * width + j];
        now += e * e;
        fresh[j] = code;
        pass(w, e, U, j, width);
      }
      if (now < old) codes.set(fresh, at);
    }
  },
});

function pass(w: Float64Array, e: number, U: Float64Array, j: number, width: number): void {
  for (let p = j + 1, u = j * width + p; p < width; p++, u++) w[p] -= e * U[u];
}
