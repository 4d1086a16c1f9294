/** Text in, text out: a prompt or a conversation through a model's tokenizer, chat template and sampler. */
import type { Sampler } from "../diffusion/sampler.ts";
import { dreamSampler } from "../diffusion/samplers/dream.ts";
import { lladaSampler } from "../diffusion/samplers/llada.ts";
import { sample, type SampleOptions } from "../diffusion/samplers/sample.ts";
import type { Model } from "../model/model.ts";
import { type ChatMessage, isChatTokenizer } from "../checkpoint/tokenizer/tokenizer.ts";

export interface GenerateOptions extends Omit<SampleOptions, "length"> {
  /** Tokens to generate. */
  readonly length?: number;
  /** Apply the chat template; default: when the checkpoint ships one. A conversation always needs it. */
  readonly chat?: boolean;
}

export interface Generation {
  /** The answer up to its first end token, without special tokens. */
  readonly text: string;
  /** The answer's tokens, all `length` of them. */
  readonly tokens: Int32Array;
  /** Tokens before the first end token. */
  readonly count: number;
  /** What the model was given, as text. */
  readonly prompt: string;
  /** Forward passes made. */
  readonly passes: number;
}

/**
 * The sampler that a model's authors use: Dream's where logits are shifted, else LLaDA's.
 *
 * @example
 * ```ts
 * import { loadModel, samplerOf } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const prompt = model.tokenizer.encode("0 6 * 0 7 =");
 * for await (const { tokens } of samplerOf(model).walk(model, prompt, { length: 4, steps: 4, seed: 1 })) {
 *   console.log(model.tokenizer.decode(tokens)); // from masks to text
 * }
 * ```
 */
export const samplerOf = (model: Pick<Model, "architecture">): Sampler =>
  model.architecture.logitShift ? dreamSampler() : lladaSampler();

/**
 * Continues a prompt, or answers a conversation. Throws `RangeError` when prompt and answer are longer than the model's longest sequence, `Error` when a
 * chat template is wanted and there is none, and what `sample` throws.
 *
 * @example
 * ```ts
 * import { generate, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const { text, passes } = await generate(model, "0 6 * 0 7 =", { length: 4, seed: 1 });
 * console.log(text, passes); // fewer steps than tokens: fewer passes
 * ```
 */
export async function generate(
  model: Pick<Model, "name" | "architecture" | "tokenizer" | "maskId" | "vocabSize" | "logits">,
  prompt: string | readonly ChatMessage[],
  { length = 128, chat, sampler = samplerOf(model), ...options }: GenerateOptions,
): Promise<Generation> {
  const { tokenizer, architecture } = model;
  const known = isChatTokenizer(tokenizer) ? tokenizer : undefined;
  let text = prompt;
  if (typeof text !== "string" || (chat ?? known?.hasChatTemplate)) {
    if (!known) throw new Error(`Cannot apply a chat template for ${model.name}: its tokenizer has none`);
    text = known.applyChatTemplate(typeof text === "string" ? [{ role: "user", content: text }] : text);
  }
  const given = tokenizer.encode(text);
  if (given.length === 0 && architecture.logitShift) {
    throw new RangeError(`Cannot generate with ${model.name}: it predicts from the token before; give a prompt`);
  }
  if (given.length + length > architecture.maxLength) {
    throw new RangeError(
      `Cannot generate ${length} tokens after a prompt of ${given.length} with ${model.name}: ` +
        `it reads ${architecture.maxLength} at most; ask for fewer`,
    );
  }
  const state = await sample(model, given, { ...options, sampler, length });
  const tokens = state.tokens.slice(given.length);
  const end = tokens.findIndex((token) => known?.eosIds.includes(token) ?? false);
  const count = end < 0 ? length : end;
  const answer = tokens.slice(0, count);
  const decoded = known ? known.decode(answer, { skipSpecial: true }) : tokenizer.decode(answer);
  return { text: decoded, tokens, count, prompt: text, passes: state.passes };
}
