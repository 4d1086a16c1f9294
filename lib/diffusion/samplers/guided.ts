/** Classifier-free guidance: away from what a model would predict without the prompt. */
import type { Denoiser } from "../denoiser.ts";

/** How far from what, in `guidedBy`. */
export interface Guidance {
  /** w; 0 guides nowhere. */
  readonly weight: number;
  /** Positions 0 .. prompt - 1 of each sequence are the prompt. */
  readonly prompt: number;
}

/**
 * A denoiser under classifier-free guidance (generate.py of LLaDA): its logits are l_u + (w + 1) (l_c - l_u), l_c being those of a sequence and l_u those
 * of the sequence with its whole prompt masked. Both halves run as one batch, twice as many sequences as are asked about. It keeps no keys and values.
 * Samplers have it as an option (`cfg` of `lladaSampler`); likelihoods are guided by wrapping the model.
 *
 * @returns the denoiser itself when w is 0.
 * @throws RangeError when w is negative or not finite or the prompt is no count of positions; `logits` when a sequence is shorter than the prompt.
 *
 * @example
 * ```ts
 * import { guidedBy, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const prompt = model.tokenizer.encode("0 6 * 0 7 =");
 * const tokens = Int32Array.of(...prompt, model.maskId, model.maskId);
 * const guided = guidedBy(model, { weight: 0.5, prompt: prompt.length });
 * const { data } = await guided.logits(tokens, { rows: Int32Array.of(prompt.length) });
 * console.log(model.tokenizer.decode([data.indexOf(Math.max(...data))]));
 * ```
 */
export function guidedBy(denoiser: Denoiser, { weight, prompt }: Guidance): Denoiser {
  if (!(weight >= 0 && weight < Infinity)) {
    throw new RangeError(`Cannot guide with weight ${weight}: wanted a number from 0 on`);
  }
  if (!(Number.isInteger(prompt) && prompt >= 0)) {
    throw new RangeError(`Cannot guide by a prompt of ${prompt} positions: wanted an integer from 0 on`);
  }
  if (weight === 0) return denoiser;
  const { maskId, vocabSize, firstPredicted } = denoiser;
  return {
    ...{ maskId, vocabSize, firstPredicted },
    async logits(tokens, { batch = 1, rows = Int32Array.from(tokens.keys()) } = {}) {
      const all = tokens.length, length = all / batch;
      if (length < prompt) throw new RangeError(`Cannot guide ${length} tokens: the prompt is ${prompt} of them`);
      const both = new Int32Array(2 * all);
      both.set(tokens);
      both.set(tokens, all);
      for (let start = all; start < 2 * all; start += length) both.fill(maskId, start, start + prompt);
      const asked = new Int32Array(2 * rows.length);
      asked.set(rows);
      asked.set(rows.map((row) => all + row), rows.length);
      const { shape: [, vocab], data } = await denoiser.logits(both, { batch: 2 * batch, rows: asked });
      const out = new Float32Array(rows.length * vocab);
      for (let k = 0, u = out.length; k < out.length; k++, u++) out[k] = data[u] + (weight + 1) * (data[k] - data[u]);
      return { shape: [rows.length, vocab], data: out };
    },
  };
}
