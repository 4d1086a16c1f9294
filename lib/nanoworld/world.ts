/** NanoWorld: a world made from a seed, and the stream of statements about it that a model is trained on. */

import type { Rng } from "../tensor/rng.ts";
import { arithmetic } from "./arithmetic.ts";
import { combination, goal, order, people, story } from "./closed_book.ts";
import { Draft, type Family } from "./draft.ts";
import { patterns } from "./patterns.ts";
import { hashTokens, type Split, splitOf, SPLITS, taughtPhrasing } from "./split.ts";
import { decode, encode, EOS_ID, MASK_ID, UNKNOWN_ID, VOCABULARY } from "./vocabulary.ts";

/** Changes whenever a statement, a split or a task item of the same seed does. */
export const WORLD_VERSION = "1";
/**
 * The seed of the world that ships with the kit.
 *
 * @example
 * ```ts
 * import { createWorld, rng, WORLD_SEED } from "quant-dllm/testbed";
 *
 * const world = createWorld({ seed: WORLD_SEED }); // the world that nano-llada knows
 * const { tokens } = world.sequence(rng(WORLD_SEED, "unseen"), "test", 64);
 * ```
 */
export const WORLD_SEED = 1;
/** The names in the world that ships with the kit. */
export const WORLD_ENTITIES = 2400;
/** Tokens of a sequence in the files and in training. */
export const SEQUENCE_LENGTH = 64;

/** One statement: token ids (int32 `[length]`) that end with ".", and 1 for every answer token (uint8 `[length]`). */
export interface Statement {
  readonly family: string;
  readonly split: Split;
  readonly tokens: Int32Array;
  readonly answers: Uint8Array;
}

/** Whole statements one after another, filled up with the end token at the end: token ids int32 `[length]`, answer flags uint8 `[length]`. */
export interface Sequence {
  readonly tokens: Int32Array;
  readonly answers: Uint8Array;
  /** Position of the first token of each statement, int32. */
  readonly starts: Int32Array;
  /** The family of each statement. */
  readonly families: readonly string[];
}

export interface World {
  readonly version: string;
  readonly seed: number;
  readonly entities: number;
  /** The words by id. */
  readonly vocabulary: readonly string[];
  readonly eosId: number;
  readonly maskId: number;
  readonly unknownId: number;
  readonly families: readonly Family[];
  /** Draws a statement of `split` into a draft, of the named family or of one drawn by weight; returns the index of the family. */
  draw(rng: Rng, split: Split, draft: Draft, family?: string): number;
  statement(rng: Rng, split: Split, family?: string): Statement;
  sequence(rng: Rng, split: Split, length: number): Sequence;
  /** As `sequence`, into `tokens` and `answers` at `offset ... offset + length - 1`; allocates nothing, for training streams. */
  fill(rng: Rng, split: Split, tokens: Int32Array, answers: Uint8Array, offset: number, length: number): void;
  /** The split of phrasing `phrasing` of entry `key` of a closed family. */
  splitOfEntry(family: string, key: number, phrasing: number): Split;
  encode(text: string): Int32Array;
  decode(ids: Iterable<number>): string;
}

/** A statement of a wanted split comes up within a few draws; a family in which it does not has none. */
const MOST_DRAWS = 100_000;

/**
 * The world of `seed` with `entities` named persons. Throws `RangeError` for a number of entities that the names do not allow.
 *
 * @example
 * ```ts
 * import { createWorld, rng } from "quant-dllm/testbed";
 *
 * const world = createWorld({ seed: 7, entities: 100 }); // other names, facts and tables than those that ship
 * const { family, tokens } = world.statement(rng(7, "look"), "train");
 * console.log(family, world.decode(tokens));
 * ```
 */
