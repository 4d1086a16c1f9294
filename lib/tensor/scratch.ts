/** Memory that is used again: what large steps write and soon forget. */
import { type Matrix, matrix, type Matrix64, matrix64 } from "./matrix.ts";

/**
 * Buffers that the steps of a fit take in turn, by slot: the numbers in one are whatever they were, and stand until the slot is taken again. Fresh
 * memory for each step would take longer to fill with zeros than many steps take.
 */
export interface Scratch {
  /** A float32 matrix of the slot. */
  float32(slot: string, rows: number, cols: number): Matrix;
  /** The same in float64. */
  float64(slot: string, rows: number, cols: number): Matrix64;
}

/** Scratch of its own for work that runs by itself; steps that wait for each other share one. */
export function newScratch(): Scratch {
  const singles = new Map<string, Float32Array>(), doubles = new Map<string, Float64Array>();
  return {
    float32: (slot, rows, cols) => {
      let buffer = singles.get(slot);
      if (!buffer || buffer.length < rows * cols) singles.set(slot, buffer = new Float32Array(rows * cols));
      return matrix(rows, cols, buffer.subarray(0, rows * cols));
    },
    float64: (slot, rows, cols) => {
      let buffer = doubles.get(slot);
      if (!buffer || buffer.length < rows * cols) doubles.set(slot, buffer = new Float64Array(rows * cols));
      return matrix64(rows, cols, buffer.subarray(0, rows * cols));
    },
  };
}
