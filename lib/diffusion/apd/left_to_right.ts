/** Models that read from left to right: what adaptive parallel decoding asks beside the diffusion model. */
import type { Denoiser, Logits } from "../denoiser.ts";

/** A model that predicts each token from those before it. Token ids are the denoiser's, as far as both vocabularies go. */
export interface LeftToRight {
  /** Stands in the sampler's name. */
  readonly name: string;
  /** Begins with a sequence of its own. */
  open(): Promise<Reading>;
}

/** A sequence that is read from left to right, piece by piece. Whoever keeps keys and values keeps them here. */
export interface Reading extends AsyncDisposable {
  /** Sequences that it has run: a batch of n counts n. */
  readonly passes: number;
  /**
   * Logits of positions [from, to), `[to - from, vocab]`: row i predicts position from + i, and is the same whatever stands there or behind. Tokens are
   * those of earlier calls up to where the last `crop` cut.
   */
  logits(tokens: Int32Array, window: { readonly from: number; readonly to: number }): Promise<Logits>;
  /** What was read from position `length` on is not what will stand there. */
  crop(length: number): void;
}

/**
 * A diffusion model as one that reads from left to right: position i is asked with all tokens before it, and masks from it to the end of what is given.
 * Those masks make the first drafted position what it is in the draft, the others what they would be if the tokens before them had been written one
 * pass at a time; and they make all canvases equally long, so that one batch serves all positions. With a lone mask instead, a model would be asked
 * for texts that end there. It sees the whole of its text anew with each token, so nothing is kept: `crop` has nothing to do.
 *
 * @example
 * ```ts
 * import { apdSampler, generate, loadModel, quantize, rtn, stepwise } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const quantized = await quantize(model, rtn({ bits: 2, group: 32 }));
 * const sampler = apdSampler({ helper: stepwise(model), mix: 0.5 }); // full precision looks on
 * const { text, passes } = await generate(quantized, "shift t e c by 2 :", { length: 4, seed: 1, sampler });
 * ```
 */
export function stepwise(denoiser: Denoiser): LeftToRight {
  return {
    name: "stepwise",
    open() {
      let passes = 0;
      return Promise.resolve({
        get passes() {
          return passes;
        },
        logits(tokens, { from, to }) {
          const batch = to - from, length = tokens.length;
          const canvases = new Int32Array(batch * length).fill(denoiser.maskId);
          for (let i = 0; i < batch; i++) canvases.set(tokens.subarray(0, from + i), i * length);
          passes += batch;
          const rows = Int32Array.from({ length: batch }, (_, i) => i * length + from + i);
          return denoiser.logits(canvases, { batch, rows });
        },
        crop() {},
        [Symbol.asyncDispose]: () => Promise.resolve(),
      });
    },
  };
}
