/** The grids of SliM-LLM: a range searched by row and group (SQC), one bit as mean and distance, and the loops over rows. */
import { compensateRow } from "../../quant/obs.ts";
import { roundHalfEven } from "../../tensor/rounding.ts";
import { defineRows } from "../../tensor/row_loop.ts";

/** The grid of a row and group: w = s (q - z), or for one bit μ + s (2 q - 1). */
interface Fit {
  scale: number;
  zero: number;
  mean: number;
}

/** Ends, by multipliers τ of both that are tried: 1, 50 up to 1.1, 50 down to 0.9. */
const TAUS = Float64Array.from({ length: 101 }, (_, i) => i <= 50 ? 1 + 0.1 * i / 50 : 1 - 0.1 * (i - 50) / 50);
const POWER = 2.4;

interface Range {
  readonly start: number;
  readonly end: number;
  readonly bits: number;
  readonly fixedOneBit: boolean;
  /** How many of TAUS are tried. */
  readonly tries: number;
  readonly marks?: Uint8Array;
  readonly salient: number;
  /** Zero points at the middle code, whatever the range. */
  readonly middle?: boolean;
}

function fit(
  w: ArrayLike<number>,
  out: Fit,
  { start, end, bits, fixedOneBit, tries, marks, salient, middle }: Range,
): void {
  if (bits === 1) {
    let sum = 0, size = 0;
    for (let j = start; j < end; j++) sum += w[j];
    out.mean = sum / (end - start);
    for (let j = start; j < end; j++) size += Math.abs(w[j] - (fixedOneBit ? out.mean : 0));
    out.scale = size / (end - start);
    return;
  }
  const top = 2 ** bits - 1;
  let lo = 0, hi = 0, least = Infinity;
  for (let j = start; j < end; j++) {
    lo = Math.min(lo, w[j]);
    hi = Math.max(hi, w[j]);
  }
  if (lo === 0 && hi === 0) [lo, hi] = [-1, 1];
  for (let t = 0; t < tries; t++) {
    const scale = Math.fround(TAUS[t] * (hi - lo) / top);
    const zero = middle ? 2 ** (bits - 1) : roundHalfEven(-TAUS[t] * lo / scale);
    if (tries === 1) {
      out.scale = scale;
      out.zero = zero;
      return;
    }
    let loss = 0;
    for (let j = start; j < end && loss < least; j++) {
      const code = Math.min(top, Math.max(0, roundHalfEven(w[j] / scale) + zero));
      const own = Math.abs(scale * (code - zero) - w[j]) ** POWER;
      loss += marks?.[j] ? salient * own : own;
    }
    if (loss < least) {
      least = loss;
      out.scale = scale;
      out.zero = zero;
    }
  }
}

function codeOf(w: number, { scale, zero, mean }: Fit, bits: number): number {
  if (bits === 1) return w < mean ? 0 : 1;
  return Math.min(2 ** bits - 1, Math.max(0, roundHalfEven(w / scale) + zero));
}

const valueOf = (code: number, { scale, zero, mean }: Fit, bits: number): number =>
  bits === 1 ? mean + scale * (2 * code - 1) : scale * (code - zero);

/** Every group of a row rounded to nearest, nothing searched and nothing passed on; groups whose width is as in `before` are in `out` already. */
export const plainRows = defineRows({
  name: "slim.plain",
  module: import.meta.url,
  writes: ["out"],
  run: (
    { w, cols, group, widths, before, fixedOneBit, out }: {
      readonly w: Float32Array;
      readonly cols: number;
      readonly group: number;
      readonly widths: Uint8Array;
      readonly before?: Uint8Array;
      readonly fixedOneBit: boolean;
      readonly out: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const grid = { scale: 1, zero: 0, mean: 0 };
    for (let i = rowStart; i < rowEnd; i++) {
      for (let g = 0; g < widths.length; g++) {
        if (widths[g] === before?.[g]) continue;
        const start = i * cols + g * group, end = i * cols + Math.min((g + 1) * group, cols), bits = widths[g];
        fit(w, grid, { start, end, bits, fixedOneBit, tries: 1, salient: 1 });
        for (let k = start; k < end; k++) out[k] = valueOf(codeOf(w[k], grid, bits), grid, bits);
      }
    }
  },
});

/** A row through its column block: its grid (SQC), then column by column. */
export const slimRows = defineRows({
  name: "slim.rows",
  module: import.meta.url,
  writes: ["scales", "zeros", "means", "codes", "q", "e"],
  run: (
    { x, u, width, bits, salient, fixedOneBit, middle, marks, scales, zeros, means, codes, q, e }: {
      readonly x: Float32Array;
      readonly u: Float64Array;
      readonly width: number;
      readonly bits: number;
      readonly salient: number;
      readonly fixedOneBit: boolean;
      readonly middle: boolean;
      readonly marks?: Uint8Array;
      readonly scales: Float32Array;
      readonly zeros: Uint8Array;
      readonly means: Float32Array;
      readonly codes: Uint8Array;
      readonly q: Float32Array;
      readonly e: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const w = new Float64Array(width), grid = { scale: 1, zero: 0, mean: 0 };
    for (let i = rowStart; i < rowEnd; i++) {
      const at = i * width;
      for (let j = 0; j < width; j++) w[j] = x[at + j];
      const own = marks?.subarray(at, at + width);
      fit(w, grid, { start: 0, end: width, bits, fixedOneBit, tries: TAUS.length, marks: own, salient, middle });
      scales[i] = grid.scale;
      zeros[i] = grid.zero;
      means[i] = grid.mean;
      const round = (j: number, value: number) => {
        codes[at + j] = codeOf(value, grid, bits);
        return valueOf(codes[at + j], grid, bits);
      };
      compensateRow(w, round, { U: u, width, q, e, offset: at, ahead: width });
    }
  },
});
