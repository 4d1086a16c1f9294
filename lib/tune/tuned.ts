/** A method whose quantised model is tuned once all of its linears are there. */
import type { Method } from "../quant/method.ts";
import { checkTuning, tunedName, type TuneOptions } from "./options.ts";

/** A method that brings what is done with the model that it makes, in this order. */
export interface TunedMethod extends Method {
  readonly tunings: readonly TuneOptions[];
}

/**
 * `method`, and then `tune` with these options. What it stores has the form and the bits of `method`. It may be wrapped further, by `except` or `scaled8`, or
 * be tuned again: block by block first, and then the scales by the model.
 *
 * @example
 * ```ts
 * import { corpusText, levels, loadCorpus, loadModel, quantize, tuned, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 256, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const text = corpusText(corpus, { name: "calibration.jsonl", batch: 32 });
 * const method = tuned(levels({ bits: 2, group: 128 }), { what: "codes", text, steps: 400 });
 * const small = await quantize(model, method, { calibration: visible(corpus) });
 * ```
 *
 * @throws TypeError and RangeError for options that `tune` refuses.
 */
export function tuned(method: Method, options: TuneOptions): TunedMethod {
  checkTuning(options);
  if (method.folds) {
    throw new TypeError(
      `Cannot tune ${method.name}: it folds factors into norms, which a tuning moves; leave them stored`,
    );
  }
  return { ...method, name: tunedName(method.name, options), tunings: [...tuningsOf(method), options] };
}

/** How a method tunes the model that it makes; most do not. */
export function tuningsOf(method: Method): readonly TuneOptions[] {
  return "tunings" in method ? (method as TunedMethod).tunings : [];
}
