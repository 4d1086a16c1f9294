/** The ternary fit of a row's block of columns (PT²-LLM, arXiv 2510.03267): w near μ + α t, t in -1, 0, 1. */
import { roundHalfEven } from "../../tensor/rounding.ts";
import { defineRows } from "../../tensor/row_loop.ts";

/** α and μ. */
export interface TernaryFit {
  scale: number;
  mean: number;
}

const ROUNDS = 50, START = 0.75;

/** Fills `t` and `fit`: thresholds at .75 of the mean size, then (ITF) scales and codes by turns until no code changes. Gives the rounds that it took. */
export function fitTernary(
  w: ArrayLike<number>,
  t: Int8Array,
  fit: TernaryFit,
  { iterate }: { readonly iterate: boolean },
): number {
  const m = t.length;
  let sum = 0, size = 0;
  for (let j = 0; j < m; j++) sum += w[j];
  fit.mean = sum / m;
  for (let j = 0; j < m; j++) size += Math.abs(w[j] - fit.mean);
  const threshold = START * size / m;
  let top = 0, count = 0;
  for (let j = 0; j < m; j++) {
    const x = w[j] - fit.mean;
    t[j] = Math.abs(x) > threshold ? Math.sign(x) : 0;
    top += t[j] * x;
    count += Math.abs(t[j]);
  }
  fit.scale = count > 0 ? top / count : 0;
  for (let round = 1; iterate && round <= ROUNDS; round++) {
    refit(w, t, fit);
    let changed = false;
    for (let j = 0; j < m; j++) {
      const code = fit.scale === 0 ? 0 : Math.max(-1, Math.min(1, roundHalfEven((w[j] - fit.mean) / fit.scale)));
      changed ||= code !== t[j];
      t[j] = code;
    }
    if (!changed) return round;
  }
  return iterate ? ROUNDS : 0;
}

/** The α and μ of least squares for the codes as they are; α turned positive, and zero where all codes are the same. */
function refit(w: ArrayLike<number>, t: Int8Array, fit: TernaryFit): void {
  const m = t.length;
  let st = 0, stt = 0, sw = 0, swt = 0;
  for (let j = 0; j < m; j++) {
    st += t[j];
    stt += t[j] * t[j];
    sw += w[j];
    swt += w[j] * t[j];
  }
  const below = m * stt - st * st;
  fit.scale = below > 0 ? (m * swt - st * sw) / below : 0;
  fit.mean = below > 0 ? (stt * sw - st * swt) / below : sw / m;
  turn(t, fit);
}

function turn(t: Int8Array, fit: TernaryFit): void {
  if (fit.scale >= 0) return;
  fit.scale = -fit.scale;
  for (let j = 0; j < t.length; j++) t[j] = -t[j];
}

/**
 * AGA: the α and μ of least (w - ŵ) C (w - ŵ)ᵀ for the codes as they are, C `[m, m]` being the second moment of the block's inputs and `sums` C 1. Leaves the
 * fit as it is, and gives false, where C cannot tell the two apart.
 */
export function alignGrid(
  w: ArrayLike<number>,
  t: Int8Array,
  fit: TernaryFit,
  { C, sums }: { readonly C: ArrayLike<number>; readonly sums: ArrayLike<number> },
): boolean {
  const m = t.length;
  let d = 0, v = 0, tau = 0, p = 0, r = 0;
  for (let j = 0; j < m; j++) {
    d += sums[j];
    v += t[j] * sums[j];
    r += w[j] * sums[j];
  }
  // Two rows of C at a time: the same sums, each in its own order.
  for (let j = 0; j < m;) {
    while (j < m && t[j] === 0) j++;
    if (j === m) break;
    let other = j + 1;
    while (other < m && t[other] === 0) other++;
    const second = Math.min(other, m - 1);
    let ct = 0, cw = 0, ct2 = 0, cw2 = 0;
    for (let k = 0, at = j * m, at2 = second * m; k < m; k++, at++, at2++) {
      const code = t[k], x = w[k], c = C[at], c2 = C[at2];
      ct += c * code;
      cw += c * x;
      ct2 += c2 * code;
      cw2 += c2 * x;
    }
    tau += t[j] * ct;
    p += t[j] * cw;
    if (other < m) {
      tau += t[other] * ct2;
      p += t[other] * cw2;
    }
    j = other + 1;
  }
  const below = d * tau - v * v;
  if (!(below > 1e-12 * d * tau)) return false;
  fit.scale = (d * p - v * r) / below;
  fit.mean = (tau * r - v * p) / below;
  turn(t, fit);
  return true;
}

export const ternaryRows = defineRows({
  name: "pt2.rows",
  module: import.meta.url,
  writes: ["trits", "scales", "means", "q", "rounds", "aligned"],
  run: (
    { x, C, sums, width, iterate, align, trits, scales, means, q, rounds, aligned }: {
      readonly x: Float32Array;
      readonly C: Float64Array;
      readonly sums: Float64Array;
      readonly width: number;
      readonly iterate: boolean;
      readonly align: boolean;
      readonly trits: Uint8Array;
      readonly scales: Float32Array;
      readonly means: Float32Array;
      readonly q: Float32Array;
      readonly rounds: Uint8Array;
      readonly aligned: Uint8Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const t = new Int8Array(width), fit = { scale: 0, mean: 0 };
    for (let i = rowStart; i < rowEnd; i++) {
      const w = x.subarray(i * width, (i + 1) * width);
      rounds[i] = fitTernary(w, t, fit, { iterate });
      aligned[i] = Number(align && alignGrid(w, t, fit, { C, sums }));
      scales[i] = fit.scale;
      means[i] = fit.mean;
      for (let j = 0; j < width; j++) {
        trits[i * width + j] = t[j] + 1;
        q[i * width + j] = fit.mean + fit.scale * t[j];
      }
    }
  },
});
