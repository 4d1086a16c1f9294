/** Several prompts at once: what their walks ask of the model in the same moment is run together. */
import { concat } from "../../tensor/concat.ts";
import type { Denoiser, Logits } from "../denoiser.ts";
import type { SampleState } from "../sampler.ts";
import { sample, type SampleOptions } from "./sample.ts";

/** A prompt and the seed of its own noise. */
export interface Prompt {
  readonly tokens: Int32Array;
  readonly seed: number | string;
}

interface Request {
  readonly tokens: Int32Array;
  readonly batch: number;
  readonly rows: Int32Array;
  readonly resolve: (logits: Logits) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Generates after each prompt what `sample` generates after it alone: every sample has its own counts and noise, whatever stands beside it. Equally long
 * sequences that are asked about at the same time go through the model as one batch.
 *
 * @returns the last state of each.
 * @throws what `sample` throws, and `RangeError` for samplers that keep keys and values.
 *
 * @example
 * ```ts
 * import { lladaSampler, loadModel, sampleBatch } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const prompts = ["shift t e c by 2 :", "shift q e v by 1 :"].map((text, seed) => ({ tokens: model.tokenizer.encode(text), seed }));
 * const states = await sampleBatch(model, prompts, { length: 4, sampler: lladaSampler({ block: 2, temperature: 0.5 }) });
 * console.log(states.map(({ tokens, passes }) => [model.tokenizer.decode(tokens), passes]));
 * ```
 */
export async function sampleBatch(
  denoiser: Denoiser,
  prompts: readonly Prompt[],
  options: Omit<SampleOptions, "seed" | "onStep">,
): Promise<SampleState[]> {
  const { maskId, vocabSize, firstPredicted } = denoiser;
  let waiting: Request[] = [], live = prompts.length;
  const runTogether = () => {
    if (waiting.length === 0 || waiting.length < live) return;
    const all = waiting;
    waiting = [];
    for (const equal of Map.groupBy(all, ({ tokens, batch }) => tokens.length / batch).values()) {
      answer(denoiser, equal);
    }
  };
  const asking: Denoiser = {
    ...{ maskId, vocabSize, firstPredicted },
    logits: (tokens, { batch = 1, rows = Int32Array.from(tokens.keys()) } = {}) =>
      new Promise((resolve, reject) => {
        waiting.push({ tokens, batch, rows, resolve, reject });
        runTogether();
      }),
  };
  return await Promise.all(prompts.map(async ({ tokens, seed }) => {
    try {
      return await sample(asking, tokens, { ...options, seed });
    } finally {
      live--;
      runTogether();
    }
  }));
}

/** One pass for equally long requests; each gets its own rows. */
async function answer(denoiser: Denoiser, requests: readonly Request[]): Promise<void> {
  let before = 0;
  const rows = requests.map(({ tokens, rows }) => {
    const own = rows.map((row) => row + before);
    before += tokens.length;
    return own;
  });
  try {
    const { shape: [, vocab], data } = await denoiser.logits(concat(requests.map(({ tokens }) => tokens), Int32Array), {
      batch: requests.reduce((sum, { batch }) => sum + batch, 0),
      rows: concat(rows, Int32Array),
    });
    let at = 0;
    requests.forEach(({ resolve }, i) => {
      const count = rows[i].length;
      resolve({ shape: [count, vocab], data: data.slice(at * vocab, (at + count) * vocab) });
      at += count;
    });
  } catch (error) {
    for (const { reject } of requests) reject(error);
  }
}
