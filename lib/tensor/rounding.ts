/** The only place that rounds: torch, NumPy and ONNX round ties to even, `Math.round` rounds them up. */

// Above 2^52 every double is an integer, and in [2^52, 2^53) the spacing is one: adding 2^52 lets the adder itself round, ties to even.
const INTEGERS = 2 ** 52;

/** `x` to the nearest integer, ties to the even one: 0.5 → 0, 1.5 → 2, -2.5 → -2; NaN and infinities pass through. */
export function roundHalfEven(x: number): number {
  if (x >= 0) return x < INTEGERS ? x + INTEGERS - INTEGERS : x;
  return x > -INTEGERS ? x - INTEGERS + INTEGERS : x;
}
