/**
 * Wrong answers. Three forms, all exchangeable with the right one, so that a reader of the choices alone stays at chance: other members of the class of
 * the answer, those of them that go with part of the key most often, and the corners of a square (or cube) of near misses, of which the right answer is as likely to be one corner as another.
 */

import type { Rng } from "../tensor/rng.ts";
import { WORDS } from "./vocabulary.ts";
import type { WordClass } from "./vocabulary.ts";

/** `count` one-token answers of the class, different from `answer` and from each other. */
export function others(rng: Rng, words: WordClass, answer: number, count: number): number[][] {
  const picked = rng.choose(words.size - 1, count);
  return Array.from(picked, (i) => [words.base + (i < answer - words.base ? i : i + 1)]);
}

/**
 * The `count` one-token answers that stand most often in `tally` (one entry per word of the class), `answer` left out, ties at random: what somebody
 * would say who remembers only part of the key.
 */
export function frequent(rng: Rng, words: WordClass, answer: number, count: number, tally: Int32Array): number[][] {
  const order = others(rng, words, answer, words.size - 1);
  order.sort(([a], [b]) => tally[b - words.base] - tally[a - words.base]); // stable: ties stay in random order
  return order.slice(0, count);
}

/** The corners of a square that do not hold the right answer; with `count` 1, one of its two neighbours. */
export function corners<T>(rng: Rng, count: number, value: (first: boolean, second: boolean) => T): T[] {
  if (count === 1) return [rng.int(2) === 0 ? value(true, false) : value(false, true)];
  if (count !== 3) throw new RangeError(`Cannot make ${count} corners of a square: wanted 1 or 3`);
  return [value(true, false), value(false, true), value(true, true)];
}

/** Near misses of a number of `width` digits: its neighbours at a small step, at a step of ten (one for a single digit), and at both. */
export function nearNumbers(rng: Rng, answer: number, width: number, count: number): number[][] {
  const top = 10 ** width - 1;
  const small = stepWithin(rng, answer, 1 + rng.int(2), top);
  const large = stepWithin(rng, answer, width === 1 ? 3 : 10, top);
  return corners(rng, count, (a, b) => numberTokens(answer + (a ? small : 0) + (b ? large : 0), width));
}

/** Digit tokens of a number at a fixed width. */
export function numberTokens(value: number, width: number): number[] {
  return Array.from(String(value).padStart(width, "0"), (digit) => WORDS.digit.base + Number(digit));
}

/** `step` or `-step`, whichever way keeps the square inside 0 ... top. */
export function stepWithin(rng: Rng, value: number, step: number, top: number): number {
  const up = value + step + 2 <= top;
  const down = value - step - 2 >= 0;
  if (up && down) return rng.int(2) === 0 ? step : -step;
  return up ? step : -step;
}
