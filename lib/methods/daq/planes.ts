/** Groups of K binary planes: Q = sum_k B_k o (a_r^k a_c^kᵀ), B_k = ±1 (Eq. 3). */
import { defineRows } from "../../tensor/row_loop.ts";
import { CHUNK, chunks, decodeLoop, type DescendArgs, type GroupKind, type PlaneArgs } from "./group.ts";
import { solveBy, sumsOfRow } from "./refit.ts";
import { residual } from "./rsr.ts";
import { differenceLoop, inTurnLoop, nearestCode, newEntry, recodeLoop, rescaleLoop, valueAt } from "./signs.ts";
import { decodeTwoLoop, descendTwoLoop, differenceTwoLoop, solveTwoLoop } from "./two_planes.ts";
import { inTurnTwoLoop, rescaleTwoLoop } from "./two_rows.ts";

type StartArgs = PlaneArgs & { readonly partial: Float64Array };

/** First plane for what is left: a_r = mean_j |R|, B = sign(R), and per chunk the sums of |R / a_r|. GAP(paper §DAQ): its start is not stated. */
export const startLoop = defineRows({
  name: "daq.start",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: (args: StartArgs, start, end) => {
    const { rows, width, codes, rowScale, plane, partial } = args;
    const left = new Float64Array(width), bit = 1 << plane;
    for (let chunk = start; chunk < end; chunk++) {
      const base = chunk * (2 * width + 1);
      partial.fill(0, base, base + width);
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        residual(args, i, left);
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

/** First plane: a_c = mean_i |R / a_r|. */
function startColumns({ rows, width, colScale, plane, partial }: StartArgs): void {
  for (let j = 0; j < width; j++) {
    let sum = 0;
    for (let chunk = 0; chunk < chunks(rows); chunk++) sum += partial[chunk * (2 * width + 1) + j];
    colScale[plane * width + j] = sum / rows;
  }
}

/** Coordinate descent: the best value of entry j is q_j + R_j / H_jj; take the nearest level, keep R up to date. */
export const descendLoop = defineRows({
  name: "daq.descend",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: DescendArgs, start, end) => {
    const { rows, width, order, codes, rowScale, colScale, form, R, sweeps } = args;
    const entry = newEntry(args), { a } = entry, g = new Float64Array(width);
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const at = i * width;
      for (let j = 0; j < width; j++) g[j] = R[at + j];
      for (let sweep = 0; sweep < sweeps; sweep++) {
        let moved = false;
        for (let j = 0; j < width; j++) {
          for (let k = 0; k < order; k++) a[k] = rowScale[k * rows + i] * colScale[k * width + j];
          const old = codes[at + j], q = valueAt(old, entry);
          const code = nearestCode(q + g[j] / form[j * width + j], entry);
          if (code === old) continue;
          moved = true;
          codes[at + j] = code;
          const step = valueAt(code, entry) - q;
          for (let p = 0, h = j * width; p < width; p++, h++) g[p] -= step * form[h];
        }
        if (!moved) break;
      }
    }
  },
});

export const solveLoop = defineRows({
  name: "daq.solveRows",
  module: import.meta.url,
  writes: ["rowScale"],
  run: solveBy(sumsOfRow),
});

export const planes: GroupKind = {
  method: "daq",
  parts: "planes",
  format: "binary",
  mostBits: 4,
  // Keeps a vanished plane (all its scales 0) at 0 instead of 0 / 0; weights times scales squared are far above it.
  epsilon: 1e-8,
  recodesRounded: false,
  addsLosses: true,
  /** Bit k of a code is set where B_k = +1. */
  shapes: (order) => Float64Array.from({ length: order << order }, (_, at) => (at >> (at >> order) & 1) * 2 - 1),
  start: async (group, { plane, partial, kernels }) => {
    const args = { ...group, plane, active: plane + 1, recode: "none", partial } as const;
    await kernels.rows(startLoop, chunks(group.rows), args, { costPerRow: 8 * CHUNK * group.width });
    startColumns(args);
  },
  // With one plane the official code keeps the signs of the weights.
  recode: ({ order }, signs) => signs === "per-order" ? "plane" : order === 1 ? "none" : "joint",
  asPlanes: (group) => group,
  loops: {
    recode: recodeLoop,
    rescale: rescaleLoop,
    decode: decodeLoop,
    difference: differenceLoop,
    inTurn: inTurnLoop,
    solveRows: solveLoop,
    descend: descendLoop,
  },
  twoPlanes: {
    rescale: rescaleTwoLoop,
    decode: decodeTwoLoop,
    difference: differenceTwoLoop,
    inTurn: inTurnTwoLoop,
    solveRows: solveTwoLoop,
    descend: descendTwoLoop,
  },
};
