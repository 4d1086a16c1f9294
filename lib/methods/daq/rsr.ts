/**
 * Row-column rescaling (RSR): weighted alternating least squares for the scales of a group, with updates of the codes in between (Eqs. 6, 8 and 9 of
 * Quant-dLLM, Alg. 2). The equations have signs B_k; levels have 2q - (2^K - 1) in their place: here both are z_k.
 */
import type { Kernels } from "../../tensor/kernels.ts";
import {
  CHUNK,
  chunks,
  type FitWeights,
  type Group,
  type GroupKind,
  loopsFor,
  type PlaneArgs,
  type RescaleArgs,
} from "./group.ts";

export interface RsrOptions {
  readonly kind: GroupKind;
  /** Alternations of all scale updates and the update of the codes; 0 keeps what a kind starts with. */
  readonly sweeps: number;
  /** Stop when a sweep lowers the weighted loss by less than this share of it; 0 runs all sweeps while none raises it. */
  readonly tolerance: number;
  /** All K signs of a weight at once, nearest of 2^K levels, or plane by plane on what the earlier planes leave (Alg. 2). */
  readonly signs: "joint" | "per-order";
  readonly kernels: Kernels;
}

/**
 * Fits scales and codes of `group` to `group.x`, in place.
 *
 * @returns the weighted loss before and after every update of the column scales; between two entries of a pair lies Eq. 9, between pairs the codes
 * and Eq. 8, and with `joint` signs no entry exceeds the one before when all weights of an entry are equal.
 */
export async function rsr(group: Group, weights: FitWeights, options: RsrOptions): Promise<number[]> {
  const { kind, sweeps, tolerance, signs, kernels } = options;
  const { rows, width } = group;
  const count = chunks(rows), scales = group.colScale.length / width, recode = kind.recode(group, signs);
  const partial = new Float64Array(new SharedArrayBuffer(8 * count * (2 * width + 1)));
  const costPerRow = 8 * CHUNK * width;
  const losses: number[] = [];

  const run = async (planes: number[], active: number) => {
    let before = Infinity;
    for (let sweep = 0; sweep < sweeps; sweep++) {
      for (const plane of planes) {
        const first = sweep === 0 || plane !== planes[0];
        const own = { plane, active, recode: first ? "none" : recode, epsilon: kind.epsilon, partial } as const;
        const args = { ...group, ...weights, ...own };
        // Signs plane by plane are the plain loop's alone.
        const { rescale } = own.recode === "plane" ? kind.loops : loopsFor(kind, active);
        await kernels.rows(rescale, count, args, { costPerRow });
        losses.push(...rescaleColumns(args));
      }
      const after = losses[losses.length - 1];
      if (before - after < tolerance * before) break;
      before = after;
    }
    if (sweeps > 0) {
      await kernels.rows(kind.loops.recode, count, { ...group, plane: planes[0], active, recode }, { costPerRow });
    }
  };

  for (let plane = 0; plane < scales; plane++) {
    await kind.start(group, { plane, partial, kernels });
    if (signs === "per-order") await run([plane], plane + 1);
  }
  if (signs === "joint") await run([...Array(scales).keys()], scales);
  return losses;
}

/** The codes of a row: set before the other planes are taken off the row, or from `left`, what they leave of it. */
export interface RowCodes {
  readonly before?: (i: number) => void;
  readonly after?: (i: number, left: Float64Array) => void;
}

/** The loop over one update of the row scales of plane k, for the codes of a kind. */
export function rescaleBy(codesOf: (args: PlaneArgs) => RowCodes) {
  return (args: RescaleArgs, start: number, end: number): void => {
    const { rows, width, order, codes, shapes, rowScale, colScale, columnWeight, salient, salientWeight } = args;
    const { plane, epsilon, partial } = args;
    const set = codesOf(args), left = new Float64Array(width);
    const omega = Float64Array.from(columnWeight), heavy = omega.map((w) => w * salientWeight);
    const above = new Float64Array(width), below = new Float64Array(width);
    const c = colScale.slice(plane * width, (plane + 1) * width), z = shapes.slice(plane << order, plane + 1 << order);
    for (let chunk = start; chunk < end; chunk++) {
      above.fill(0);
      below.fill(0);
      let loss = 0;
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        const at = i * width;
        set.before?.(i);
        for (let j = 0; j < width && salient.length > 0; j++) {
          omega[j] = salient[at + j] !== 0 ? heavy[j] : columnWeight[j];
        }
        residual(args, i, left);
        set.after?.(i, left);
        // Eq. 8: a_r,i = sum_j omega z a_c R / (sum_j omega (z a_c)² + eps).
        let over = 0, under = 0;
        for (let j = 0; j < width; j++) {
          const m = c[j] * z[codes[at + j]], w = omega[j] * m;
          over += w * left[j];
          under += w * m;
        }
        const r = under > 0 ? over / (under + epsilon) : 0;
        rowScale[plane * rows + i] = r;
        // The sums over rows of Eq. 9, with the new a_r.
        for (let j = 0; j < width; j++) {
          const m = r * z[codes[at + j]], w = omega[j];
          above[j] += w * m * left[j];
          below[j] += w * m * m;
          loss += w * left[j] * left[j];
        }
      }
      keepSums(partial, { chunk, above, below, loss });
    }
  };
}

