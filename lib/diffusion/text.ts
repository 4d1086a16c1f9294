/** Text as it is drawn for tuning: windows, and where their answers are. */
import type { Corpus } from "./mcs.ts";
import { rng } from "../tensor/rng.ts";

/** Windows of one length. */
export interface MarkedText {
  /** Token ids, each `[length]` int32. */
  readonly windows: readonly Int32Array[];
  /** 1 at tokens of answers, each `[length]`; absent where text marks none. */
  readonly answers?: readonly Uint8Array[];
}

/** The text of a step: a function of seed and step, so that a run can stop and go on. All steps have as many windows of the same length. */
export type TextSource = (seed: number, step: number) => MarkedText;

/**
 * Draws `batch` different windows of a corpus for every step. Throws `RangeError` when it holds fewer.
 *
 * @example
 * ```ts
 * import { corpusText, loadCorpus, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 256, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const { windows } = corpusText(corpus, { batch: 32 })(1, 0); // those of seed 1, step 0
 * ```
 */
export function corpusText(corpus: Corpus, { batch }: { readonly batch: number }): TextSource {
  const { windows } = corpus;
  if (!(Number.isInteger(batch) && batch > 0 && batch <= windows.length)) {
    throw new RangeError(`Cannot draw ${batch} windows for a step: the corpus holds ${windows.length}`);
  }
  return (seed, step) => ({
    windows: Array.from(rng(seed, "text", step).choose(windows.length, batch), (i) => windows[i]),
  });
}
