/** How many tokens a sampler commits in each step. */

/**
 * LLaDA's schedule (get_num_transfer_tokens of its generate.py): floor(m / S) in every step, one more in the first m mod S.
 *
 * @param masked m, the masked positions of a block.
 * @param steps S.
 * @returns `[S]` int32 with sum m.
 */
export function evenCounts(masked: number, steps: number): Int32Array {
  return Int32Array.from({ length: steps }, (_, i) => Math.floor(masked / steps) + (i < masked % steps ? 1 : 0));
}

/**
 * Dream's times, linspace(1, eps, S + 1): step i goes from times[i] to times[i + 1].
 *
 * @returns `[S + 1]` float64.
 */
export function denoisingTimes(steps: number, eps: number): Float64Array {
  return Float64Array.from({ length: steps + 1 }, (_, i) => 1 + i * (eps - 1) / steps);
}

/**
 * The share of the masked tokens that a step from time t to time s < t commits, 1 - s / t; all of them in the last step, whose s is eps and not 0.
 *
 * @param times of `denoisingTimes`.
 */
export function transferShare(times: Float64Array, step: number): number {
  return step === times.length - 2 ? 1 : 1 - times[step + 1] / times[step];
}