/** Eq. 9: a_c,j = sum_i omega z a_r R / (sum_i omega (z a_r)² + eps); returns the weighted loss before and after. */
export function rescaleColumns({ rows, width, colScale, plane, epsilon, partial }: RescaleArgs): [number, number] {
  const sums = new Float64Array(2 * width + 1);
  for (let chunk = 0; chunk < chunks(rows); chunk++) {
    for (let p = 0; p < sums.length; p++) sums[p] += partial[chunk * sums.length + p];
  }
  const above = sums.subarray(0, width), below = sums.subarray(width, 2 * width), loss = sums[2 * width];
  let before = loss, after = loss;
  for (let j = 0; j < width; j++) {
    const old = colScale[plane * width + j];
    const scale = below[j] > 0 ? above[j] / (below[j] + epsilon) : 0;
    before += old * (old * below[j] - 2 * above[j]);
    // Without epsilon, scale · below is above.
    after += epsilon > 0 ? scale * (scale * below[j] - 2 * above[j]) : -scale * above[j];
    colScale[plane * width + j] = scale;
  }
  return [before, after];
}

/** What the other standing planes leave of row i, `[width]`: R = x - sum_{l != plane} z_l a_r,l a_c,l. */
export function residual(args: PlaneArgs, i: number, left: Float64Array): void {
  const { rows, width, order, x, codes, shapes, rowScale, colScale, plane, active } = args;
  const at = i * width;
  for (let j = 0; j < width; j++) left[j] = x[at + j];
  for (let l = 0; l < active; l++) {
    if (l === plane) continue;
    const r = rowScale[l * rows + i], c = l * width, z = l << order;
    for (let j = 0; j < width; j++) left[j] -= shapes[z | codes[at + j]] * r * colScale[c + j];
  }
}

/** Keeps the sums of a chunk for Eq. 9: numerators `[width]`, denominators `[width]`, and the loss with column scales 0. */
export function keepSums(
  partial: Float64Array,
  sums: { readonly chunk: number; readonly above: Float64Array; readonly below: Float64Array; readonly loss: number },
): void {
  const { chunk, above, below, loss } = sums;
  const width = above.length, base = chunk * (2 * width + 1);
  partial.set(above, base);
  partial.set(below, base + width);
  partial[base + 2 * width] = loss;
}

/** All codes again for the scales as they stand (after rounding them). */
export async function recode(
  group: Group,
  { kind, signs, kernels }: Pick<RsrOptions, "kind" | "signs" | "kernels">,
): Promise<void> {
  const recode = kind.recode(group, signs), scales = group.colScale.length / group.width;
  for (let plane = 0; plane < (recode === "plane" ? scales : 1); plane++) {
    const args = { ...group, plane, active: recode === "plane" ? plane + 1 : scales, recode };
    await kernels.rows(kind.loops.recode, chunks(group.rows), args, { costPerRow: 8 * CHUNK * group.width });
  }
}

/** The loop over that, for the codes of a kind. */
export function recodeBy(codesOf: (args: PlaneArgs) => RowCodes) {
  return (args: PlaneArgs, start: number, end: number): void => {
    const { before, after } = codesOf(args), left = new Float64Array(args.width);
    for (let i = start * CHUNK; i < Math.min(args.rows, end * CHUNK); i++) {
      before?.(i);
      if (!after) continue;
      residual(args, i, left);
      after(i, left);
    }
  };
}
