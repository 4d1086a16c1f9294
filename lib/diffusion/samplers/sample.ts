/** From a prompt to its last state. */
import type { Denoiser } from "../denoiser.ts";
import type { Sampler, SampleState, WalkOptions } from "../sampler.ts";
import { lladaSampler } from "./llada.ts";

export interface SampleOptions extends Omit<WalkOptions, "steps"> {
  /** Default: as many as tokens. */
  readonly steps?: number;
  readonly sampler?: Sampler;
  /** After every step. */
  readonly onStep?: (state: SampleState) => void;
}

/**
 * Generates `length` tokens after the prompt and gives the last state: prompt and answer, nothing masked.
 *
 * @param prompt token ids, int32; none of them the mask.
 * @throws RangeError for a length or steps that are no positive integers, a masked prompt, an empty one where the model predicts from the
 *   token before, and what the sampler refuses.
 */
export async function sample(
  denoiser: Denoiser,
  prompt: Int32Array,
  { sampler = lladaSampler(), steps, onStep, ...options }: SampleOptions,
): Promise<SampleState> {
  let last: SampleState | undefined;
  for await (const state of sampler.walk(denoiser, prompt, { ...options, steps: steps ?? options.length })) {
    if (state.done > 0) onStep?.(state);
    last = state;
  }
  return last!;
}
