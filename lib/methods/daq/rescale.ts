/** One update of the scales of a plane: rows by Eq. 8 in a row loop, columns by Eq. 9 from its sums. */
import { defineRows } from "../../tensor/row_loop.ts";
import { type Block, CHUNK, chunks } from "./block.ts";
import { residual, scratchFor, signPlane, signRow } from "./signs.ts";

/** Weights omega_ij = columnWeight_j · (salient_ij ? salientWeight : 1) of the squared errors: Lambda² of Eq. 6. */
export type FitWeights = {
  /** `[width]`. */
  readonly columnWeight: Float64Array;
  /** `[rows, width]`, or empty where no weight is salient. */
  readonly salient: Uint8Array;
  readonly salientWeight: number;
};

export type PlaneArgs = Block & FitWeights & {
  /** The plane to update, and how many stand (later ones are not fitted yet). */
  readonly plane: number;
  readonly active: number;
  /** Which signs to update before the scales: "none", "joint" or "plane". */
  readonly signs: string;
  /** Per chunk, what `keepSums` keeps. */
  readonly partial: Float64Array;
};

// Keeps a vanished plane (all its scales 0) at 0 instead of 0 / 0; weights times scales squared are far above it.
const EPSILON = 1e-8;

/** Eq. 8: a_r,i = sum_j omega B a_c R / (sum_j omega a_c² + eps); then per chunk the sums that Eq. 9 needs of the new a_r. */
export const rescaleLoop = defineRows({
  name: "daq.rescale",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: (args: PlaneArgs, start, end) => {
    if (args.active === 2 && args.signs !== "plane") return rescaleTwo(args, start, end);
    const { rows, width, codes, rowScale, colScale, columnWeight, salient, salientWeight } = args;
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
        residual(args, i, plane, active, left);
        if (signs === "plane") signPlane(args, i, plane, left);
        for (let j = 0; j < width; j++) {
          const signed = (((codes[at + j] >> plane) & 1) * 2 - 1) * left[j];
          const w = omega[j] * c[j];
          left[j] = signed;
          over += w * signed;
          under += w * c[j];
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
      keepSums(partial, chunk, above, below, loss);
    }
  },
});

/**
 * The same for two planes whose signs are chosen jointly or stand: the hot path of every fit, two rows at a time, since the sums of one row wait for
 * each other. Plain local arrays and no calls: that is twice as fast.
 */
