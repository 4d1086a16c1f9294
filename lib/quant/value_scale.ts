/** Scales of the values that attention mixes, by the attention that they get (IA-AQ of DLLMQuant, arXiv 2508.14090). */
import { roundHalfEven } from "../tensor/rounding.ts";

export interface ValueScaleOptions {
  /** Bits of a value; 4 by default. */
  readonly bits?: number;
  /** Ranges that are tried, from the twentieth part to the whole. */
  readonly tries?: number;
}

/** The grid of one feature. */
export interface ValueGrid {
  /** α. */
  readonly share: number;
  /** The weighed error, Σ_j a_j (v_j - Q_α(v_j))². */
  readonly error: number;
  readonly scale: number;
  /** An integer. */
  readonly zero: number;
}

/**
 * IA-AQ: the range of one feature's values, as a share of the whole, that has the least error weighed by attention,
 *
 *   α* = argmin_α Σ_j a_j (v_j - Q_α(v_j))²,
 *
 * on an asymmetric grid from α min v to α max v, both with zero: Q_α(v) = scale (clamp(round(v / scale) + zero, 0, 2^bits - 1) - zero). `attention` `[tokens]` is what each token gets: the column sums of the softmax of its head.
 *
 * @throws RangeError when lengths differ, a weight is negative or not finite, or bits are no integer from 1 to 8.
 *
 * @example
 * ```ts
 * import { valueScale } from "quant-dllm";
 *
 * const { share, error } = valueScale([0.1, -0.4, 9], [0.6, 0.4, 0], { bits: 4 }); // nobody looks at the outlier
 * console.log(share, error);
 * ```
 */
export function valueScale(
  values: ArrayLike<number>,
  attention: ArrayLike<number>,
  { bits = 4, tries = 40 }: ValueScaleOptions = {},
): ValueGrid {
  if (!(Number.isInteger(bits) && bits >= 1 && bits <= 8)) {
    throw new RangeError(`Cannot scale values to ${bits} bits: wanted an integer from 1 to 8`);
  }
  const wrong = values.length !== attention.length || Array.from(attention).some((a) => !(a >= 0 && a < Infinity));
  if (wrong) {
    throw new RangeError(
      `Cannot scale ${values.length} values by ${attention.length} weights: wanted one of at least 0 each`,
    );
  }
  let lo = 0, hi = 0;
  for (let j = 0; j < values.length; j++) {
    lo = Math.min(lo, values[j]);
    hi = Math.max(hi, values[j]);
  }
  const top = 2 ** bits - 1;
  let best: ValueGrid = { share: 1, error: Infinity, scale: 1, zero: 0 };
  for (let t = 0; t < tries; t++) {
    // From the whole range down, so that of equal ones the widest is taken.
    const own = 1 - 0.95 * t / Math.max(1, tries - 1), scale = Math.max(1e-4, own * (hi - lo) / top);
    const zero = roundHalfEven(-own * lo / scale);
    let error = 0;
    for (let j = 0; j < values.length; j++) {
      const code = Math.min(top, Math.max(0, roundHalfEven(values[j] / scale) + zero));
      error += attention[j] * (values[j] - scale * (code - zero)) ** 2;
    }
    if (error < best.error) best = { share: own, error, scale, zero };
  }
  return best;
}
