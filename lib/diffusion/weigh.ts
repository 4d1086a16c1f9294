/** How much each position of a calibration counts in the second moments. */
import { concat } from "../tensor/concat.ts";
import type { Denoiser } from "./denoiser.ts";
import type { Calibration } from "./mcs.ts";

/**
 * Weights that need no model. "uniform": all alike, whatever they were. "inverse-norm": each position by 1 / mean(x²) of the very input that a linear
 * reads there, on top of what it weighed, so that the few huge tokens do not rule. "masked-only": positions that are masked, and no others; visible ones
 * carry the keys and values, so this is known to harm, and is here to show it.
 */
export type Weighing = "uniform" | "inverse-norm" | "masked-only";

/**
 * The calibration with other weights, in place of those of its positions.
 *
 * @param options `maskId`, for "masked-only".
 * @throws TypeError for an unknown kind, or "masked-only" without `maskId`; RangeError when nothing is masked.
 *
 * @example
 * ```ts
 * import { gptq, loadCorpus, loadModel, quantize, simulateMasks, weighted } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const masked = simulateMasks(corpus, { maskId: model.maskId, seed: 1 });
 * const calibration = weighted(masked, "inverse-norm");
 * const quantized = await quantize(model, gptq({ bits: 2, group: 32 }), { calibration });
 * ```
 */
export function weighted(
  calibration: Calibration,
  kind: Weighing,
  { maskId }: { readonly maskId?: number } = {},
): Calibration {
  const { name, windows, timesteps, weights, inverseNorm, guide } = calibration;
  switch (kind) {
    case "uniform":
      return weights || inverseNorm || guide ? { name: `${name}+uniform`, windows, timesteps } : calibration;
    case "inverse-norm":
      return { ...calibration, name: `${name}+inverse-norm`, inverseNorm: true };
    case "masked-only": {
      if (maskId === undefined) throw new TypeError(`Cannot weigh masked positions of ${name}: pass { maskId }`);
      const weights = windows.map((window) => Float32Array.from(window, (token) => Number(token === maskId)));
      if (weights.some((w) => w.includes(1))) return { ...calibration, name: `${name}+masked-only`, weights };
      throw new RangeError(`Cannot weigh masked positions of ${name}: none of them is ${maskId}`);
    }
  }
  throw new TypeError(`Cannot weigh ${name} by "${kind}": wanted uniform, inverse-norm or masked-only`);
}

export interface CertaintyOptions {
  /** Weight of visible positions; the paper's text has 0.7, against 1 for a masked position of which the model is certain. */
  readonly visible?: number;
  /** Windows per forward pass. */
  readonly batch?: number;
  readonly signal?: AbortSignal;
}

/**
 * Certainty-guided weights (DLLMQuant): a masked position counts by the model's confidence, the probability of its likeliest token, since that is where
 * tokens are written next; a visible one by a constant. In place of the weights that positions had.
 *
 * @throws RangeError when `visible` is not positive, or windows differ in length.
 *
 * @example
 * ```ts
 * import { certaintyWeighted, gptq, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const calibration = await certaintyWeighted(model, simulateMasks(corpus, { maskId: model.maskId, seed: 1 }));
 * const quantized = await quantize(model, gptq({ bits: 2, group: 32 }), { calibration });
 * ```
 */
export async function certaintyWeighted(
  denoiser: Denoiser,
  calibration: Calibration,
  options: CertaintyOptions = {},
): Promise<Calibration> {
  const { visible = 0.7 } = options;
  if (!(visible > 0)) throw new RangeError(`Cannot weigh visible positions by ${visible}: wanted a positive number`);
  const weights: Float32Array[] = [];
  for await (const confidence of confidences(denoiser, calibration, options)) {
    weights.push(confidence.map((c) => Number.isNaN(c) ? visible : c));
  }
  return { ...calibration, name: `${calibration.name}+certainty${visible === 0.7 ? "" : visible}`, weights };
}

