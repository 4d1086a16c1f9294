/** Signs column by column inside a block, each column seeing the rounding errors of those before it (the inner loop of GPTQ on 2^K levels). */
import type { Kernels } from "../../tensor/kernels.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import { invertLower } from "../../tensor/linalg.ts";
import { matrix64 } from "../../tensor/matrix.ts";
import { newScratch, type Scratch } from "../../tensor/scratch.ts";
import { compensateRow } from "../../quant/obs.ts";
import { type Block, CHUNK, chunks, nearestCode, rowScales, valueAt } from "./block.ts";

/**
 * Sets all signs of `block` for its scales as they stand: q_j is the level nearest to the running w_j, then w_p -= (w_j - q_j) / U_jj · U_jp for
 * p > j. A row keeps its old signs where the new ones do not lower its loss (x - Q) G (x - Q)ᵀ with G = U⁻¹U⁻ᵀ, so that no row ever gets worse.
 *
 * @param U U_bb, row-major `[width, width]` float64, upper triangular.
 */
export async function sequentialSigns(
  block: Block,
  U: Float64Array,
  kernels: Kernels,
  scratch = newScratch(),
): Promise<void> {
  const { rows, width } = block;
  const old = await rowLosses(block, U, kernels, scratch);
  await kernels.rows(sequentialLoop, chunks(rows), { ...block, U, old }, { costPerRow: CHUNK * width * width });
}

/** |(x - Q) U⁻¹|² of each row, `[rows]`: the loss in G. One product for all rows; by substitution it would take as long as choosing the signs. */
async function rowLosses(
  block: Block,
  U: Float64Array,
  kernels: Kernels,
  scratch: Scratch,
): Promise<Float64Array> {
  const { rows, width, order, x, codes, rowScale, colScale } = block;
  const D = scratch.float64("difference", rows, width), lower = matrix64(width, width), r = new Float64Array(order);
  const d = D.data;
  for (let i = 0; i < rows; i++) {
    rowScales(rowScale, rows, order, i, r);
    if (order === 2) {
      // `valueAt`, written out.
      const r0 = r[0], r1 = r[1];
      for (let j = 0, at = i * width; j < width; j++, at++) {
        const code = codes[at];
        d[at] = x[at] - (((code & 1) * 2 - 1) * r0 * colScale[j] + ((code & 2) - 1) * r1 * colScale[width + j]);
      }
      continue;
    }
    for (let j = 0, at = i * width; j < width; j++, at++) {
      d[at] = x[at] - valueAt(codes[at], r, colScale, order, width, j);
    }
  }
  for (let j = 0; j < width; j++) {
    for (let p = j; p < width; p++) lower.data[p * width + j] = U[j * width + p];
  }
  const out = scratch.float64("errors", rows, width);
  const { data } = await kernels.gemm64(D, invertLower(lower), { transB: true, out });
  const losses = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let p = i * width; p < (i + 1) * width; p++) sum += data[p] * data[p];
    losses[i] = sum;
  }
  return losses;
}

type SequentialArgs = Block & { readonly U: Float64Array; readonly old: Float64Array };

const sequentialLoop = defineRows({
  name: "daq.sequential",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: SequentialArgs, start, end) => {
    if (args.order === 2) return sequentialTwo(args, start, end);
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
      compensateRow(w, round, { U, width, q, e, offset: 0, ahead: width });
      if (now[0] < old[i]) codes.set(fresh, at);
    }
  },
});

/**
 * The same for two planes: `compensateRow` with `nearestCode` and `valueAt` written out, and two rows at a time, since a pass over U serves both. The
 * hot path of `plus`: calls for each weight would take as long again.
 */
function sequentialTwo(
  { rows, width, x, codes, rowScale, colScale, U, old }: SequentialArgs,
  start: number,
  end: number,
) {
  const wA = new Float64Array(width), wB = new Float64Array(width);
  const freshA = new Uint8Array(width), freshB = new Uint8Array(width);
  const errorsA = new Float64Array(4), errorsB = new Float64Array(4);
  const c0 = colScale.slice(0, width), c1 = colScale.slice(width);
  const last = Math.min(rows, end * CHUNK);
  for (let i = start * CHUNK; i < last; i += 2) {
    // A last row without a partner goes with itself.
    const next = Math.min(i + 1, last - 1), atA = i * width, atB = next * width;
    const r0A = rowScale[i], r1A = rowScale[rows + i], r0B = rowScale[next], r1B = rowScale[rows + next];
    let lossA = 0, lossB = 0;
    for (let j = 0; j < width; j++) {
      wA[j] = x[atA + j];
      wB[j] = x[atB + j];
    }
    for (let first = 0; first < width; first += 4) {
      const stop = Math.min(first + 4, width);
      for (let j = first; j < stop; j++) {
        const u = c0[j], v = c1[j], pivot = U[j * width + j];
        const valueA = wA[j], aA = r0A * u, bA = r1A * v;
        const pA = Math.abs(aA), qA = Math.abs(bA), yA = Math.abs(valueA);
        const codeA = (pA >= qA ? 1 | +(yA > pA) << 1 : 2 | +(yA > qA)) ^ (-+(valueA <= 0) & 3) ^ +(aA < 0) ^
          +(bA < 0) << 1;
        const errorA = (valueA - (((codeA & 1) * 2 - 1) * aA + ((codeA & 2) - 1) * bA)) / pivot;
        const valueB = wB[j], aB = r0B * u, bB = r1B * v;
        const pB = Math.abs(aB), qB = Math.abs(bB), yB = Math.abs(valueB);
        const codeB = (pB >= qB ? 1 | +(yB > pB) << 1 : 2 | +(yB > qB)) ^ (-+(valueB <= 0) & 3) ^ +(aB < 0) ^
          +(bB < 0) << 1;
        const errorB = (valueB - (((codeB & 1) * 2 - 1) * aB + ((codeB & 2) - 1) * bB)) / pivot;
        freshA[j] = codeA;
        freshB[j] = codeB;
        lossA += errorA * errorA;
        lossB += errorB * errorB;
        for (let p = j + 1; p < stop; p++) {
          const f = U[j * width + p];
          wA[p] -= errorA * f;
          wB[p] -= errorB * f;
        }
        errorsA[j - first] = errorA;
        errorsB[j - first] = errorB;
      }
      const row0 = first * width, row1 = row0 + width, row2 = row1 + width, row3 = row2 + width;
      const a0 = errorsA[0], a1 = errorsA[1], a2 = errorsA[2], a3 = errorsA[3];
      const b0 = errorsB[0], b1 = errorsB[1], b2 = errorsB[2], b3 = errorsB[3];
      for (let p = stop; p < width; p++) {
        const u0 = U[row0 + p], u1 = U[row1 + p], u2 = U[row2 + p], u3 = U[row3 + p];
        wA[p] = wA[p] - a0 * u0 - a1 * u1 - a2 * u2 - a3 * u3;
        wB[p] = wB[p] - b0 * u0 - b1 * u1 - b2 * u2 - b3 * u3;
      }
    }
    if (lossA < old[i]) codes.set(freshA, atA);
    if (lossB < old[next]) codes.set(freshB, atB);
  }
}
