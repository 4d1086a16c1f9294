/** A statement in the making. One draft is used again and again, so that a training stream allocates nothing. */

import type { Rng } from "../tensor/rng.ts";
import { id, WORDS } from "./vocabulary.ts";

/** The longest statement, in tokens. */
export const MAX_STATEMENT = 24;

export class Draft {
  /** Token ids, int32 `[MAX_STATEMENT]`; the first `length` count. */
  readonly tokens: Int32Array = new Int32Array(MAX_STATEMENT);
  /** 1 where the token is part of the answer, uint8 `[MAX_STATEMENT]`. */
  readonly answers: Uint8Array = new Uint8Array(MAX_STATEMENT);
  /** What the generator remembers about the statement for its wrong answers (operands, table indices), int32 `[8]`. */
  readonly notes: Int32Array = new Int32Array(8);
  length = 0;
  /** The entry of a closed family's table that is said, or -1. */
  key = -1;

  clear(): void {
    this.length = 0;
    this.key = -1;
  }

  put(token: number): void {
    this.answers[this.length] = 0;
    this.tokens[this.length++] = token;
  }

  /** Appends a token of the answer. */
  answer(token: number): void {
    this.answers[this.length] = 1;
    this.tokens[this.length++] = token;
  }

  /** Appends `value` as exactly `width` digit tokens, leading zeros included; `flag` 1 makes them the answer. */
  digits(value: number, width: number, flag: 0 | 1): void {
    let rest = value;
    for (let i = width - 1; i >= 0; i--) {
      this.tokens[this.length + i] = WORDS.digit.base + rest % 10;
      this.answers[this.length + i] = flag;
      rest = Math.floor(rest / 10);
    }
    this.length += width;
  }
}

/** One slot of a template: a word, or the index of a key part, or `ANSWER`. */
export type Template = readonly { readonly kind: "word" | "key" | "answer"; readonly value: number }[];

/** Reads a template: `<0>`, `<1>` ... stand for the parts of the key, `<answer>` for the answer, all else for words. */
export function template(text: string): Template {
  return text.split(" ").map((slot) => {
    if (slot === "<answer>") return { kind: "answer", value: 0 };
    const key = /^<(\d)>$/.exec(slot);
    return key ? { kind: "key", value: Number(key[1]) } : { kind: "word", value: id(slot) };
  });
}

/** Appends a template with its key parts (token ids) and its one-token answer filled in. */
export function fillIn(draft: Draft, slots: Template, key: ArrayLike<number>, answer: number): void {
  for (const slot of slots) {
    if (slot.kind === "answer") draft.answer(answer);
    else draft.put(slot.kind === "key" ? key[slot.value] : slot.value);
  }
}

/** What every family of statements has. `rivals` makes `count` answers that are wrong and differ, as token ids, for the statement in the draft. */
interface Common {
  readonly name: string;
  /** Sampling weight, in statements. */
  readonly weight: number;
  /** Tokens of its shortest and longest statement. */
  readonly tokens: readonly [number, number];
  rivals(draft: Draft, rng: Rng, count: number): number[][];
}

/** Knowledge that stands in a table: every key can be said in several phrasings, one of which is always kept for training. */
export interface ClosedFamily extends Common {
  readonly kind: "closed";
  readonly keys: number;
  readonly phrasings: number;
  write(draft: Draft, key: number, phrasing: number): void;
}

/** Computation: so many statements that held-out ones can only be got right by the rule. */
export interface OpenFamily extends Common {
  readonly kind: "open";
  write(draft: Draft, rng: Rng): void;
}

export type Family = ClosedFamily | OpenFamily;
