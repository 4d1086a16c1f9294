/** Row-column rescaling for uniform levels: weighted alternating least squares for one row and one column scale, with the nearest codes in between. */
import type { Kernels } from "../../tensor/kernels.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import { CHUNK, chunks } from "./block.ts";
import { type FitWeights, keepSums, totalSums } from "./rescale.ts";
import { codeRow, inverse, type LevelBlock, nearestCodes } from "./levels_block.ts";

// a of the best 2^K uniform levels of a Gaussian in units of its mean magnitude, K = 1, 2, 3 (Max 1960: half the steps .9957 and .5860, and 2/pi's root).
const START = [1, 0.6240, 0.3672];

type ScaleArgs = LevelBlock & FitWeights & {
  /** Whether to set the codes before the scales. */
  readonly recode: boolean;
  /** Per chunk, what `keepSums` keeps. */
  readonly partial: Float64Array;
};

/**
 * Fits codes and scales to `block.x`, in place: a_i = mean_j |x|, c_j = mean_i |x / a_i| and the nearest codes to start with, then Eqs. 8 and 9 with
 * 2q - (2^K - 1) in the place of the signs.
 *
 * @returns the weighted loss before and after every update of the column scales; no entry exceeds the one before.
 */
export async function fitLevels(
  block: LevelBlock,
  weights: FitWeights,
  { sweeps, tolerance }: { readonly sweeps: number; readonly tolerance: number },
  kernels: Kernels,
): Promise<number[]> {
  const { rows, width } = block;
  startScales(block);
  await nearestCodes(block, kernels);
  const partial = new Float64Array(new SharedArrayBuffer(8 * chunks(rows) * (2 * width + 1)));
  const losses: number[] = [];
  let before = Infinity;
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const args = { ...block, ...weights, recode: sweep > 0, partial };
    await kernels.rows(rescaleLoop, chunks(rows), args, { costPerRow: 8 * CHUNK * width });
    rescaleColumns(args, losses);
    const after = losses[losses.length - 1];
    if (before - after < tolerance * before) break;
    before = after;
  }
  if (sweeps > 0) await nearestCodes(block, kernels);
  return losses;
}

function startScales({ rows, width, order, x, rowScale, colScale }: LevelBlock): void {
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += Math.abs(x[i * width + j]);
    const mean = sum / width, perMean = inverse(mean);
    for (let j = 0; j < width; j++) colScale[j] += Math.abs(x[i * width + j]) * perMean / rows;
    rowScale[i] = START[order - 1] * mean;
  }
}

/** Eq. 8: a_i = sum_j omega c z x / sum_j omega c² z², z = 2q - (2^K - 1); then per chunk the sums that Eq. 9 needs of the new a. */
const rescaleLoop = defineRows({
  name: "levels.rescale",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: (args: ScaleArgs, start, end) => {
    const { rows, width, order, x, codes, rowScale, colScale: c, columnWeight, salient, salientWeight } = args;
    const { recode, partial } = args;
    const top = 2 ** order - 1;
    const inverses = c.map(inverse), omega = Float64Array.from(columnWeight);
    const above = new Float64Array(width), below = new Float64Array(width);
    for (let chunk = start; chunk < end; chunk++) {
      above.fill(0);
      below.fill(0);
      let loss = 0;
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        const at = i * width;
        if (recode) codeRow(args, i, inverses);
        if (salient.length > 0) {
          for (let j = 0; j < width; j++) omega[j] = columnWeight[j] * (salient[at + j] !== 0 ? salientWeight : 1);
        }
        let over = 0, under = 0;
        for (let j = 0; j < width; j++) {
          const m = c[j] * (2 * codes[at + j] - top), w = omega[j] * m;
          over += w * x[at + j];
          under += w * m;
        }
        const a = under > 0 ? over / under : 0;
        rowScale[i] = a;
        for (let j = 0; j < width; j++) {
          const r = a * (2 * codes[at + j] - top), w = omega[j], value = x[at + j];
          above[j] += w * r * value;
          below[j] += w * r * r;
          loss += w * value * value;
        }
      }
      keepSums(partial, chunk, above, below, loss);
    }
  },
});

/** Eq. 9: c_j = sum_i omega a z x / sum_i omega a² z²; adds the loss before and after to `losses`. */
function rescaleColumns({ rows, width, colScale, partial }: ScaleArgs, losses: number[]): void {
  const { above, below, loss } = totalSums(partial, chunks(rows), width);
  let before = loss, after = loss;
  for (let j = 0; j < width; j++) {
    const old = colScale[j], scale = below[j] > 0 ? above[j] / below[j] : 0;
    before += old * (old * below[j] - 2 * above[j]);
    after -= scale * above[j];
    colScale[j] = scale;
  }
  losses.push(before, after);
}
