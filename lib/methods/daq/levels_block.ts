/** One column block of a weight on uniform levels: Q_ij = a_i c_j (2 q_ij - (2^K - 1)). */
import type { Kernels } from "../../tensor/kernels.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import { type Block, CHUNK, chunks, IN_PLACE, newBlock } from "./block.ts";

/** A block on levels: its codes are q, and one row scale a `[rows]` and one column scale c `[width]` stand for all K = 1 to 3 bits of a code. */
export type LevelBlock = Block;

/** A block over a copy of `x` `[rows, width]`, with nothing fitted yet. */
export function newLevelBlock(x: Float32Array, rows: number, width: number, order: number): LevelBlock {
  return newBlock(x, rows, width, order, 1);
}

/**
 * The block as binary planes over the same codes, with a copy of its scales: bit k of a code is the sign of plane k, and plane k has the row scales
 * 2^k a. What works on signs for fixed scales works on codes.
 */
export function asPlanes({ rows, width, order, x, codes, rowScale, colScale }: LevelBlock): Block {
  const planes = { rowScale: new Float64Array(order * rows), colScale: new Float64Array(order * width) };
  for (let k = 0; k < order; k++) {
    for (let i = 0; i < rows; i++) planes.rowScale[k * rows + i] = 2 ** k * rowScale[i];
    planes.colScale.set(colScale, k * width);
  }
  return { rows, width, order, x, codes, ...planes };
}

/** The code of the odd number in -top..top, top = 2^K - 1, that is nearest to `y`: w / (a c) for a weight w. */
export function nearestLevel(y: number, top: number): number {
  const code = Math.floor(0.5 * (y + top + 1));
  return code < 0 ? 0 : code > top ? top : code;
}

/** 1 / a, or 0 where a vanishes: all levels coincide there and any code will do. */
export function inverse(scale: number): number {
  return Math.abs(scale) > 1e-30 ? 1 / scale : 0;
}

/** Q `[rows, width]`, the weights that the codes stand for, written to `Q` where it is given. */
export async function decodeBlock(
  block: LevelBlock,
  kernels: Kernels,
  Q = matrix(block.rows, block.width),
): Promise<Matrix> {
  await kernels.rows(decodeLoop, chunks(block.rows), { ...block, out: Q.data }, IN_PLACE);
  return Q;
}

const decodeLoop = defineRows({
  name: "levels.decode",
  module: import.meta.url,
  writes: ["out"],
  run: (args: LevelBlock & { out: Float32Array }, start, end) => {
    const { rows, width, order, codes, rowScale, colScale, out } = args;
    const top = 2 ** order - 1;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const a = rowScale[i], at = i * width;
      for (let j = 0; j < width; j++) out[at + j] = a * colScale[j] * (2 * codes[at + j] - top);
    }
  },
});

/** Sets every code to the level nearest to its weight, for the scales as they stand. */
export async function nearestCodes(block: LevelBlock, kernels: Kernels): Promise<void> {
  await kernels.rows(codeLoop, chunks(block.rows), block, { costPerRow: 4 * CHUNK * block.width });
}

const codeLoop = defineRows({
  name: "levels.codes",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: LevelBlock, start, end) => {
    const inverses = args.colScale.map(inverse);
    for (let i = start * CHUNK; i < Math.min(args.rows, end * CHUNK); i++) codeRow(args, i, inverses);
  },
});

/** The nearest codes of row i; `inverses` of the column scales `[width]`. */
export function codeRow({ width, order, x, codes, rowScale }: LevelBlock, i: number, inverses: Float64Array): void {
  const at = i * width, top = 2 ** order - 1, a = inverse(rowScale[i]);
  for (let j = 0; j < width; j++) codes[at + j] = nearestLevel(x[at + j] * a * inverses[j], top);
}
