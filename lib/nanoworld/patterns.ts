/** Patterns over letters, days, months and truth values. */

import type { Rng } from "../tensor/rng.ts";
import type { ClosedFamily, Draft, Family, OpenFamily } from "./draft.ts";
import { corners, others } from "./rivals.ts";
import { id, type WordClass, WORDS } from "./vocabulary.ts";

const { day, letter, month, truth } = WORDS;
const [colon, stop, equals, open, close] = [":", ".", "=", "(", ")"].map(id);
const [and, or, xor, not] = ["and", "or", "xor", "not"].map(id);
const [after, before, plus, minus] = ["after", "before", "plus", "minus"].map(id);
const [days, months, letters, shiftWord, by, sortWord, up, down, reverseWord] = [
  "days",
  "months",
  "letters",
  "shift",
  "by",
  "sort",
  "up",
  "down",
  "reverse",
].map(id);

export function patterns(): Family[] {
  return [calendar(), successor(), shift(), sort(), reversal(), boolean()];
}

/** `k unit after w : answer` (phrasing 0) or `w plus k unit : answer` (phrasing 1), and their backward forms. */
function writeStep(
  draft: Draft,
  words: WordClass,
  unit: number,
  start: number,
  step: number,
  width: number,
  back: boolean,
  phrasing: number,
) {
  if (phrasing === 1) {
    draft.put(words.base + start);
    draft.put(back ? minus : plus);
  }
  draft.digits(step, width, 0);
  draft.put(unit);
  if (phrasing === 0) {
    draft.put(back ? before : after);
    draft.put(words.base + start);
  }
  draft.put(colon);
  const moved = (start + (back ? -step : step)) % words.size;
  draft.answer(draft.notes[0] = words.base + (moved + words.size) % words.size);
  draft.put(stop);
}

/** Steps of 1 to 30 days or months. */
function calendar(): ClosedFamily {
  const steps = 30;
  return {
    kind: "closed",
    name: "calendar",
    weight: 1,
    tokens: [8, 8],
    keys: 2 * steps * (day.size + month.size),
    phrasings: 2,
    write(draft, key, phrasing) {
      const start = Math.floor(key / (2 * steps));
      const step = 1 + (key >> 1) % steps;
      const words = start < day.size ? day : month;
      const from = start < day.size ? start : start - day.size;
      draft.notes[1] = start < day.size ? 0 : 1;
      writeStep(draft, words, words === day ? days : months, from, step, 2, (key & 1) === 1, phrasing);
    },
    rivals: (draft, rng, count) => others(rng, draft.notes[1] === 0 ? day : month, draft.notes[0], count),
  };
}

/** Steps of 1 to 9 letters round the alphabet. */
function successor(): ClosedFamily {
  const steps = 9;
  return {
    kind: "closed",
    name: "successor",
    weight: 0.6,
    tokens: [7, 7],
    keys: 2 * steps * letter.size,
    phrasings: 2,
    write(draft, key, phrasing) {
      writeStep(
        draft,
        letter,
        letters,
        Math.floor(key / (2 * steps)),
        1 + (key >> 1) % steps,
        1,
        (key & 1) === 1,
        phrasing,
      );
    },
    rivals: (draft, rng, count) => others(rng, letter, draft.notes[0], count),
  };
}

/** `shift p q r by k : ...`: three letters moved k places round the alphabet. */
function shift(): OpenFamily {
  return {
    kind: "open",
    name: "shift",
    weight: 1.2,
    tokens: [11, 11],
    write(draft, rng) {
      const step = 1 + rng.int(9);
      draft.put(shiftWord);
      for (let i = 0; i < 3; i++) {
        const start = rng.int(letter.size);
        draft.put(letter.base + start);
        draft.notes[i] = (start + step) % letter.size;
      }
      draft.put(by);
      draft.digits(step, 1, 0);
      draft.put(colon);
      for (let i = 0; i < 3; i++) draft.answer(letter.base + draft.notes[i]);
      draft.put(stop);
    },
    rivals(draft, rng, count) {
      const places = rng.choose(3, 2);
      const steps = [nearLetter(rng), nearLetter(rng)];
      return corners(rng, count, (a, b) => {
        const moved = Array.from(draft.notes.subarray(0, 3));
        if (a) moved[places[0]] += steps[0];
        if (b) moved[places[1]] += steps[1];
        return moved.map((value) => letter.base + (value + letter.size) % letter.size);
      });
    },
  };
}

