/** The forward process with exact mask counts, as the likelihood of LLaDA uses it (eval_llada.py of the LLaDA repository). */
import type { Rng } from "../tensor/rng.ts";
import { roundHalfEven } from "../tensor/rounding.ts";

/**
 * Mask counts n_i of a batch, stratified over 1..L: k uniform in 1..L, n_i = ((round(k + i · L / b) - 1) mod L) + 1, ties to even. Each n_i is
 * close to uniform on its own, and together they cover the range.
 *
 * @param length L, the number of positions that may be masked.
 * @param batch b, how many counts to draw.
 * @returns `[b]` int32, each in 1..L.
 * @throws RangeError unless both are positive integers.
 */
export function stratifiedCounts(length: number, batch: number, rng: Rng): Int32Array {
  if (!(Number.isInteger(length) && length >= 1) || !(Number.isInteger(batch) && batch >= 1)) {
    throw new RangeError(`Cannot draw ${batch} mask counts for ${length} positions: wanted positive integers`);
  }
  const k = 1 + rng.int(length);
  return Int32Array.from({ length: batch }, (_, i) => (roundHalfEven(k + i * length / batch) - 1) % length + 1);
}

/**
 * A copy of `tokens` with exactly `count` of `positions` masked, chosen uniformly.
 *
 * @param tokens `[length]` int32.
 * @param positions the candidates, indices into `tokens`.
 * @throws RangeError when `count` exceeds the number of positions.
 */
export function maskExactly(
  tokens: Int32Array,
  positions: ArrayLike<number>,
  count: number,
  maskId: number,
  rng: Rng,
): Int32Array {
  if (!(Number.isInteger(count) && count >= 0 && count <= positions.length)) {
    throw new RangeError(`Cannot mask ${count} tokens: wanted an integer from 0 to ${positions.length}`);
  }
  const masked = Int32Array.from(tokens);
  for (const p of rng.choose(positions.length, count)) masked[positions[p]] = maskId;
  return masked;
}