export function createWorld(
  { seed, entities = WORLD_ENTITIES }: { readonly seed: number; readonly entities?: number },
): World {
  const families: readonly Family[] = [
    ...people(seed, entities),
    combination(seed),
    goal(seed),
    story(seed),
    order(seed),
    ...arithmetic(),
    ...patterns(),
  ];
  const total = families.reduce((sum, family) => sum + family.weight, 0);
  const shortest = Math.min(...families.map((family) => family.tokens[0]));
  const indexOf = (name: string) => {
    const index = families.findIndex((family) => family.name === name);
    if (index < 0) {
      throw new RangeError(
        `Cannot draw from the family "${name}": wanted one of ${families.map((f) => f.name).join(", ")}`,
      );
    }
    return index;
  };

  const pick = (rng: Rng) => {
    let at = rng.next() * total;
    let index = 0;
    while (index < families.length - 1 && (at -= families[index].weight) >= 0) index++;
    return index;
  };

  const splitOfDraft = (index: number, key: number, phrasing: number, draft: Draft): Split => {
    const family = families[index];
    const hash = hashTokens(draft.tokens, draft.length, seed);
    if (family.kind === "open") return splitOf(hash);
    if (phrasing === taughtPhrasing(index, key, family.phrasings, seed)) return "train";
    return splitOf(hash, family.phrasings / (family.phrasings - 1));
  };

  const drawOf = (index: number, rng: Rng, split: Split, draft: Draft) => {
    const family = families[index];
    for (let i = 0; i < MOST_DRAWS; i++) {
      draft.clear();
      let phrasing = 0;
      if (family.kind === "closed") {
        draft.key = rng.int(family.keys);
        phrasing = rng.int(family.phrasings);
        family.write(draft, draft.key, phrasing);
      } else family.write(draft, rng);
      if (splitOfDraft(index, draft.key, phrasing, draft) === split) return;
    }
    throw new RangeError(
      `Cannot draw a ${split} statement of the family "${family.name}": none in ${MOST_DRAWS} draws`,
    );
  };

  const draw = (rng: Rng, split: Split, draft: Draft, name?: string) => {
    if (!SPLITS.includes(split)) {
      throw new RangeError(`Cannot draw from the split "${split}": wanted one of ${SPLITS.join(", ")}`);
    }
    const index = name === undefined ? pick(rng) : indexOf(name);
    drawOf(index, rng, split, draft);
    return index;
  };

  const scratch = new Draft();

  /** Packs a sequence and tells `onStatement` of every statement; families too long for what is left are drawn again. */
  const pack = (
    rng: Rng,
    split: Split,
    tokens: Int32Array,
    answers: Uint8Array,
    offset: number,
    length: number,
    onStatement?: (start: number, family: number) => void,
  ) => {
    const end = offset + length;
    let at = offset;
    while (end - at >= shortest) {
      const index = pick(rng);
      if (families[index].tokens[0] > end - at) continue;
      drawOf(index, rng, split, scratch);
      if (scratch.length > end - at) continue;
      onStatement?.(at - offset, index);
      for (let i = 0; i < scratch.length; i++) {
        tokens[at] = scratch.tokens[i];
        answers[at++] = scratch.answers[i];
      }
    }
    for (; at < end; at++) {
      tokens[at] = EOS_ID;
      answers[at] = 0;
    }
  };

  return {
    version: WORLD_VERSION,
    seed,
    entities,
    vocabulary: VOCABULARY,
    eosId: EOS_ID,
    maskId: MASK_ID,
    unknownId: UNKNOWN_ID,
    families,
    draw,
    statement(rng, split, name) {
      const index = draw(rng, split, scratch, name);
      const { tokens, answers, length } = scratch;
      return {
        family: families[index].name,
        split,
        tokens: tokens.slice(0, length),
        answers: answers.slice(0, length),
      };
    },
    sequence(rng, split, length) {
      if (!Number.isInteger(length) || length < shortest) {
        throw new RangeError(`Cannot pack a sequence of ${length} tokens: wanted an integer of at least ${shortest}`);
      }
      const tokens = new Int32Array(length);
      const answers = new Uint8Array(length);
      const starts: number[] = [];
      const names: string[] = [];
      pack(rng, split, tokens, answers, 0, length, (start, index) => {
        starts.push(start);
        names.push(families[index].name);
      });
      return { tokens, answers, starts: Int32Array.from(starts), families: names };
    },
    fill: (rng, split, tokens, answers, offset, length) => pack(rng, split, tokens, answers, offset, length),
    splitOfEntry(name, key, phrasing) {
      const index = indexOf(name);
      const family = families[index];
      if (family.kind === "open") {
        throw new RangeError(`Cannot look up an entry of "${name}": it is computed, not a table`);
      }
      scratch.clear();
      family.write(scratch, key, phrasing);
      return splitOfDraft(index, key, phrasing, scratch);
    },
    encode,
    decode,
  };
}
