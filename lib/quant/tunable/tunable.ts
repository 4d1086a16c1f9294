/**
 * Stored linears in motion: what of a stored form can move, the gradients of it from G = dL/dW of the weight it decodes to, and the way back into the same
 * form with the same number of bytes. What decodes is always what would be stored: scales are rounded as they are on disk, while their float32 values
 * collect steps that are smaller than that.
 */
import type { QuantizedLinear } from "../method.ts";

/** Scales by the name of their tensor, float32. */
export type Scales = Readonly<Record<string, Float32Array>>;

/** Weights that codes follow. */
export interface Latents {
  /** `[out, in]`: a code becomes that of the level nearest to its latent; of equally near ones the code stays. */
  readonly latents: Float32Array;
  /** Latents are kept within so many times the outermost levels. */
  readonly reach: number;
}

export interface Tunable {
  /** The scales, whatever they are stored in. Change them in place, then `settle`. */
  readonly scales: Scales;
  /**
   * Rounds the scales to what is stored, moves codes to their latents if there are any, and writes the weight that the stored form now decodes to into W
   * `[out, in]`. Gives the number of codes that changed. Throws `RangeError` when a scale left the numbers that its type holds.
   */
  settle(W: Float32Array, moving?: Latents): number;
  /** Writes dL/da of every scale into `into`, for G `[out, in]` = dL/dW at what was settled last. */
  gradients(G: Float32Array, into: Scales): void;
  /** Half the distance between neighbouring levels, mean over the weights: what a step of a latent is measured by. */
  halfCell(): number;
  /** The stored form of what was settled last. */
  stored(): QuantizedLinear;
}
