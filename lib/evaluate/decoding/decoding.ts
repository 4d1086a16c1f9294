/** What quantisation does to decoding, as rows. */
import type { Model, TextTokenizer } from "../../model/model.ts";
import type { Row } from "../../report/rows.ts";
import { rowIdentity } from "../evaluate.ts";
import type { ChoiceTask } from "../tasks.ts";
import { decode, type Decoded, type DecodeOptions, type PromptItem } from "./decode.ts";

/** Prompts with known answers, and where they come from. */
export interface PromptSet {
  readonly id: string;
  readonly version: string;
  readonly items: readonly PromptItem[];
}

/**
 * The items of a multiple-choice task as prompts to be answered freely: those whose right choice has two tokens or more, so that there is something to
 * write in parallel, and stands at the end, with one token behind it at most. Throws `RangeError` when the task has none.
 *
 * @example
 * ```ts
 * import { loadModel, promptsOf, tasks } from "quant-dllm";
 *
 * const { tokenizer } = await loadModel("data/nano-llada");
 * const { items: [{ prompt, answer }] } = await promptsOf(tasks.nano_bbh, tokenizer);
 * console.log(tokenizer.decode(prompt), "->", tokenizer.decode(answer));
 * ```
 */
export async function promptsOf({ id, version, items }: ChoiceTask, tokenizer: TextTokenizer): Promise<PromptSet> {
  const prompts = (await items(tokenizer)).flatMap(({ id, prefix, choices, suffix, answer }) =>
    choices[answer].length > 1 && suffix.length <= 1 ? [{ id, prompt: prefix, answer: choices[answer] }] : []
  );
  if (prompts.length > 0) return { id, version, items: prompts };
  throw new RangeError(`Cannot decode ${id}: it has no answer of two tokens or more at the end of a text`);
}

/** How a model is watched while it writes, and for which rows. */
export interface DecodingOptions extends DecodeOptions {
  /** At most this many prompts, from the start; all by default. */
  readonly limit?: number;
  /** Gets how each answer was written. */
  readonly onDecoded?: (decoded: readonly Decoded[]) => void;
}

/**
 * Measures how a model writes answers with a sampler, of which the rows bear the name. Weights that are less certain do not only answer worse: under a
 * threshold they also write less at once, so accuracy and speed belong together. The rows: `accuracy` (the whole answer is right), `passes per token`,
 * `passes per span` and `spans at the cap` (see `Decoded`); with a reference `flipped commits`, the share of tokens where full precision's first choice on
 * the same canvas is another one; `helper passes per token` where the sampler has a second model, `tokens per second` where there is a clock.
 *
 * A value is Σ a / Σ b over the prompts, with the standard error of a ratio, sqrt(Σ (a - r b)² / (n (n - 1))) / mean b; for `accuracy` b is 1.
 *
 * @throws RangeError for fewer than two prompts, and what `decode` refuses.
 *
 * @example
 * ```ts
 * import { apdSampler, decodingOf, loadModel, promptsOf, quantize, rtn, table, tasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const quantized = await quantize(model, rtn({ bits: 3, group: 32 }));
 * const prompts = await promptsOf(tasks.nano_bbh, model.tokenizer);
 * const options = { sampler: apdSampler({ mix: 0.8 }), reference: model, limit: 40, seed: 1 };
 * const rows = [...await decodingOf(model, prompts, options), ...await decodingOf(quantized, prompts, options)];
 * for (const { method, metric, value, standardError } of rows) console.log(method, metric, value, standardError);
 * ```
 */
export async function decodingOf(
  model: Model,
  { id, version, items }: PromptSet,
  { limit = Infinity, onDecoded, ...options }: DecodingOptions,
): Promise<Row[]> {
  const given = items.slice(0, limit);
  if (given.length < 2) {
    throw new RangeError(`Cannot measure decoding on ${given.length} prompts: wanted at least 2 for a standard error`);
  }
  const decoded = await decode(model, given, options);
  onDecoded?.(decoded);
  const identity = rowIdentity(model, { id, version, seed: options.seed });
  return measures.flatMap(({ metric, a, b }): Row[] => {
    if (decoded.some((d) => a(d) === undefined)) return [];
    const ratio = ratioOf(decoded.map((d) => a(d)!), decoded.map((d) => b(d)!));
    return [{ ...identity, metric, ...ratio, n: decoded.length, sampler: options.sampler.name }];
  });
}

interface Measure {
  readonly metric: string;
  readonly a: (decoded: Decoded) => number | undefined;
  readonly b: (decoded: Decoded) => number | undefined;
}

const measures: readonly Measure[] = [
  { metric: "accuracy", a: ({ right }) => Number(right), b: () => 1 },
  { metric: "passes per token", a: ({ passes }) => passes, b: ({ length }) => length },
  { metric: "helper passes per token", a: ({ helperPasses }) => helperPasses, b: ({ length }) => length },
  { metric: "passes per span", a: ({ spanPasses }) => spanPasses, b: ({ spans }) => spans },
  { metric: "spans at the cap", a: ({ capped }) => capped, b: ({ spans }) => spans },
  { metric: "flipped commits", a: ({ flips }) => flips, b: ({ length }) => length },
  {
    metric: "tokens per second",
    a: ({ seconds, length }) => seconds === undefined ? undefined : length,
    b: ({ seconds }) => seconds,
  },
];

function ratioOf(
  a: readonly number[],
  b: readonly number[],
): { readonly value: number; readonly standardError: number } {
  const n = a.length;
  const sum = b.reduce((x, y) => x + y, 0);
  const value = a.reduce((x, y) => x + y, 0) / sum;
  const spread = a.reduce((total, x, i) => total + (x - value * b[i]) ** 2, 0);
  return { value, standardError: Math.sqrt(spread / (n * (n - 1))) / (sum / n) };
}
