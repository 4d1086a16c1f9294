/** Sums, products and two-line programs, digit by digit; every answer of a family has the same number of digits. */

import type { Rng } from "../tensor/rng.ts";
import type { ClosedFamily, Draft, Family, OpenFamily } from "./draft.ts";
import { corners, nearNumbers, numberTokens } from "./rivals.ts";
import { id, WORDS } from "./vocabulary.ts";

const [plus, minus, times, equals, colon, semicolon, stop] = ["+", "-", "*", "=", ":", ";", "."].map(id);
const [product, timesWord, is, set, show] = ["product", "times", "is", "set", "show"].map(id);

/** Multiplication runs from 2 to 15. */
const FACTORS = 14;

export function arithmetic(): Family[] {
  return [
    sum("add2", 1, 2, plus),
    sum("subtract2", 1, 2, minus),
    sum("add3", 1.2, 3, plus),
    sum("subtract3", 0.8, 3, minus),
    multiplication(),
    multiplyAdd(),
    program(),
  ];
}

/** `a + b = c` or `a - b = c` (a >= b) for numbers of `width` digits; a sum is written with one digit more. */
function sum(name: string, weight: number, width: number, sign: number): OpenFamily {
  const least = 10 ** (width - 1);
  const count = 9 * least;
  const answerWidth = sign === plus ? width + 1 : width;
  const length = 2 * width + answerWidth + 3;
  return {
    kind: "open",
    name,
    weight,
    tokens: [length, length],
    write(draft, rng) {
      const a = least + rng.int(count);
      const b = least + rng.int(count);
      const high = sign === minus && b > a ? b : a;
      const low = high === a ? b : a;
      draft.digits(high, width, 0);
      draft.put(sign);
      draft.digits(low, width, 0);
      draft.put(equals);
      draft.digits(draft.notes[0] = sign === plus ? a + b : high - low, answerWidth, 1);
      draft.put(stop);
    },
    rivals: (draft, rng, wanted) => nearNumbers(rng, draft.notes[0], answerWidth, wanted),
  };
}

function multiplication(): ClosedFamily {
  return {
    kind: "closed",
    name: "multiply",
    weight: 1.2,
    tokens: [10, 10],
    keys: FACTORS * FACTORS,
    phrasings: 3,
    write(draft, key, phrasing) {
      const a = draft.notes[0] = 2 + Math.floor(key / FACTORS);
      const b = draft.notes[1] = 2 + key % FACTORS;
      if (phrasing === 1) draft.put(product);
      draft.digits(a, 2, 0);
      if (phrasing !== 1) draft.put(phrasing === 0 ? times : timesWord);
      draft.digits(b, 2, 0);
      draft.put(phrasing === 0 ? equals : phrasing === 1 ? colon : is);
      draft.digits(a * b, 3, 1);
      draft.put(stop);
    },
    rivals(draft, rng, count) {
      const [a, b] = draft.notes;
      const otherA = a + stepInside(rng, a, 2, 1 + FACTORS);
      const otherB = b + stepInside(rng, b, 2, 1 + FACTORS);
      return corners(rng, count, (first, second) => numberTokens((first ? otherA : a) * (second ? otherB : b), 3));
    },
  };
}

/** `a * b + c = r` with a, b from 2 to 9 and c from 10 to 59. */
function multiplyAdd(): OpenFamily {
  return {
    kind: "open",
    name: "multiply_add",
    weight: 1.2,
    tokens: [11, 11],
    write(draft, rng) {
      const a = draft.notes[0] = 2 + rng.int(8);
      const b = draft.notes[1] = 2 + rng.int(8);
      const c = draft.notes[2] = 10 + rng.int(50);
      draft.digits(a, 1, 0);
      draft.put(times);
      draft.digits(b, 1, 0);
      draft.put(plus);
      draft.digits(c, 2, 0);
      draft.put(equals);
      draft.digits(a * b + c, 3, 1);
      draft.put(stop);
    },
    rivals(draft, rng, count) {
      const [a, b, c] = draft.notes;
      const otherB = b + stepInside(rng, b, 2, 9);
      const size = rng.int(2) === 0 ? 1 : 10;
      const otherC = c + size * stepInside(rng, c, 9 + size, 60 - size);
      return corners(rng, count, (first, second) => numberTokens(a * (first ? otherB : b) + (second ? otherC : c), 3));
    },
  };
}

/** `set x a op b ; show x op c : r`: the first operation is a sum, a difference or a product, the second a sum or a difference. */
function program(): OpenFamily {
  return {
    kind: "open",
    name: "program",
    weight: 1.5,
    tokens: [14, 14],
    write(draft, rng) {
      const sign = [plus, minus, times][rng.int(3)];
      const x = rng.int(10);
      const y = rng.int(10);
      const a = sign === minus && y > x ? y : x;
      const b = a === x ? y : x;
      const first = sign === plus ? a + b : sign === minus ? a - b : a * b;
      const c = rng.int(10);
      const adds = first < c || rng.int(2) === 0;
      const variable = WORDS.letter.base + 23 + rng.int(3);
      draft.put(set);
      draft.put(variable);
      draft.digits(a, 1, 0);
      draft.put(sign);
      draft.digits(b, 1, 0);
      draft.put(semicolon);
      draft.put(show);
      draft.put(variable);
      draft.put(adds ? plus : minus);
      draft.digits(c, 1, 0);
      draft.put(colon);
      draft.digits(draft.notes[0] = adds ? first + c : first - c, 2, 1);
      draft.put(stop);
    },
    rivals: (draft: Draft, rng: Rng, wanted: number) => nearNumbers(rng, draft.notes[0], 2, wanted),
  };
}

/** +1 or -1 such that `value` stays in low ... high. */
function stepInside(rng: Rng, value: number, low: number, high: number): number {
  if (value <= low) return 1;
  if (value >= high) return -1;
  return rng.int(2) === 0 ? 1 : -1;
}