/** `sort up|down p q r s t : ...`: five different letters in order. */
function sort(): OpenFamily {
  const size = 5;
  const picked = new Int32Array(size);
  return {
    kind: "open",
    name: "sort",
    weight: 1.2,
    tokens: [14, 14],
    write(draft, rng) {
      const upward = rng.int(2) === 0;
      draft.put(sortWord);
      draft.put(upward ? up : down);
      distinctLetters(rng, picked);
      for (const value of picked) draft.put(letter.base + value);
      draft.put(colon);
      picked.sort();
      for (let i = 0; i < size; i++) draft.answer(letter.base + (draft.notes[i] = picked[upward ? i : size - 1 - i]));
      draft.put(stop);
      draft.notes[size] = upward ? 1 : -1;
    },
    rivals(draft, rng, count) {
      const places = rng.choose(size, 2);
      const right = Array.from(draft.notes.subarray(0, size));
      const fresh: number[] = [];
      while (fresh.length < 2) {
        // Near in the alphabet, so that a slip of one place is on offer, and never a letter that was there.
        const value = right[places[fresh.length]] + nearLetter(rng) * (1 + rng.int(3));
        if (value >= 0 && value < letter.size && !right.includes(value) && !fresh.includes(value)) fresh.push(value);
        else if (rng.int(8) === 0) fresh.push(...unused(rng, [...right, ...fresh]));
      }
      return corners(rng, count, (a, b) => {
        const values = right.slice();
        if (a) values[places[0]] = fresh[0];
        if (b) values[places[1]] = fresh[1];
        return values.sort((x, y) => (x - y) * draft.notes[size]).map((value) => letter.base + value);
      });
    },
  };
}

/** `reverse p q r s : s r q p`: four different letters. */
function reversal(): OpenFamily {
  const size = 4;
  const picked = new Int32Array(size);
  return {
    kind: "open",
    name: "reversal",
    weight: 0.5,
    tokens: [11, 11],
    write(draft, rng) {
      draft.put(reverseWord);
      distinctLetters(rng, picked);
      for (const value of picked) draft.put(letter.base + value);
      draft.put(colon);
      for (let i = 0; i < size; i++) draft.answer(letter.base + (draft.notes[i] = picked[size - 1 - i]));
      draft.put(stop);
    },
    rivals(draft, rng, count) {
      const places = rng.choose(size, size);
      return corners(rng, count, (a, b) => {
        const values = Array.from(draft.notes.subarray(0, size));
        if (a) [values[places[0]], values[places[1]]] = [values[places[1]], values[places[0]]];
        if (b) [values[places[2]], values[places[3]]] = [values[places[3]], values[places[2]]];
        return values.map((value) => letter.base + value);
      });
    },
  };
}

/** `( p op q ) op r = answer` or `( p op q ) op ( r op s ) = answer` with and, or, xor; every operand may be negated. */
function boolean(): OpenFamily {
  const literal = (draft: Draft, rng: Rng) => {
    const value = rng.int(2);
    const negated = rng.int(2);
    if (negated === 1) draft.put(not);
    draft.put(truth.base + value);
    return value ^ negated;
  };
  const operator = (draft: Draft, rng: Rng) => {
    const kind = rng.int(3);
    draft.put(kind === 0 ? and : kind === 1 ? or : xor);
    return kind;
  };
  const apply = (kind: number, a: number, b: number) => kind === 0 ? a & b : kind === 1 ? a | b : a ^ b;
  const pair = (draft: Draft, rng: Rng) => {
    draft.put(open);
    const a = literal(draft, rng);
    const kind = operator(draft, rng);
    const b = literal(draft, rng);
    draft.put(close);
    return apply(kind, a, b);
  };
  return {
    kind: "open",
    name: "boolean",
    weight: 1,
    tokens: [10, 18],
    write(draft, rng) {
      const left = pair(draft, rng);
      const kind = operator(draft, rng);
      const right = rng.int(2) === 0 ? literal(draft, rng) : pair(draft, rng);
      draft.put(equals);
      draft.answer(truth.base + (draft.notes[0] = apply(kind, left, right)));
      draft.put(stop);
    },
    rivals: (draft) => [[truth.base + 1 - draft.notes[0]]],
  };
}

/** Different random letters (0 ... 25) into `out`; by rejection, since it runs in the training stream. */
function distinctLetters(rng: Rng, out: Int32Array): void {
  for (let i = 0; i < out.length; i++) {
    let value = rng.int(letter.size);
    while (out.lastIndexOf(value, i - 1) >= 0 && i > 0) value = rng.int(letter.size);
    out[i] = value;
  }
}

function nearLetter(rng: Rng): number {
  return rng.int(2) === 0 ? 1 : -1;
}

/** One letter that is not in `taken`. */
function unused(rng: Rng, taken: readonly number[]): number[] {
  const left = Array.from({ length: letter.size }, (_, i) => i).filter((value) => !taken.includes(value));
  return [left[rng.int(left.length)]];
}
