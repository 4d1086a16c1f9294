/**
 * A group: columns of a weight that share scales, which the paper calls a block, as Q_ij = sum_k z_k,ij a_r,k,i a_c,k,j (Eq. 3). What z may be is
 * its kind: signs of K binary planes, or the odd numbers of uniform levels.
 */
import type { QuantizedLinear } from "../../quant/method.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { roundToHalf } from "../../tensor/half.ts";
import type { Kernels } from "../../tensor/kernels.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import { defineRows, type RowLoop } from "../../tensor/row_loop.ts";

/**
 * Rows that one chunk covers. Row loops here run over chunks, and sums over rows are taken chunk by chunk in order, so that they do not depend on
 * how many threads share the work.
 */
export const CHUNK = 64;

/** For loops of a few operations per entry: handing their arrays to another thread would take longer than running them. */
export const IN_PLACE = { costPerRow: 0 };

/** Flat plain data, so that a row loop can take it as it is. A group of S pairs of row and column scales has S = K for planes, 1 for levels. */
export type Group = {
  readonly rows: number;
  readonly width: number;
  /** K, bits of a code: the number of planes, 1 to 4. */
  readonly order: number;
  /** The weights to approximate, `[rows, width]`. */
  readonly x: Float32Array;
  /** `[rows, width]`, each below 2^K. */
  readonly codes: Uint8Array;
  /** z_k of each code, `[S, 2^K]`. */
  readonly shapes: Float64Array;
  /** a_r `[S, rows]`. */
  readonly rowScale: Float64Array;
  /** a_c `[S, width]`. */
  readonly colScale: Float64Array;
};

/** Which codes a loop sets for the scales as they stand: none, all bits at once, or one bit on what the earlier planes leave. */
export type Recode = "none" | "joint" | "plane";

/** Plane k of a group, how many planes stand (later ones are not fitted yet), and which codes to set. */
export type PlaneArgs = Group & { readonly plane: number; readonly active: number; readonly recode: Recode };

/** Weights omega_ij = columnWeight_j · (salient_ij ? salientWeight : 1) of the squared errors: Lambda² of Eq. 6. */
export type FitWeights = {
  /** `[width]`. */
  readonly columnWeight: Float64Array;
  /** `[rows, width]`, or empty where no weight is salient. */
  readonly salient: Uint8Array;
  readonly salientWeight: number;
};

/** What an update of the scales of a plane takes; `partial` keeps, per chunk, the sums that Eq. 9 needs. */
export type RescaleArgs = PlaneArgs & FitWeights & { readonly epsilon: number; readonly partial: Float64Array };
export type DecodeArgs = Group & { readonly out: Float32Array };
export type DifferenceArgs = Group & { readonly out: Float64Array };
/** U_bb `[width, width]`, and the losses of the rows before `[rows]`. */
export type InTurnArgs = Group & { readonly U: Float64Array; readonly old: Float64Array };
/** m_k = z_k o a_c,k `[S, rows, width]`, their products with G, and T G `[rows, width]`. */
export type SolveArgs = Group & {
  readonly shapesOfRows: Float32Array;
  readonly products: Float32Array;
  readonly TG: Float32Array;
};
/** H_bb `[width, width]` and D H[:, b] `[rows, width]`. */
export type DescendArgs = Group & { readonly form: Float32Array; readonly R: Float32Array; readonly sweeps: number };

/** The row loops of a kind, each in plain form. */
export interface GroupLoops {
  /** Codes for the scales as they stand. */
  readonly recode: RowLoop<PlaneArgs>;
  /** Eq. 8 for one plane, and the sums of Eq. 9 (`rsr.ts`). */
  readonly rescale: RowLoop<RescaleArgs>;
  /** Q. */
  readonly decode: RowLoop<DecodeArgs>;
  /** X - Q in float64, of the group as planes. */
  readonly difference: RowLoop<DifferenceArgs>;
  /** Codes column by column, of the group as planes (`signs.ts`). */
  readonly inTurn: RowLoop<InTurnArgs>;
  /** Row scales that minimise the error in a quadratic form (`refit.ts`). */
  readonly solveRows: RowLoop<SolveArgs>;
  /** Coordinate descent over the codes (`refine.ts`). */
  readonly descend: RowLoop<DescendArgs>;
}

