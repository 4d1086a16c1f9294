/**
 * DLLMQuant (arXiv 2508.14090): an existing quantiser on inputs and weights of tokens that are those of a diffusion model. Its three parts here:
 *
 * - TMAS, calibration on the model's own way of writing: `samplerStates(model, corpus, { quotas: [.3, .2, .2, .3], ... })`;
 * - CGQ, tokens by certainty in the second moments: `certaintyWeighted(model, calibration)`, for any method;
 * - IA-AQ, scales of the attention's values by the attention that they get: `quantizeValues(model, { calibration, bits: 4 })`.
 *
 * There is no official code; the weights (.7 for visible tokens, the confidence for masked ones) are those of the paper's reviews. Of the activations only
 * values are rounded, in a simulated pass.
 */
import type { Method } from "../quant/method.ts";
import { awq } from "./awq.ts";
import { gptq } from "./gptq.ts";

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