function rescaleTwo(args: PlaneArgs, start: number, end: number): void {
  const { rows, width, x, codes, rowScale, colScale, columnWeight, salient, salientWeight, plane, partial } = args;
  const joint = args.signs === "joint", other = 1 - plane, anySalient = salient.length > 0;
  const leftA = new Float64Array(width), leftB = new Float64Array(width);
  const omegaA = Float64Array.from(columnWeight), omegaB = Float64Array.from(columnWeight);
  const above = new Float64Array(width), below = new Float64Array(width);
  const c0 = colScale.slice(0, width), c1 = colScale.slice(width, 2 * width);
  const c = plane === 0 ? c0 : c1, d = plane === 0 ? c1 : c0;
  // omega_j of a weight that is not salient, of one that is, and of the row that stands in for the missing half of the last pair.
  const weight = new Float64Array(4 * width);
  for (let j = 0; j < width; j++) {
    weight[j] = columnWeight[j];
    weight[width + j] = columnWeight[j] * salientWeight;
  }
  for (let chunk = start; chunk < end; chunk++) {
    const last = Math.min(rows, (chunk + 1) * CHUNK);
    above.fill(0);
    below.fill(0);
    let lossA = 0, lossB = 0;
    for (let i = chunk * CHUNK; i < last; i += 2) {
      const alone = i + 1 === last, next = alone ? i : i + 1;
      const atA = i * width, atB = next * width;
      if (joint) {
        // `nearestCode`, written out.
        const r0A = rowScale[i], r1A = rowScale[rows + i], r0B = rowScale[next], r1B = rowScale[rows + next];
        for (let j = 0; j < width; j++) {
          const u = c0[j], v = c1[j];
          const xA = x[atA + j], aA = r0A * u, bA = r1A * v;
          const pA = Math.abs(aA), qA = Math.abs(bA), yA = Math.abs(xA);
          const codeA = pA >= qA ? 1 | +(yA > pA) << 1 : 2 | +(yA > qA);
          codes[atA + j] = codeA ^ (-+(xA <= 0) & 3) ^ +(aA < 0) ^ +(bA < 0) << 1;
          const xB = x[atB + j], aB = r0B * u, bB = r1B * v;
          const pB = Math.abs(aB), qB = Math.abs(bB), yB = Math.abs(xB);
          const codeB = pB >= qB ? 1 | +(yB > pB) << 1 : 2 | +(yB > qB);
          codes[atB + j] = codeB ^ (-+(xB <= 0) & 3) ^ +(aB < 0) ^ +(bB < 0) << 1;
        }
      }
      if (anySalient || alone) {
        const ghost = alone ? 2 : 0;
        for (let j = 0; j < width; j++) {
          omegaA[j] = weight[(anySalient ? salient[atA + j] : 0) * width + j];
          omegaB[j] = weight[(anySalient ? salient[atB + j] + ghost : ghost) * width + j];
        }
      }
      const qA = rowScale[other * rows + i], qB = rowScale[other * rows + next];
      let overA = 0, underA = 0, overB = 0, underB = 0;
      for (let j = 0; j < width; j++) {
        const codeA = codes[atA + j], codeB = codes[atB + j], cj = c[j], dj = d[j];
        const restA = x[atA + j] - (((codeA >> other) & 1) * 2 - 1) * qA * dj;
        const restB = x[atB + j] - (((codeB >> other) & 1) * 2 - 1) * qB * dj;
        const signedA = (((codeA >> plane) & 1) * 2 - 1) * restA, signedB = (((codeB >> plane) & 1) * 2 - 1) * restB;
        const wA = omegaA[j] * cj, wB = omegaB[j] * cj;
        leftA[j] = signedA;
        leftB[j] = signedB;
        overA += wA * signedA;
        underA += wA * cj;
        overB += wB * signedB;
        underB += wB * cj;
      }
      const rA = overA / (underA + EPSILON), rB = overB / (underB + EPSILON);
      rowScale[plane * rows + next] = rB;
      rowScale[plane * rows + i] = rA;
      for (let j = 0; j < width; j++) {
        const wA = omegaA[j], wB = omegaB[j], signedA = leftA[j], signedB = leftB[j];
        above[j] = above[j] + wA * rA * signedA + wB * rB * signedB;
        below[j] = below[j] + wA * rA * rA + wB * rB * rB;
        lossA += wA * signedA * signedA;
        lossB += wB * signedB * signedB;
      }
    }
    keepSums(partial, chunk, above, below, lossA + lossB);
  }
}

/** Eq. 9: a_c,j = sum_i omega B a_r R / (sum_i omega a_r² + eps); adds the loss before and after to `losses`. */
export function rescaleColumns({ rows, width, colScale, plane, partial }: PlaneArgs, losses: number[]): void {
  const { above, below, loss } = totalSums(partial, chunks(rows), width);
  let before = loss, after = loss;
  for (let j = 0; j < width; j++) {
    const old = colScale[plane * width + j];
    const scale = above[j] / (below[j] + EPSILON);
    before += old * (old * below[j] - 2 * above[j]);
    after += scale * (scale * below[j] - 2 * above[j]);
    colScale[plane * width + j] = scale;
  }
  losses.push(before, after);
}

/** Keeps the sums of a chunk for Eq. 9: numerators `[width]`, denominators `[width]`, and the loss with column scales 0. */
export function keepSums(
  partial: Float64Array,
  chunk: number,
  above: Float64Array,
  below: Float64Array,
  loss: number,
): void {
  const width = above.length, base = chunk * (2 * width + 1);
  partial.set(above, base);
  partial.set(below, base + width);
  partial[base + 2 * width] = loss;
}

/** The sums of all chunks. */
export function totalSums(
  partial: Float64Array,
  count: number,
  width: number,
): { above: Float64Array; below: Float64Array; loss: number } {
  const sums = new Float64Array(2 * width + 1);
  for (let chunk = 0; chunk < count; chunk++) {
    for (let p = 0; p < sums.length; p++) sums[p] += partial[chunk * sums.length + p];
  }
  return { above: sums.subarray(0, width), below: sums.subarray(width, 2 * width), loss: sums[2 * width] };
}
