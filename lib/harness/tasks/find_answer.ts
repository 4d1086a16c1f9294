/** How an answer is found in a text, and when two answers are the same. */
import { strip } from "./words.ts";

/** What stands for an answer that was not found. */
export const notFound = "[invalid]";

/**
 * The filter `regex` of lm-evaluation-harness: of all matches of a pattern the one at `at` (-1: the last), of its groups the first that holds something, without
 * white space around it. The pattern must be global.
 */
export function findBy(pattern: RegExp, at: 0 | -1 = 0): (text: string) => string {
  return (text) => {
    const match = [...text.matchAll(pattern)].at(at);
    const found = match && (match.length === 1 ? match[0] : match.slice(1).find(Boolean));
    return found === undefined ? notFound : strip(found);
  };
}

export interface SameOptions {
  /** Removed from both, one after another. */
  readonly ignore?: readonly RegExp[];
  readonly ignoreCase?: boolean;
  /** ASCII punctuation. */
  readonly ignorePunctuation?: boolean;
}

/** The metric `exact_match`: whether two answers are the same but for what is ignored. */
export function same(options: SameOptions = {}): (answer: string, target: string) => boolean {
  const { ignore = [], ignoreCase = false, ignorePunctuation = false } = options;
  const normal = (text: string) => {
    const kept = ignore.reduce((rest, pattern) => rest.replace(pattern, ""), text);
    const cased = ignoreCase ? kept.toLowerCase() : kept;
    return ignorePunctuation ? cased.replace(/[!-/:-@[-`{-~]/g, "") : cased;
  };
  return (answer, target) => normal(answer) === normal(target);
}
