/** Classifier-free guidance of likelihoods (`get_logits` of eval_llada.py). */
import type { Denoiser } from "../../diffusion/denoiser.ts";

/**
 * A denoiser that answers every batch twice, once with the first `context` tokens of each sequence masked, and gives u + (w + 1)(c - u) of the masked copy's
 * logits u and the plain one's c. Throws `RangeError` for a weight that is no number from 0 on, and for a model that does not predict its first token: a mask
 * there tells it nothing.
 */
export function guided(
  denoiser: Denoiser,
  { weight, context }: { readonly weight: number; readonly context: number },
): Denoiser {
  if (!(weight >= 0 && Number.isFinite(weight))) {
    throw new RangeError(`Cannot guide with a weight of ${weight}: wanted a number from 0 on`);
  }
  const { maskId, vocabSize, firstPredicted = 0 } = denoiser;
  if (firstPredicted > 0) {
    throw new RangeError(
      "Cannot guide a model with shifted logits: it masks no first token, and its authors' evaluation has no guidance; give 0",
    );
  }
  return {
    maskId,
    vocabSize,
    async logits(tokens, { batch = 1, rows = Int32Array.from(tokens.keys()) } = {}) {
      const length = tokens.length / batch;
      const both = new Int32Array(2 * tokens.length);
      both.set(tokens);
      both.set(tokens, tokens.length);
      for (let s = 0; s < batch; s++) {
        const start = tokens.length + s * length;
        both.fill(maskId, start, start + Math.min(context, length));
      }
      const asked = new Int32Array(2 * rows.length);
      asked.set(rows);
      asked.set(rows.map((row) => row + tokens.length), rows.length);
      const { data } = await denoiser.logits(both, { batch: 2 * batch, rows: asked });
      const half = rows.length * vocabSize;
      const mixed = new Float32Array(half);
      for (let i = 0; i < half; i++) mixed[i] = data[half + i] + (weight + 1) * (data[i] - data[half + i]);
      return { shape: [rows.length, vocabSize], data: mixed };
    },
  };
}
