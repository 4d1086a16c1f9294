/**
 * Row-column rescaling (RSR): weighted alternating least squares for the scales of K binary planes, with updates of the signs in between (Eqs. 6, 8
 * and 9 of Quant-dLLM, Alg. 2).
 */
import type { Kernels } from "../tensor/kernels.ts";
import { defineRows } from "../tensor/row_loop.ts";
import { type Block, CHUNK, chunks, nearestCode, rowScales } from "./daq_block.ts";

/** Weights omega_ij = columnWeight_j · (salient_ij ? salientWeight : 1) of the squared errors: Lambda² of Eq. 6. */
export type FitWeights = {
  /** `[width]`. */
  readonly columnWeight: Float64Array;
  /** `[rows, width]`, or empty where no weight is salient. */
  readonly salient: Uint8Array;
  readonly salientWeight: number;
};

export interface RsrOptions {
  /** Alternations of all scale updates and the sign update; 0 keeps the initial planes. */
  readonly sweeps: number;
  /** Stop when a sweep lowers the weighted loss by less than this share of it; 0 always runs all sweeps. */
  readonly tolerance: number;
  /** All K signs of a weight at once, nearest of 2^K levels, or plane by plane on what the earlier planes leave (Alg. 2). */
  readonly signs: "joint" | "per-order";
}

type PlaneArgs = Block & FitWeights & {
  /** The plane to update, and how many stand (later ones are not fitted yet). */
  readonly plane: number;
  readonly active: number;
  /** Which signs to update before the scales: "none", "joint" or "plane". */
  readonly signs: string;
  /** Per chunk: numerators `[width]`, denominators `[width]`, loss. */
  readonly partial: Float64Array;
};

// Keeps a vanished plane (all its scales 0) at 0 instead of 0 / 0; weights times scales squared are far above it.
const EPSILON = 1e-8;

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

/** All signs again for the scales as they stand (after rounding them). */
export async function refreshSigns(block: Block, mode: RsrOptions["signs"], kernels: Kernels): Promise<void> {
  for (let plane = 0; plane < (mode === "joint" ? 1 : block.order); plane++) {
    const args = { ...block, plane, active: mode === "joint" ? block.order : plane + 1 };
    const signs = mode === "joint" ? jointSigns(block.order) : "plane";
    await kernels.rows(signLoop, chunks(block.rows), { ...args, signs }, { costPerRow: 8 * CHUNK * block.width });
  }
}

/** With one plane the official code keeps the signs of the weights. */
function jointSigns(order: number): string {
  return order === 1 ? "none" : "joint";
}

/** What the other standing planes leave of row i, `[width]`: R = x - sum_{l != plane} of plane l. */
function residual(block: Block, i: number, plane: number, active: number, out: Float64Array): void {
  const { rows, width, x, codes, rowScale, colScale } = block;
  const at = i * width;
  for (let j = 0; j < width; j++) out[j] = x[at + j];
  for (let l = 0; l < active; l++) {
    if (l === plane) continue;
    const r = rowScale[l * rows + i];
    const c = l * width;
    for (let j = 0; j < width; j++) out[j] -= (((codes[at + j] >> l) & 1) * 2 - 1) * r * colScale[c + j];
  }
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

/** Eq. 8: a_r,i = sum_j omega B a_c R / (sum_j omega a_c² + eps); then per chunk the sums that Eq. 9 needs of the new a_r. */
const rescaleLoop = defineRows({
  name: "daq.rescale",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: (args: PlaneArgs, start, end) => {
    const { rows, width, x, codes, rowScale, colScale, columnWeight, salient, salientWeight } = args;
    const { plane, active, signs, partial } = args;
    const anySalient = salient.length > 0;
    const left = new Float64Array(width), above = new Float64Array(width), below = new Float64Array(width);
    const omega = Float64Array.from(columnWeight), heavy = omega.map((w) => w * salientWeight);
    const scratch = scratchFor(args);
    const c = colScale.slice(plane * width, (plane + 1) * width);
    for (let chunk = start; chunk < end; chunk++) {
      above.fill(0);
      below.fill(0);
      let loss = 0;
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        const at = i * width;
        if (signs === "joint") signRow(args, i, active, scratch);
        if (anySalient) {
          for (let j = 0; j < width; j++) omega[j] = salient[at + j] !== 0 ? heavy[j] : columnWeight[j];
        }
        let over = 0, under = 0;
        if (active === 2 && signs !== "plane") {
          // The hot path: the other plane, the sign and the sums in one pass.
          const other = 1 - plane, o = other * width;
          const q = rowScale[other * rows + i];
          for (let j = 0; j < width; j++) {
            const code = codes[at + j];
            const rest = x[at + j] - (((code >> other) & 1) * 2 - 1) * q * colScale[o + j];
            const signed = (((code >> plane) & 1) * 2 - 1) * rest;
            const w = omega[j] * c[j];
            left[j] = signed;
            over += w * signed;
            under += w * c[j];
          }
        } else {
          residual(args, i, plane, active, left);
          if (signs === "plane") signPlane(args, i, plane, left);
          for (let j = 0; j < width; j++) {
            const signed = (((codes[at + j] >> plane) & 1) * 2 - 1) * left[j];
            const w = omega[j] * c[j];
            left[j] = signed;
            over += w * signed;
            under += w * c[j];
          }
        }
        const r = over / (under + EPSILON);
        rowScale[plane * rows + i] = r;
        for (let j = 0; j < width; j++) {
          const w = omega[j], signed = left[j];
          above[j] += w * r * signed;
          below[j] += w * r * r;
          loss += w * signed * signed;
        }
      }
      const base = chunk * (2 * width + 1);
      partial.set(above, base);
      partial.set(below, base + width);
      partial[base + 2 * width] = loss;
    }
  },
});

