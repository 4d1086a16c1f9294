/** Samplers of masked diffusion models: from a prompt and masks to text, over the Denoiser seam. */
import type { Denoiser } from "./denoiser.ts";

/** A point of a sampler's way from masks to text. */
export interface SampleState {
  /** Prompt and answer, with masks where nothing is committed yet; a copy. */
  readonly tokens: Int32Array;
  /** Masked positions left. */
  readonly masked: number;
  /** Steps done, of `steps`. */
  readonly done: number;
  readonly steps: number;
  /** Function evaluations (NFE), one for each sequence that was run, whole or a part of it: a step that commits nothing makes none, a guided one two. */
  readonly passes: number;
  /** What the step before committed, the surest first; absent where it committed nothing. */
  readonly committed?: readonly Commit[];
  /** Sequences that a second model, which the sampler asks besides, has run. */
  readonly helperPasses?: number;
}

/** A token that a sampler wrote, and how sure of it the model was. */
export interface Commit {
  readonly position: number;
  readonly token: number;
  /** Greater is surer; LLaDA's is a probability. */
  readonly confidence: number;
}

export interface WalkOptions {
  /** Tokens to generate. */
  readonly length: number;
  readonly steps: number;
  /** Noise is drawn per step and position, from streams of their own. */
  readonly seed: number | string;
  readonly signal?: AbortSignal;
}

/** A way of sampling with its options bound. */
export interface Sampler {
  /** Canonical, derived from the options. */
  readonly name: string;
  /** Yields the state before the first step and after every step; between them the tokens are what the model saw. */
  walk(denoiser: Denoiser, prompt: Int32Array, options: WalkOptions): AsyncGenerator<SampleState>;
}

/**
 * The prompt and `length` masks after it. Throws `RangeError` for a length that is no positive integer, a masked prompt, and one that is too short for
 * the model to predict what follows.
 */
export function openCanvas({ maskId, firstPredicted = 0 }: Denoiser, prompt: Int32Array, length: number): Int32Array {
  check("length", length, Number.isInteger(length) && length > 0, "a positive integer");
  const hole = prompt.indexOf(maskId);
  if (hole >= 0) throw new RangeError(`Cannot sample: token ${hole} of the prompt is the mask, ${maskId}`);
  if (prompt.length < firstPredicted) {
    throw new RangeError(
      `Cannot sample after ${prompt.length} tokens: this model predicts from position ${firstPredicted} on; give a prompt`,
    );
  }
  const canvas = new Int32Array(prompt.length + length).fill(maskId);
  canvas.set(prompt);
  return canvas;
}

/** Throws `RangeError` for an option of a sampler that is not right; `wanted` says what is. */
export function check(option: string, value: number | string, right: boolean, wanted: string): void {
  if (!right) throw new RangeError(`Cannot sample with ${option} ${value}: wanted ${wanted}`);
}
