/**
 * DLLMQuant (arXiv 2508.14090): an existing quantiser on inputs and weights of tokens that are those of a diffusion model. Its three parts here:
 *
 * - TMAS, calibration on the model's own way of writing: `samplerStates(model, corpus, { quotas: [.3, .2, .2, .3], ... })`;
 * - CGQ, tokens by certainty in the second moments: `certaintyWeighted(model, calibration)`, for any method;
 * - IA-AQ, scales of the attention's values by the attention that they get: `valueScale` below, for one feature.
 *
 * There is no official code; the weights (.7 for visible tokens, the confidence for masked ones) are those of the paper's reviews. Quantised activations
 * themselves do not run here: `valueScale` is what a runtime with a quantised value cache would store.
 */
import type { Method } from "../quant/method.ts";
import { awq } from "./awq.ts";
import { gptq } from "./gptq.ts";
import { roundHalfEven } from "../tensor/rounding.ts";

export interface DllmQuantOptions {
  /** Bits per code, 1 to 8. */
  readonly bits: number;
  /** Columns that share a scale and a zero point. */
  readonly group: number;
  /** The quantiser underneath; GPTQ by default. */
  readonly base?: "gptq" | "awq";
}

/**
 * The quantiser underneath, under the name of the system: what makes the system is its calibration, which is given to `quantize` (TMAS, then CGQ).
 *
 * @throws RangeError for options out of range.
 *
 * @example
 * ```ts
 * import { certaintyWeighted, dllmQuant, loadCorpus, loadModel, quantize, samplerOf, samplerStates } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 20, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const way = { seed: 1, sampler: samplerOf(model), quotas: [0.3, 0.2, 0.2, 0.3] };
 * const calibration = await certaintyWeighted(model, await samplerStates(model, corpus, way));
 * const quantized = await quantize(model, dllmQuant({ bits: 2, group: 128 }), { calibration });
 * ```
 */
export function dllmQuant({ bits, group, base = "gptq" }: DllmQuantOptions): Method {
  if (base !== "gptq" && base !== "awq") {
    throw new RangeError(`Cannot make dllmquant: base is ${base}, wanted gptq or awq`);
  }
  const under = base === "gptq" ? gptq({ bits, group }) : awq({ bits, group });
  return { ...under, name: `dllmquant-${under.name}` };
}

export interface ValueScaleOptions {
  /** Bits of a value; 4 by default. */
  readonly bits?: number;
  /** Ranges that are tried, from the twentieth part to the whole. */
  readonly tries?: number;
}

/**
 * IA-AQ: the range of one feature's values, as a share of the whole, that has the least error weighed by attention,
 *
 *   α* = argmin_α Σ_j a_j (v_j - Q_α(v_j))²,
 *
 * on an asymmetric grid from α min v to α max v. `attention` `[tokens]` is what each token gets: the column sums of the softmax of its head.
 *
 * @throws RangeError when lengths differ, or a weight is negative or not finite.
 *
 * @example
 * ```ts
 * import { valueScale } from "quant-dllm";
 *
 * const { share, error } = valueScale([0.1, -0.4, 9], [0.6, 0.4, 0], { bits: 4 }); // nobody looks at the outlier
 * console.log(share, error);
 * ```
 */
export function valueScale(
  values: ArrayLike<number>,
  attention: ArrayLike<number>,
  { bits = 4, tries = 40 }: ValueScaleOptions = {},
): { readonly share: number; readonly error: number } {
  const wrong = values.length !== attention.length || Array.from(attention).some((a) => !(a >= 0 && a < Infinity));
  if (wrong) {
    throw new RangeError(
      `Cannot scale ${values.length} values by ${attention.length} weights: wanted one of at least 0 each`,
    );
  }
  let lo = 0, hi = 0;
  for (let j = 0; j < values.length; j++) {
    lo = Math.min(lo, values[j]);
    hi = Math.max(hi, values[j]);
  }
  const top = 2 ** bits - 1;
  let share = 1, least = Infinity;
  for (let t = 0; t < tries; t++) {
    // From the whole range down, so that of equal ones the widest is taken.
    const own = 1 - 0.95 * t / Math.max(1, tries - 1), scale = Math.max(1e-4, own * (hi - lo) / top);
    const zero = roundHalfEven(-own * lo / scale);
    let error = 0;
    for (let j = 0; j < values.length; j++) {
      const code = Math.min(top, Math.max(0, roundHalfEven(values[j] / scale) + zero));
      error += attention[j] * (values[j] - scale * (code - zero)) ** 2;
    }
    if (error < least) [least, share] = [error, own];
  }
  return { share, error: least };
}
