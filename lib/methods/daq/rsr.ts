/**
 * Row-column rescaling (RSR): weighted alternating least squares for the scales of K binary planes, with updates of the signs in between (Eqs. 6, 8
 * and 9 of Quant-dLLM, Alg. 2).
 */
import type { Kernels } from "../../tensor/kernels.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import { type Block, CHUNK, chunks } from "./block.ts";
import { type FitWeights, type PlaneArgs, rescaleColumns, rescaleLoop } from "./rescale.ts";
import { jointSigns, residual, signLoop } from "./signs.ts";

export type { FitWeights } from "./rescale.ts";

export interface RsrOptions {
  /** Alternations of all scale updates and the sign update; 0 keeps the initial planes. */
  readonly sweeps: number;
  /** Stop when a sweep lowers the weighted loss by less than this share of it; 0 always runs all sweeps. */
  readonly tolerance: number;
  /** All K signs of a weight at once, nearest of 2^K levels, or plane by plane on what the earlier planes leave (Alg. 2). */
  readonly signs: "joint" | "per-order";
}

/**
 * Fits the planes of `block` to `block.x`, in place.
 *
 * @returns the weighted loss before and after every update of the column scales; between two entries of a pair lies Eq. 9, between pairs the signs
 * and Eq. 8, and with `joint` signs no entry exceeds the one before when all weights of an entry are equal.
 */
export async function fitPlanes(
  block: Block,
  weights: FitWeights,
  { sweeps, tolerance, signs: mode }: RsrOptions,
  kernels: Kernels,
): Promise<number[]> {
  const { rows, width, order } = block;
  const count = chunks(rows);
  const partial = new Float64Array(new SharedArrayBuffer(8 * count * (2 * width + 1)));
  const costPerRow = 8 * CHUNK * width;
  const losses: number[] = [];

  const run = async (planes: number[], active: number, signs: string) => {
    let before = Infinity;
    for (let sweep = 0; sweep < sweeps; sweep++) {
      for (const plane of planes) {
        const first = sweep === 0 || plane !== planes[0];
        const args = { ...block, ...weights, plane, active, partial, signs: first ? "none" : signs };
        await kernels.rows(rescaleLoop, count, args, { costPerRow });
        rescaleColumns(args, losses);
      }
      const after = losses[losses.length - 1];
      if (before - after < tolerance * before) break;
      before = after;
    }
    if (sweeps > 0) await kernels.rows(signLoop, count, { ...block, plane: planes[0], active, signs }, { costPerRow });
  };

  for (let plane = 0; plane < order; plane++) {
    const args = { ...block, ...weights, plane, active: plane + 1, partial, signs: "none" };
    await kernels.rows(initialLoop, count, args, { costPerRow });
    initialColumns(args);
    if (mode === "per-order") await run([plane], plane + 1, "plane");
  }
  if (mode === "joint") await run([...Array(order).keys()], order, jointSigns(order));
  return losses;
}

/** Initial plane: a_r = mean_j |R|, B = sign(R), and per chunk the sums of |R / a_r|. GAP(paper §DAQ): its start is not stated. */
const initialLoop = defineRows({
  name: "daq.initial",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: (args: PlaneArgs, start, end) => {
    const { rows, width, codes, rowScale, plane, active, partial } = args;
    const left = new Float64Array(width);
    const bit = 1 << plane;
    for (let chunk = start; chunk < end; chunk++) {
      const base = chunk * (2 * width + 1);
      partial.fill(0, base, base + width);
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        residual(args, i, plane, active, left);
        let sum = 0;
        for (let j = 0; j < width; j++) sum += Math.abs(left[j]);
        const r = sum / width;
        rowScale[plane * rows + i] = r;
        for (let j = 0; j < width; j++) {
          partial[base + j] += Math.abs(left[j]) / (r + 1e-12);
          if (left[j] > 0) codes[i * width + j] |= bit;
        }
      }
    }
  },
});

/** Initial plane: a_c = mean_i |R / a_r|. */
function initialColumns({ rows, width, colScale, plane, partial }: PlaneArgs): void {
  for (let j = 0; j < width; j++) {
    let sum = 0;
    for (let chunk = 0; chunk < chunks(rows); chunk++) sum += partial[chunk * (2 * width + 1) + j];
    colScale[plane * width + j] = sum / rows;
  }
}
