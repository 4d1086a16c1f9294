/**
 * Uniform grids: ŵ = s (q - z) with q = clamp(round(w / s) + z, 0, 2^bits - 1), one scale s and zero point z per row and group of columns. The range is
 * fitted as GPTQ's code does it (arXiv 2210.17323), which always holds zero:
 *
 *   asymmetric   lo = min(0, min w), hi = max(0, max w),                    s = (hi - lo) / (2^bits - 1),   z = round(-lo / s)
 *   symmetric    hi = max(-lo, hi), and lo = -hi unless no weight is negative,   the same s,                z = 2^(bits - 1)
 *
 *   true range   lo = min w, hi = max w,   s = max(hi - lo, 1e-5) / (2^bits - 1),   z = clamp(round(-lo / s), 0, 2^bits - 1)   (AWQ's code)
 *
 * A group of zeros gets lo, hi = -1, 1. A symmetric group without negative weights keeps lo = 0 and wastes half its levels, as there.
 * Scales are computed in float32, as everywhere in the field, so that codes agree with it.
 */
import { roundHalfEven } from "../tensor/rounding.ts";
import { defineRows } from "../tensor/row_loop.ts";

/** How the grids of a layer are fitted. */
export interface GridOptions {
  /** 1 to 8. */
  readonly bits: number;
  readonly symmetric: boolean;
  /** Search the range, shrunk by 0 to 79 %, that has the least sum of |ŵ - w|^2.4 in each row and group. */
  readonly clip: boolean;
  /** Take the range of the weights as it is, whether it holds zero or not. */
  readonly trueRange?: boolean;
}

/** A fitted grid. */
export interface Grid {
  scale: number;
  zero: number;
}

const CLIP_STEPS = 80, CLIP_STEP = 0.01, CLIP_POWER = 2.4;

/** The code of `w` on a grid of `levels` = 2^bits - 1 steps. */
export function codeOf(w: number, scale: number, zero: number, levels: number): number {
  const code = roundHalfEven(Math.fround(w / scale)) + zero;
  return code < 0 ? 0 : code > levels ? levels : code;
}

/** Which weights of a row share a grid, and how it is fitted. */
export interface GridRange extends GridOptions {
  /** Columns [start, end). */
  readonly start: number;
  readonly end: number;
}

/** Fits `grid` to the weights in `range` of `w`, a row of float32 or float64. */
export function fitGrid(w: Float32Array | Float64Array, grid: Grid, range: GridRange): void {
  const { start, end, symmetric, trueRange } = range;
  let lo = trueRange ? Infinity : 0, hi = trueRange ? -Infinity : 0;
  for (let j = start; j < end; j++) {
    if (w[j] < lo) lo = w[j];
    if (w[j] > hi) hi = w[j];
  }
  if (symmetric) {
    hi = Math.max(-lo, hi);
    if (lo < 0) lo = -hi;
  }
  if (lo === 0 && hi === 0 && !trueRange) {
    lo = -1;
    hi = 1;
  }
  setGrid(grid, range, { lo, hi });
  if (range.clip) clipGrid(w, grid, { ...range, lo, hi });
}

/** The ends that a grid spans. */
interface Ends {
  readonly lo: number;
  readonly hi: number;
}

function setGrid(grid: Grid, { bits, symmetric, trueRange }: GridOptions, { lo, hi }: Ends): void {
  if (trueRange) {
    const top = 2 ** bits - 1;
    grid.scale = Math.fround(Math.max(Math.fround(hi - lo), 1e-5) / top);
    grid.zero = Math.min(top, Math.max(0, -roundHalfEven(Math.fround(lo / grid.scale))));
    return;
  }
  const scale = Math.fround(Math.fround(hi - lo) / (2 ** bits - 1));
  grid.scale = scale;
  grid.zero = symmetric ? 2 ** (bits - 1) : roundHalfEven(Math.fround(-lo / scale));
}

function clipGrid(w: Float32Array | Float64Array, grid: Grid, range: GridRange & Ends): void {
  const { start, end, lo, hi } = range;
  const levels = 2 ** range.bits - 1;
  let bestLoss = Infinity, bestScale = grid.scale, bestZero = grid.zero;
  for (let step = 0; step < CLIP_STEPS; step++) {
    const shrink = 1 - step * CLIP_STEP;
    setGrid(grid, range, { lo: shrink * lo, hi: shrink * hi });
    const { scale, zero } = grid;
    let loss = 0;
    for (let j = start; j < end && loss < bestLoss; j++) {
      const error = scale * (codeOf(w[j], scale, zero, levels) - zero) - w[j];
      loss += Math.pow(Math.abs(error), CLIP_POWER);
    }
    if (loss < bestLoss) {
      bestLoss = loss;
      bestScale = scale;
      bestZero = zero;
    }
  }
  grid.scale = bestScale;
  grid.zero = bestZero;
}

/** What the row loops over grids share: `w` `[rows, cols]`, `scales` and `zeros` `[rows, ceil(cols / group)]`. */
type GridArgs = {
  readonly w: Float32Array;
  readonly cols: number;
  readonly group: number;
  readonly bits: number;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
};

/** Fits the grid of every group of a row. */
export const fitRows = defineRows({
  name: "grids.fit",
  module: import.meta.url,
  writes: ["scales", "zeros"],
  run: (
    args: GridArgs & { readonly symmetric: boolean; readonly clip: boolean; readonly trueRange?: boolean },
    rowStart,
    rowEnd,
  ) => {
    const { w, cols, group, bits, symmetric, clip, trueRange, scales, zeros } = args;
    const groups = Math.ceil(cols / group);
    const grid = { scale: 1, zero: 0 }, range = { start: 0, end: 0, bits, symmetric, clip, trueRange };
    for (let i = rowStart; i < rowEnd; i++) {
      for (let g = 0; g < groups; g++) {
        range.start = i * cols + g * group;
        range.end = i * cols + Math.min((g + 1) * group, cols);
        fitGrid(w, grid, range);
        scales[i * groups + g] = grid.scale;
        zeros[i * groups + g] = grid.zero;
      }
    }
  },
});

/** Rounds every weight of a row to its grid; `codes` `[rows, cols]`. */
export const roundRows = defineRows({
  name: "grids.round",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: GridArgs & { readonly codes: Uint8Array }, rowStart, rowEnd) => {
    const { w, cols, group, bits, scales, zeros, codes } = args;
    const groups = Math.ceil(cols / group), levels = 2 ** bits - 1;
    for (let i = rowStart; i < rowEnd; i++) {
      for (let g = 0; g < groups; g++) {
        const scale = scales[i * groups + g], zero = zeros[i * groups + g];
        const end = i * cols + Math.min((g + 1) * group, cols);
        for (let at = i * cols + g * group; at < end; at++) codes[at] = codeOf(w[at], scale, zero, levels);
      }
    }
  },
});