/** Eq. 9: a_c,j = sum_i omega B a_r R / (sum_i omega a_r² + eps); adds the loss before and after to `losses`. */
function rescaleColumns({ rows, width, colScale, plane, partial }: PlaneArgs, losses: number[]): void {
  const stride = 2 * width + 1;
  let before = 0;
  for (let chunk = 0; chunk < chunks(rows); chunk++) before += partial[chunk * stride + 2 * width];
  let after = before;
  for (let j = 0; j < width; j++) {
    let above = 0, below = 0;
    for (let chunk = 0; chunk < chunks(rows); chunk++) {
      above += partial[chunk * stride + j];
      below += partial[chunk * stride + width + j];
    }
    const old = colScale[plane * width + j];
    const scale = above / (below + EPSILON);
    before += old * (old * below - 2 * above);
    after += scale * (scale * below - 2 * above);
    colScale[plane * width + j] = scale;
  }
  losses.push(before, after);
}

/** The sign update on its own. */
const signLoop = defineRows({
  name: "daq.signs",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: Block & { plane: number; active: number; signs: string }, start, end) => {
    const { rows, width, plane, active, signs } = args;
    const scratch = scratchFor(args), left = new Float64Array(width);
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      if (signs === "joint") signRow(args, i, active, scratch);
      if (signs === "plane") {
        residual(args, i, plane, active, left);
        signPlane(args, i, plane, left);
      }
    }
  },
});

interface Scratch {
  readonly levels: Float64Array;
  readonly r: Float64Array;
}

function scratchFor({ order }: Block): Scratch {
  return { levels: new Float64Array(16), r: new Float64Array(order) };
}

/** All K signs of each weight of row i: the nearest of the 2^K levels. */
function signRow(block: Block, i: number, active: number, { levels, r }: Scratch): void {
  const { rows, width, x, codes, rowScale, colScale } = block;
  const at = i * width;
  rowScales(rowScale, rows, active, i, r);
  for (let j = 0; j < width; j++) codes[at + j] = nearestCode(x[at + j], r, colScale, active, width, j, levels);
}

/** One sign of each weight of row i: B = argmin_{±1} |R - a_r a_c b|. */
function signPlane(block: Block, i: number, plane: number, left: Float64Array): void {
  const { rows, width, codes, rowScale, colScale } = block;
  const r = rowScale[plane * rows + i];
  const bit = 1 << plane;
  for (let j = 0; j < width; j++) {
    if (left[j] * r * colScale[plane * width + j] > 0) codes[i * width + j] |= bit;
    else codes[i * width + j] &= ~bit;
  }
}
