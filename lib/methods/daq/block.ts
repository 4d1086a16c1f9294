/** One column block of a weight as K row- and column-scaled binary planes: Q_ij = sum_k B_k,ij a_r,k,i a_c,k,j (Eq. 3). */
import { roundToHalf } from "../../tensor/half.ts";
import type { Kernels } from "../../tensor/kernels.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import { defineRows } from "../../tensor/row_loop.ts";

/**
 * Rows that one chunk covers. Row loops here run over chunks, and sums over rows are taken chunk by chunk in order, so that they do not depend on
 * how many threads share the work.
 */
export const CHUNK = 64;

/** The planes of a block, or its uniform levels (`levels_block.ts`); flat plain data, so that a row loop can take it as it is. */
export type Block = {
  readonly rows: number;
  readonly width: number;
  /** K, the number of planes, 1 to 4. */
  readonly order: number;
  /** The weights to approximate, `[rows, width]`. */
  readonly x: Float32Array;
  /** Signs, `[rows, width]`: bit k is set where B_k = +1. */
  readonly codes: Uint8Array;
  /** a_r `[order, rows]`. */
  readonly rowScale: Float64Array;
  /** a_c `[order, width]`. */
  readonly colScale: Float64Array;
};

/** For loops of a few operations per entry: handing their arrays to another thread would take longer than running them. */
export const IN_PLACE = { costPerRow: 0 };

/** How many chunks `rows` rows make. */
export function chunks(rows: number): number {
  return Math.ceil(rows / CHUNK);
}

/**
 * A block over a copy of `x` `[rows, width]`, with nothing fitted yet, and room for `scales` row and column scales, by default those of its planes.
 * Shared memory, so that many row loops cost no copies.
 */
export function newBlock(x: Float32Array, rows: number, width: number, order: number, scales = order): Block {
  const own = new Float32Array(new SharedArrayBuffer(4 * rows * width));
  own.set(x);
  return {
    rows,
    width,
    order,
    x: own,
    codes: new Uint8Array(new SharedArrayBuffer(rows * width)),
    rowScale: new Float64Array(new SharedArrayBuffer(8 * scales * rows)),
    colScale: new Float64Array(new SharedArrayBuffer(8 * scales * width)),
  };
}

/** Copies a_r of row i, `[order]`, to `out`; hot loops read it from there. */
export function rowScales(rowScale: Float64Array, rows: number, order: number, i: number, out: Float64Array): void {
  for (let k = 0; k < order; k++) out[k] = rowScale[k * rows + i];
}

/** The value that `code` stands for at column j of a row with the scales `r` `[order]`: sum_k ±a_r,k a_c,k,j. */
export function valueAt(
  code: number,
  r: Float64Array,
  c: Float64Array,
  order: number,
  width: number,
  j: number,
): number {
  if (order === 2) return ((code & 1) * 2 - 1) * r[0] * c[j] + ((code & 2) - 1) * r[1] * c[width + j];
  let sum = 0;
  for (let k = 0; k < order; k++) sum += (((code >> k) & 1) * 2 - 1) * r[k] * c[k * width + j];
  return sum;
}

/**
 * The code of the level nearest to `x` at column j of a row with the scales `r`. With two planes in closed form: the larger one takes the sign of x
 * and the smaller one tells whether |x| lies beyond it; that is the hot path of every fit. `levels` is scratch for 16 numbers.
 */
export function nearestCode(
  x: number,
  r: Float64Array,
  c: Float64Array,
  order: number,
  width: number,
  j: number,
  levels: Float64Array,
): number {
  if (order === 2) {
    const a = r[0] * c[j], b = r[1] * c[width + j];
    const p = Math.abs(a), q = Math.abs(b), y = Math.abs(x);
    // Comparisons as numbers rather than branches: the signs of weights are random, so that half of the branches would be mispredicted.
    const code = p >= q ? 1 | +(y > p) << 1 : 2 | +(y > q);
    return code ^ (-+(x <= 0) & 3) ^ +(a < 0) ^ +(b < 0) << 1;
  }
  let low = 0;
  for (let k = 0; k < order; k++) low -= r[k] * c[k * width + j];
  levels[0] = low;
  let best = 0, distance = Math.abs(x - low);
  for (let k = 0, size = 1; k < order; k++, size *= 2) {
    const step = 2 * r[k] * c[k * width + j];
    for (let s = 0; s < size; s++) {
      const level = levels[s] + step;
      levels[size + s] = level;
      const d = Math.abs(x - level);
      if (d < distance) {
        distance = d;
        best = size + s;
      }
    }
  }
  return best;
}

/** Q `[rows, width]`, the weights that the planes stand for, written to `Q` where it is given. */
export async function decode(block: Block, kernels: Kernels, Q = matrix(block.rows, block.width)): Promise<Matrix> {
  const { rows } = block;
  await kernels.rows(decodeLoop, chunks(rows), { ...block, out: Q.data }, IN_PLACE);
  return Q;
}

const decodeLoop = defineRows({
  name: "daq.decode",
  module: import.meta.url,
  writes: ["out"],
  run: (args: Block & { out: Float32Array }, start, end) => {
    const { rows, width, order, codes, rowScale, colScale, out } = args;
    const last = Math.min(rows, end * CHUNK);
    if (order === 2) {
      // The same sums in one pass.
      for (let i = start * CHUNK; i < last; i++) {
        const at = i * width, r0 = rowScale[i], r1 = rowScale[rows + i];
        for (let j = 0; j < width; j++) {
          const code = codes[at + j];
          out[at + j] = ((code & 1) * 2 - 1) * r0 * colScale[j] + ((code & 2) - 1) * r1 * colScale[width + j];
        }
      }
      return;
    }
    const sum = new Float64Array(width);
    for (let i = start * CHUNK; i < last; i++) {
      const at = i * width;
      sum.fill(0);
      for (let k = 0; k < order; k++) {
        const r = rowScale[k * rows + i], c = k * width;
        for (let j = 0; j < width; j++) sum[j] += (((codes[at + j] >> k) & 1) * 2 - 1) * r * colScale[c + j];
      }
      for (let j = 0; j < width; j++) out[at + j] = sum[j];
    }
  },
});

/**
 * Moves a power of two between the row and the column scales of each plane (their product does not change), so that the largest column scale lies
 * in [1, 2): fp16 then has room on both sides.
 */
export function balanceScales(block: Block): void {
  for (let k = 0; k * block.rows < block.rowScale.length; k++) {
    const r = block.rowScale.subarray(k * block.rows, (k + 1) * block.rows);
    const c = block.colScale.subarray(k * block.width, (k + 1) * block.width);
    let top = 0;
    for (const v of c) top = Math.max(top, Math.abs(v));
    if (!(top > 0)) continue;
    const shift = 2 ** Math.floor(Math.log2(top));
    for (let i = 0; i < r.length; i++) r[i] *= shift;
    for (let j = 0; j < c.length; j++) c[j] /= shift;
  }
}

/** Rounds scales to what is stored, fp16. */
export function roundScales(scales: Float64Array): void {
  for (let i = 0; i < scales.length; i++) scales[i] = roundToHalf(scales[i]);
}
