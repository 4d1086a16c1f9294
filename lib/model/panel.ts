/** A second moment is added to in panels of rows, each up to its own square: the rest is their mirror image. */
import type { Matrix } from "../tensor/matrix.ts";

/** Rows of a second moment that one product gives: bounds the memory of an update of a wide H, and lets it skip what symmetry gives. */
export const PANEL = 2048;

/** Adds rows start..end - 1 of a symmetric product, given up to column `end`, and their mirror image. */
export function addPanel(
  H: Matrix,
  panel: Float32Array,
  { start, end }: { readonly start: number; readonly end: number },
): void {
  const n = H.cols;
  for (let i = start; i < end; i++) {
    const row = (i - start) * end;
    for (let j = 0; j < end; j++) H.data[i * n + j] += panel[row + j];
  }
  // The part left of the panel's own square also stands above the diagonal; by tiles, since one side runs down columns.
  const TILE = 32;
  for (let i0 = start; i0 < end; i0 += TILE) {
    for (let j0 = 0; j0 < start; j0 += TILE) {
      for (let i = i0; i < Math.min(i0 + TILE, end); i++) {
        for (let j = j0; j < Math.min(j0 + TILE, start); j++) H.data[j * n + i] = H.data[i * n + j];
      }
    }
  }
}
