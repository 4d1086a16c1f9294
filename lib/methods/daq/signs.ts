/** Signs of binary planes for scales as they stand: all of a weight at once, plane by plane, or column by column as GPTQ chooses its codes. */
import { compensateRow } from "../../quant/obs.ts";
import type { Kernels } from "../../tensor/kernels.ts";
import { invertLower } from "../../tensor/linalg.ts";
import { matrix64 } from "../../tensor/matrix.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import type { Scratch } from "../../tensor/scratch.ts";
import {
  CHUNK,
  chunks,
  type DifferenceArgs,
  type Group,
  type GroupKind,
  IN_PLACE,
  type InTurnArgs,
  loopsFor,
  type PlaneArgs,
} from "./group.ts";
import { recodeBy, rescaleBy, type RowCodes } from "./rsr.ts";

/** One entry of a group of planes. */
export interface Entry {
  /** a_r,k a_c,k of each plane, `[K]`. */
  readonly a: Float64Array;
  /** Room for its 2^K levels. */
  readonly levels: Float64Array;
}

export function newEntry({ order }: Group): Entry {
  return { a: new Float64Array(order), levels: new Float64Array(2 ** order) };
}

/** The value that `code` stands for: sum_k ±a_k. */
export function valueAt(code: number, { a }: Entry): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += ((code >> k & 1) * 2 - 1) * a[k];
  return sum;
}

/**
 * The code of the level nearest to `x`. With two planes in closed form: the larger one takes the sign of x and the smaller one tells whether |x| lies
 * beyond it.
 */
export function nearestCode(x: number, { a, levels }: Entry): number {
  if (a.length === 2) {
    const p = Math.abs(a[0]), q = Math.abs(a[1]), y = Math.abs(x);
    // Comparisons as numbers rather than branches: the signs of weights are random, so that half of the branches would be mispredicted.
    const code = p >= q ? 1 | +(y > p) << 1 : 2 | +(y > q);
    return code ^ (-+(x <= 0) & 3) ^ +(a[0] < 0) ^ +(a[1] < 0) << 1;
  }
  let low = 0;
  for (let k = 0; k < a.length; k++) low -= a[k];
  levels[0] = low;
  let best = 0, distance = Math.abs(x - low);
  for (let k = 0, size = 1; k < a.length; k++, size *= 2) {
    for (let s = 0; s < size; s++) {
      const level = levels[s] + 2 * a[k], d = Math.abs(x - level);
      levels[size + s] = level;
      if (d < distance) {
        distance = d;
        best = size + s;
      }
    }
  }
  return best;
}

/** All K signs of each weight of a row, or one sign of each: B = argmin_{±1} |R - a_r a_c b|. */
function signsOfRow(args: PlaneArgs): RowCodes {
  const { rows, width, order, x, codes, rowScale, colScale, plane, recode } = args;
  const entry = newEntry(args), { a } = entry, bit = 1 << plane;
  if (recode === "joint") {
    return {
      before: (i) => {
        for (let j = 0, at = i * width; j < width; j++, at++) {
          for (let k = 0; k < order; k++) a[k] = rowScale[k * rows + i] * colScale[k * width + j];
          codes[at] = nearestCode(x[at], entry);
        }
      },
    };
  }
  if (recode === "none") return {};
  return {
    after: (i, left) => {
      const r = rowScale[plane * rows + i], c = plane * width;
      for (let j = 0, at = i * width; j < width; j++, at++) {
        if (left[j] * r * colScale[c + j] > 0) codes[at] |= bit;
        else codes[at] &= ~bit;
      }
    },
  };
}

export const recodeLoop = defineRows({
  name: "daq.recode",
  module: import.meta.url,
  writes: ["codes"],
  run: recodeBy(signsOfRow),
});

export const rescaleLoop = defineRows({
  name: "daq.rescale",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: rescaleBy(signsOfRow),
});

export interface InTurnOptions {
  readonly kind: GroupKind;
  readonly kernels: Kernels;
  readonly scratch: Scratch;
}

/**
 * Sets all codes of `group` for its scales as they stand: q_j is the level nearest to the running w_j, then w_p -= (w_j - q_j) / U_jj · U_jp for
 * p > j (the inner loop of GPTQ on 2^K levels). A row keeps its old codes where the new ones do not lower its loss (x - Q) G (x - Q)ᵀ with
 * G = U⁻¹U⁻ᵀ, so that no row ever gets worse.
 *
 * @param U U_bb, row-major `[width, width]` float64, upper triangular.
 */
export async function recodeInTurn(group: Group, U: Float64Array, options: InTurnOptions): Promise<void> {
  const { kind, kernels } = options;
  const planes = kind.asPlanes(group), { rows, width } = planes;
  const old = await rowLosses(planes, U, options);
  const { inTurn } = loopsFor(kind, group.order);
  await kernels.rows(inTurn, chunks(rows), { ...planes, U, old }, { costPerRow: CHUNK * width * width });
}

/** |(x - Q) U⁻¹|² of each row, `[rows]`: the loss in G. One product for all rows; by substitution it would take as long as choosing the signs. */
async function rowLosses(
  planes: Group,
  U: Float64Array,
  { kind, kernels, scratch }: InTurnOptions,
): Promise<Float64Array> {
  const { rows, width, order } = planes;
  const D = scratch.float64("difference", rows, width), lower = matrix64(width, width);
  await kernels.rows(loopsFor(kind, order).difference, chunks(rows), { ...planes, out: D.data }, IN_PLACE);
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

/** X - Q in float64. */
export const differenceLoop = defineRows({
  name: "daq.difference",
  module: import.meta.url,
  writes: ["out"],
  run: (args: DifferenceArgs, start, end) => {
    const { rows, width, order, x, codes, rowScale, colScale, out } = args;
    const entry = newEntry(args), { a } = entry;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      for (let j = 0, at = i * width; j < width; j++, at++) {
        for (let k = 0; k < order; k++) a[k] = rowScale[k * rows + i] * colScale[k * width + j];
        out[at] = x[at] - valueAt(codes[at], entry);
      }
    }
  },
});

export const inTurnLoop = defineRows({
  name: "daq.inTurn",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: InTurnArgs, start, end) => {
    const { rows, width, order, x, codes, rowScale, colScale, U, old } = args;
    const entry = newEntry(args), { a } = entry, w = new Float64Array(width);
    const row = { U, width, q: new Float32Array(width), e: new Float32Array(width), offset: 0, ahead: width };
    const fresh = new Uint8Array(width);
    const now = new Float64Array(1); // a captured number would be allocated anew at each change
    let i = 0;
    const round = (j: number, value: number) => {
      for (let k = 0; k < order; k++) a[k] = rowScale[k * rows + i] * colScale[k * width + j];
      const code = nearestCode(value, entry), level = valueAt(code, entry);
      fresh[j] = code;
      const error = (value - level) / U[j * width + j];
      now[0] += error * error;
      return level;
    };
    for (i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      now[0] = 0;
      for (let j = 0; j < width; j++) w[j] = x[i * width + j];
      compensateRow(w, round, row);
      if (now[0] < old[i]) codes.set(fresh, i * width);
    }
  },
});
