/** Signs of a block for its scales as they stand. */
import type { Kernels } from "../../tensor/kernels.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import { type Block, CHUNK, chunks, nearestCode, rowScales } from "./block.ts";

/** All signs again for the scales as they stand (after rounding them). */
export async function refreshSigns(block: Block, mode: "joint" | "per-order", kernels: Kernels): Promise<void> {
  for (let plane = 0; plane < (mode === "joint" ? 1 : block.order); plane++) {
    const args = { ...block, plane, active: mode === "joint" ? block.order : plane + 1 };
    const signs = mode === "joint" ? jointSigns(block.order) : "plane";
    await kernels.rows(signLoop, chunks(block.rows), { ...args, signs }, { costPerRow: 8 * CHUNK * block.width });
  }
}

/** With one plane the official code keeps the signs of the weights. */
export function jointSigns(order: number): string {
  return order === 1 ? "none" : "joint";
}

/** What the other standing planes leave of row i, `[width]`: R = x - sum_{l != plane} of plane l. */
export function residual(block: Block, i: number, plane: number, active: number, out: Float64Array): void {
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

/** The sign update on its own. */
export const signLoop = defineRows({
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

export interface Scratch {
  readonly levels: Float64Array;
  readonly r: Float64Array;
}

export function scratchFor({ order }: Block): Scratch {
  return { levels: new Float64Array(16), r: new Float64Array(order) };
}

/** All K signs of each weight of row i: the nearest of the 2^K levels. */
export function signRow(block: Block, i: number, active: number, { levels, r }: Scratch): void {
  const { rows, width, x, codes, rowScale, colScale } = block;
  const at = i * width;
  rowScales(rowScale, rows, active, i, r);
  for (let j = 0; j < width; j++) codes[at + j] = nearestCode(x[at + j], r, colScale, active, width, j, levels);
}

/** One sign of each weight of row i: B = argmin_{±1} |R - a_r a_c b|. */
export function signPlane(block: Block, i: number, plane: number, left: Float64Array): void {
  const { rows, width, codes, rowScale, colScale } = block;
  const r = rowScale[plane * rows + i];
  const bit = 1 << plane;
  for (let j = 0; j < width; j++) {
    if (left[j] * r * colScale[plane * width + j] > 0) codes[i * width + j] |= bit;
    else codes[i * width + j] &= ~bit;
  }
}
