/** The sigma-delta loop of SDQ-LLM on the rows of a block of columns. */
import { defineRows } from "../../tensor/row_loop.ts";

export interface LoopOptions {
  /** Sizes below it become zero; unused for binary codes. */
  readonly threshold: number;
  readonly binary: boolean;
  /** The integrator is kept within so many scales of zero; infinite leaves it alone, as released. */
  readonly bound: number;
}

/**
 * s ← s + x_j - y_{j-1} from s = y = 0; ternary y = sign(s) where |s| ≥ threshold, else 0; binary y = 1 where s > 0, else -1. So s_n is the sum of the x less
 * the sum of the y before. Writes y + 1, or (y + 1) / 2; gives the largest |s|.
 */
export function sigmaDelta(x: Float64Array, y: Uint8Array, { threshold, binary, bound }: LoopOptions): number {
  let s = 0, before = 0, most = 0;
  for (let j = 0; j < x.length; j++) {
    s = Math.min(bound, Math.max(-bound, s + x[j] - before));
    most = Math.max(most, Math.abs(s));
    before = binary ? s > 0 ? 1 : -1 : Math.abs(s) >= threshold ? Math.sign(s) : 0;
    y[j] = binary ? (before + 1) / 2 : before + 1;
  }
  return most;
}

/** By linear interpolation between neighbours. */
export function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

export const sdqRows = defineRows({
  name: "sdq.rows",
  module: import.meta.url,
  writes: ["codes", "scales", "means", "q"],
  run: (
    { x, width, samples, up, down, tries, cut, bound, binary, codes, scales, means, q }: {
      readonly x: Float32Array;
      readonly width: number;
      readonly samples: number;
      /** `[width, samples]` and `[samples, width]`. */
      readonly up: Float64Array;
      readonly down: Float64Array;
      /** Pairs of a factor and a quantile: the scale is the factor times that quantile of the sizes; the one of least squared error is taken. */
      readonly tries: Float64Array;
      /** The quantile of the scaled sizes that is the threshold. */
      readonly cut: number;
      readonly bound: number;
      readonly binary: boolean;
      readonly codes: Uint8Array;
      readonly scales: Float32Array;
      readonly means: Float32Array;
      readonly q: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const fine = new Float64Array(samples), scaled = new Float64Array(samples);
    const made = new Float64Array(width), y = new Uint8Array(samples);
    for (let i = rowStart; i < rowEnd; i++) {
      const row = x.subarray(i * width, (i + 1) * width);
      let mean = 0;
      for (let j = 0; j < width; j++) mean += row[j] / width;
      mean = Math.f16round(mean);
      fine.fill(0);
      for (let j = 0; j < width; j++) {
        const w = row[j] - mean;
        for (let k = 0; k < samples; k++) fine[k] += w * up[j * samples + k];
      }
      const sizes = fine.map(Math.abs).sort();
      let least = Infinity;
      means[i] = mean;
      for (let t = 0; t < tries.length; t += 2) {
        const scale = Math.f16round(tries[t] * quantile(sizes, tries[t + 1]));
        if (scale > 0) {
          for (let k = 0; k < samples; k++) scaled[k] = fine[k] / scale;
          sigmaDelta(scaled, y, { threshold: quantile(sizes, cut) / scale, binary, bound });
        } else y.fill(binary ? 0 : 1);
        made.fill(mean);
        for (let k = 0; k < samples; k++) {
          const value = scale * (binary ? 2 * y[k] - 1 : y[k] - 1);
          if (value !== 0) { for (let j = 0; j < width; j++) made[j] += value * down[k * width + j]; }
        }
        let loss = 0;
        for (let j = 0; j < width; j++) loss += (row[j] - made[j]) ** 2;
        if (loss >= least) continue;
        least = loss;
        scales[i] = scale;
        codes.set(y, i * samples);
        for (let j = 0; j < width; j++) q[i * width + j] = made[j];
      }
    }
  },
});
