/** Text as it is drawn for tuning: windows, and where their answers are. */
import type { Corpus } from "./mcs.ts";
import { rng } from "../tensor/rng.ts";

/** Windows of one length. */
export interface MarkedText {
  /** Token ids, each `[length]` int32. */
  readonly windows: readonly Int32Array[];
  /** 1 at tokens of answers, each `[length]`; absent where text marks none. */
  readonly answers?: readonly Uint8Array[];
  /** 1 at tokens that are never masked, each `[length]`; absent where all may be. */
  readonly visible?: readonly Uint8Array[];
}

/** Text without end, or as good as: what is drawn is a function of seed and step, so that a run can stop and go on. */
export interface TextSource {
  /** What rows and model cards call it. */
  readonly name: string;
  /** Windows of a step. */
  readonly batch: number;
  /** Tokens per window. */
  readonly length: number;
  draw(seed: number, step: number): MarkedText | Promise<MarkedText>;
}

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
 * const text = corpusText(corpus, { name: "calibration.jsonl", batch: 32 });
 * const { windows } = await text.draw(1, 0); // those of seed 1, step 0
 * ```
 */
export function corpusText(
  corpus: Corpus & MarkedText,
  { name, batch }: { readonly name: string; readonly batch: number },
): TextSource {
  const { windows, answers } = corpus;
  if (!(Number.isInteger(batch) && batch > 0 && batch <= windows.length)) {
    throw new RangeError(`Cannot draw ${batch} windows for a step: the corpus holds ${windows.length}`);
  }
  return {
    name: `${windows.length} windows of ${name}`,
    batch,
    length: windows[0].length,
    draw(seed, step) {
      const chosen = Array.from(rng(seed, "text", step).choose(windows.length, batch));
      const own = { windows: chosen.map((i) => windows[i]) };
      return answers ? { ...own, answers: chosen.map((i) => answers[i]) } : own;
    },
  };
}