export interface FrontierOptions {
  /** λ0: what a position of the frontier counts more. */
  readonly frontier?: number;
  /** λ1: what a masked position counts more, times the model's confidence there. */
  readonly confidence?: number;
  /** Tokens that a step of the sampler writes: so many masked positions of each window, the most confident ones, are its frontier. */
  readonly written?: number;
  /** Windows per forward pass. */
  readonly batch?: number;
  readonly signal?: AbortSignal;
}

/**
 * Frontier-aware weights (FAIR-Calib): every position counts one, those that the sampler would write next λ0 more, and masked ones λ1 times the model's
 * confidence more. In place of the weights that positions had.
 *
 * GAP(FAIR-Calib): λ0(t), λ1 and the size of the frontier are not known here, and the paper averages over whole ways of the sampler; here each window is
 * one state, its frontier is what the next step would write, and λ0 does not depend on the timestep.
 *
 * @throws RangeError when an option is out of range, or windows differ in length.
 *
 * @example
 * ```ts
 * import { frontierWeighted, gptq, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const masked = simulateMasks(corpus, { maskId: model.maskId, seed: 1 });
 * const calibration = await frontierWeighted(model, masked, { frontier: 2, written: 4 });
 * const quantized = await quantize(model, gptq({ bits: 2, group: 32 }), { calibration });
 * ```
 */
export async function frontierWeighted(
  denoiser: Denoiser,
  calibration: Calibration,
  options: FrontierOptions = {},
): Promise<Calibration> {
  const { frontier = 1, confidence: lambda = 1, written = 1 } = options;
  if (!(lambda >= 0 && frontier >= 0)) {
    throw new RangeError("Cannot weigh the frontier: wanted { frontier, confidence } of at least 0");
  }
  if (!(Number.isInteger(written) && written > 0)) {
    throw new RangeError(`Cannot weigh a frontier of ${written} tokens: wanted a positive integer`);
  }
  const weights: Float32Array[] = [];
  for await (const confidence of confidences(denoiser, calibration, options)) {
    const masked = [...confidence.keys()].filter((p) => !Number.isNaN(confidence[p]));
    const next = masked.toSorted((a, b) => confidence[b] - confidence[a] || a - b).slice(0, written);
    const own = new Float32Array(confidence.length).fill(1);
    for (const p of masked) own[p] += lambda * confidence[p];
    for (const p of next) own[p] += frontier;
    weights.push(own);
  }
  return { ...calibration, name: `${calibration.name}+frontier-${frontier}-${lambda}-n${written}`, weights };
}

/** Of each window, the probability of the likeliest token at every masked position; NaN at visible ones. */
async function* confidences(
  denoiser: Denoiser,
  { name, windows }: Calibration,
  { batch = 32, signal }: { readonly batch?: number; readonly signal?: AbortSignal },
): AsyncGenerator<Float32Array> {
  const { maskId, vocabSize } = denoiser, length = windows[0]?.length ?? 0;
  if (length === 0 || windows.some((window) => window.length !== length)) {
    throw new RangeError(`Cannot weigh ${name}: wanted windows of one length`);
  }
  for (let from = 0; from < windows.length; from += batch) {
    signal?.throwIfAborted();
    const some = windows.slice(from, from + batch), tokens = concat(some, Int32Array);
    const rows = Int32Array.from([...tokens.keys()].filter((p) => tokens[p] === maskId));
    const all = new Float32Array(tokens.length).fill(NaN);
    if (rows.length > 0) {
      const { data } = await denoiser.logits(tokens, { batch: some.length, rows });
      rows.forEach((p, i) => all[p] = likeliest(data.subarray(i * vocabSize, (i + 1) * vocabSize), maskId));
    }
    for (let w = 0; w < some.length; w++) yield all.subarray(w * length, (w + 1) * length);
  }
}

/** The largest entry of softmax(x), but for the mask's, which is never written. */
function likeliest(x: Float32Array, maskId: number): number {
  let max = -Infinity, best = -Infinity, sum = 0;
  for (let v = 0; v < x.length; v++) {
    max = Math.max(max, x[v]);
    if (v !== maskId) best = Math.max(best, x[v]);
  }
  for (const logit of x) sum += Math.exp(logit - max);
  return Math.exp(best - max) / sum;
}
