/** The row loops of AWQ: what rounding to nearest changes of each weight, under factors of columns or within narrower ranges. */
import { codeOf, fitGrid } from "../quant/grids.ts";
import { defineRows } from "../tensor/row_loop.ts";

const fitting = { symmetric: false, clip: false, trueRange: true } as const;

/** Q(W diag(s)) diag(1 / s) - W, on grids of the true range by row and group of columns. */
export const scaledErrors = defineRows({
  name: "awq.scaled",
  module: import.meta.url,
  writes: ["errors"],
  run: (
    { w, cols, group, bits, scale, errors }: {
      readonly w: Float32Array;
      readonly cols: number;
      readonly group: number;
      readonly bits: number;
      readonly scale: Float32Array;
      readonly errors: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const levels = 2 ** bits - 1, grid = { scale: 1, zero: 0 }, up = new Float32Array(Math.min(group, cols));
    for (let i = rowStart; i < rowEnd; i++) {
      for (let start = 0; start < cols; start += group) {
        const width = Math.min(group, cols - start), at = i * cols + start;
        for (let j = 0; j < width; j++) up[j] = w[at + j] * scale[start + j];
        fitGrid(up, grid, { ...fitting, bits, start: 0, end: width });
        for (let j = 0; j < width; j++) {
          const code = codeOf(up[j], grid.scale, grid.zero, levels);
          const value = Math.fround(grid.scale * (code - grid.zero) / scale[start + j]);
          errors[at + j] = value - w[at + j];
        }
      }
    }
  },
});

/** Q(W clamped to ± end) - W, one grid and one end for a row. */
export const clippedErrors = defineRows({
  name: "awq.clipped",
  module: import.meta.url,
  writes: ["errors"],
  run: (
    { w, width, bits, ends, shrink, errors }: {
      readonly w: Float32Array;
      readonly width: number;
      readonly bits: number;
      /** `[rows]`, times `shrink`. */
      readonly ends: Float32Array;
      readonly shrink: number;
      readonly errors: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const levels = 2 ** bits - 1, grid = { scale: 1, zero: 0 }, own = new Float32Array(width);
    for (let i = rowStart; i < rowEnd; i++) {
      const at = i * width, end = Math.fround(ends[i] * shrink);
      for (let j = 0; j < width; j++) own[j] = Math.min(end, Math.max(-end, w[at + j]));
      fitGrid(own, grid, { ...fitting, bits, start: 0, end: width });
      for (let j = 0; j < width; j++) {
        const value = Math.fround(grid.scale * (codeOf(own[j], grid.scale, grid.zero, levels) - grid.zero));
        errors[at + j] = value - w[at + j];
      }
    }
  },
});
