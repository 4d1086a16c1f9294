/** The forward process with exact mask counts, as the likelihood of LLaDA uses it (eval_llada.py of the LLaDA repository). */
import type { Rng } from "../tensor/rng.ts";

/**
 * Mask counts n_i of a batch by systematic sampling of 1..L: n_i = 1 + floor(L · frac(u + i / b)) with one u uniform in [0, 1). Each n_i is uniform in
 * 1..L on its own, exactly, and each count comes floor(b / L) or ceil(b / L) times. The official code rounds such a grid to whole counts,
 * half to even, which favours some: of two tokens, both are masked in three of four draws.
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
  // u matters only by which of L · b equal parts it lies in: whole numbers, so that nothing is rounded.
  const part = rng.int(length * batch);
  return Int32Array.from({ length: batch }, (_, i) => 1 + Math.floor((part + i * length) / batch) % length);
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
