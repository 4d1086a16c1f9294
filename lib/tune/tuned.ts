/** A method whose quantised model is tuned as a whole once all of its linears are there. */
import type { Method } from "../quant/method.ts";
import { tunedName, type TuneOptions } from "./tune.ts";

/** A method that brings what is done with the model that it makes. */
export interface TunedMethod extends Method {
  readonly tuning: TuneOptions;
}

/**
 * `method`, and then `tune` with these options: `tuned(levels({ bits: 2, group: 128 }), { what: "codes", text, steps: 1500, seed: 1 })`, which is called
 * `daq-plus-levels-2b-g128+tuned:codes-1500`. What it stores has the form and the bits of `method`. It may be wrapped further, by `except` or `scaled8`.
 *
 * @example
 * ```ts
 * import { corpusText, levels, loadCorpus, loadModel, quantize, tuned, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 256, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const tuning = { what: "codes", text: corpusText(corpus, { batch: 32 }), steps: 400, seed: 1 } as const;
 * const method = tuned(levels({ bits: 2, group: 128 }), tuning);
 * const small = await quantize(model, method, { calibration: visible(corpus) });
 * ```
 *
 * @throws TypeError for a method that is tuned already.
 */
export function tuned(method: Method, options: TuneOptions): TunedMethod {
  if (tuningOf(method)) throw new TypeError(`Cannot tune ${method.name}: it is tuned already`);
  return { ...method, name: tunedName(method.name, options), tuning: options };
}

/** How a method tunes the model that it makes; most do not. */
export function tuningOf(method: Method): TuneOptions | undefined {
  return "tuning" in method ? (method as TunedMethod).tuning : undefined;
}
