/** The fast Hadamard transform with random signs: an orthogonal rotation that spreads what stands out. */
import { rng } from "./rng.ts";

/** Signs of the columns, the same for a seed everywhere. */
export function signsOf(cols: number, seed: number): Float64Array {
  const random = rng(seed, "hadamard", cols);
  return Float64Array.from({ length: cols }, () => random.next() < 0.5 ? -1 : 1);
}

/** The largest power of two that divides `cols`: blocks of so many columns are rotated, each in itself. */
export function rotationBlock(cols: number): number {
  return cols & -cols;
}

/** x ← x D H / √n on one row, block by block; D the signs. */
export function rotate(x: Float64Array, signs: Float64Array): void {
  for (let j = 0; j < x.length; j++) x[j] *= signs[j];
  transform(x);
}

/** The inverse of `rotate`. */
export function rotateBack(x: Float64Array, signs: Float64Array): void {
  transform(x);
  for (let j = 0; j < x.length; j++) x[j] *= signs[j];
}

function transform(x: Float64Array): void {
  const block = rotationBlock(x.length), norm = 1 / Math.sqrt(block);
  for (let half = 1; half < block; half *= 2) {
    for (let start = 0; start < x.length; start += 2 * half) {
      for (let j = start; j < start + half; j++) {
        const a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
    }
  }
  for (let j = 0; j < x.length; j++) x[j] *= norm;
}
