/** Resampling of a periodic signal through its spectrum, as a matrix: what a Fourier transform, cut or padded, and its inverse do to it. */
import { type Matrix64, matrix64 } from "./matrix.ts";

/**
 * A `[from, to]` with y = x A: the spectrum of the `from` samples padded with zeros or cut to that of `to`, values kept as they are. Up and down again is the
 * identity. The highest frequency of an even length is shared out to both of its signs on the way up, and brought together on the way down.
 */
export function resampling(from: number, to: number): Matrix64 {
  const A = matrix64(from, to), shared = Math.min(from, to), top = Math.floor(shared / 2);
  for (let i = 0; i < from; i++) {
    for (let j = 0; j < to; j++) {
      const angle = 2 * Math.PI * (j / to - i / from);
      let sum = 1;
      for (let f = 1; f <= top; f++) sum += (2 * f === shared && from <= to ? 1 : 2) * Math.cos(f * angle);
      A.data[i * to + j] = sum / from;
    }
  }
  return A;
}