/** What the groups of a method are made of. */
export interface GroupKind {
  /** The method, as errors name it. */
  readonly method: string;
  /** What is fitted, as `report.fallback` names it. */
  readonly parts: string;
  readonly format: QuantizedLinear["format"];
  readonly mostBits: number;
  /** Added below the fractions of Eqs. 8 and 9. */
  readonly epsilon: number;
  /** Whether codes are chosen again for rounded scales even where nothing but RSR fitted them; the official code keeps its signs. */
  readonly recodesRounded: boolean;
  /** Whether refinement starts from the loss that the groups add up to, or measures it; the two differ in the last digits. */
  readonly addsLosses: boolean;
  /** z_k of each code, `[S, 2^order]`. */
  shapes(order: number): Float64Array;
  /** Scales and codes of a plane to begin with, for what the planes before it leave; `partial` is scratch. */
  start(group: Group, options: { plane: number; partial: Float64Array; kernels: Kernels }): Promise<void>;
  /** Which codes follow an update of the scales. */
  recode(group: Group, signs: "joint" | "per-order"): Recode;
  /** The group as binary planes over the same codes: what works on signs for fixed scales works on codes. */
  asPlanes(group: Group): Group;
  readonly loops: GroupLoops;
  /** Faster ones, equal bit for bit, where two planes stand. */
  readonly twoPlanes?: Partial<GroupLoops>;
}

/** The loops of a kind for `planes` planes. */
export function loopsFor({ loops, twoPlanes }: GroupKind, planes: number): GroupLoops {
  return planes === 2 ? { ...loops, ...twoPlanes } : loops;
}

/** How many chunks `rows` rows make. */
export function chunks(rows: number): number {
  return Math.ceil(rows / CHUNK);
}

/** A group over a copy of `X` `[rows, width]`, with nothing fitted yet. Shared memory, so that many row loops cost no copies. */
export function newGroup(
  { rows, cols: width, data }: Matrix,
  { kind, order }: { readonly kind: GroupKind; readonly order: number },
): Group {
  const shapes = kind.shapes(order), scales = shapes.length / 2 ** order;
  const x = new Float32Array(new SharedArrayBuffer(4 * rows * width));
  x.set(data);
  return {
    rows,
    width,
    order,
    x,
    codes: new Uint8Array(new SharedArrayBuffer(rows * width)),
    shapes,
    rowScale: new Float64Array(new SharedArrayBuffer(8 * scales * rows)),
    colScale: new Float64Array(new SharedArrayBuffer(8 * scales * width)),
  };
}

/** Q `[rows, width]`, the weights that the group stands for, written to `out` where it is given. */
export async function decode(
  group: Group,
  { kind, kernels, out = matrix(group.rows, group.width) }: {
    readonly kind: GroupKind;
    readonly kernels: Kernels;
    readonly out?: Matrix;
  },
): Promise<Matrix> {
  const loop = loopsFor(kind, group.order).decode;
  await kernels.rows(loop, chunks(group.rows), { ...group, out: out.data }, IN_PLACE);
  return out;
}

/** Eq. 3 as it stands, for any kind. */
export const decodeLoop = defineRows({
  name: "daq.decode",
  module: import.meta.url,
  writes: ["out"],
  run: ({ rows, width, order, codes, shapes, rowScale, colScale, out }: DecodeArgs, start, end) => {
    const scales = colScale.length / width;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      for (let j = 0, at = i * width; j < width; j++, at++) {
        let sum = 0;
        for (let k = 0; k < scales; k++) {
          sum += rowScale[k * rows + i] * colScale[k * width + j] * shapes[k << order | codes[at]];
        }
        out[at] = sum;
      }
    }
  },
});

/**
 * Moves a power of two between the row and the column scales of each plane (their product does not change), so that the largest column scale lies
 * in [1, 2): fp16 then has room on both sides.
 */
export function balanceScales({ rows, width, rowScale, colScale }: Group): void {
  for (let k = 0; k * rows < rowScale.length; k++) {
    const r = rowScale.subarray(k * rows, (k + 1) * rows), c = colScale.subarray(k * width, (k + 1) * width);
    let top = 0;
    for (const v of c) top = Math.max(top, Math.abs(v));
    if (!(top > 0)) continue;
    const shift = 2 ** Math.floor(Math.log2(top));
    for (let i = 0; i < r.length; i++) r[i] *= shift;
    for (let j = 0; j < c.length; j++) c[j] /= shift;
  }
}

/** Rounds scales to what is stored, fp16. Throws `ScaleOverflow` for one beyond it. */
export function roundScales(scales: Float64Array): void {
  for (let i = 0; i < scales.length; i++) {
    const rounded = roundToHalf(scales[i]);
    if (!Number.isFinite(rounded)) throw new ScaleOverflow(scales[i]);
    scales[i] = rounded;
  }
}
