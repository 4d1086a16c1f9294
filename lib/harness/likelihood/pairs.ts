/** Context and continuation as tokens, as the authors' evaluation code cuts them. */
import type { TextTokenizer } from "../../model/model.ts";

/** What is given, and what is scored. */
export interface Pair {
  readonly context: Int32Array;
  readonly target: Int32Array;
}

/** Where the context ends once its trailing white space has gone to the continuation, which then begins with it. */
function contextEnd(context: string): number {
  return context.trimEnd().length;
}

/**
 * LLaDA's pair (`_encode_pair` of eval_llada.py): context and continuation are encoded as one text, and the target is what is left of its tokens after as
 * many as the context alone has. Nothing is added. Throws `RangeError` where the continuation leaves no token.
 */
export function encodePair(tokenizer: TextTokenizer, context: string, continuation: string): Pair {
  const end = contextEnd(context);
  const whole = tokenizer.encode(context + continuation);
  const given = end === 0 ? 0 : tokenizer.encode(context.slice(0, end)).length;
  return cut(whole, given, continuation);
}

/** What Dream's pairs have beside the text. */
export interface DreamEnds {
  /** Before the context: the text of the tokenizer's BOS token; `add_bos_token=true`. */
  readonly bos?: string;
  /** The id after the continuation, part of the target. */
  readonly eos: number;
  /** Tokens that are kept, from the right; 2048 in the authors' runs. */
  readonly maxLength: number;
}

/**
 * Dream's pair (`_encode_pair` of its eval.py): the text of BOS goes before the context, one EOS after the continuation, and what is longer than `maxLength`
 * loses tokens on the left. Throws `RangeError` where the continuation leaves no token.
 */
export function encodeDreamPair(
  tokenizer: TextTokenizer,
  context: string,
  continuation: string,
  { bos = "", eos, maxLength }: DreamEnds,
): Pair {
  const all = bos + context;
  const end = contextEnd(all);
  const text = tokenizer.encode(all + continuation);
  const whole = new Int32Array(text.length + 1);
  whole.set(text);
  whole[text.length] = eos;
  const given = end === 0 ? 0 : tokenizer.encode(all.slice(0, end)).length;
  if (given >= text.length) refuseEmpty(continuation);
  const lost = Math.max(0, whole.length - maxLength);
  return cut(whole.slice(lost), Math.max(0, given - lost), continuation);
}

function cut(whole: Int32Array, given: number, continuation: string): Pair {
  if (given >= whole.length) refuseEmpty(continuation);
  return { context: whole.slice(0, given), target: whole.slice(given) };
}

function refuseEmpty(continuation: string): never {
  throw new RangeError(
    `Cannot score ${JSON.stringify(continuation)}: the tokenizer has no token of its own for it after this context; ` +
      "give a longer continuation",
  );
}
