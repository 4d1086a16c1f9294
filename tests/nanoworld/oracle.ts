/** What the tests know about NanoWorld by themselves: the split of every table entry, and answers worked out from the words of a statement. */

import { Draft } from "../../lib/nanoworld/draft.ts";
import type { Split } from "../../lib/nanoworld/split.ts";
import { VOCABULARY, WORDS } from "../../lib/nanoworld/vocabulary.ts";
import type { World } from "../../lib/nanoworld/world.ts";

export interface Entry {
  readonly family: string;
  readonly text: string;
  readonly split: Split;
  /** Answer words. */
  readonly answer: readonly string[];
}

/** Every statement of the closed families. */
export function* tableOfEntries(world: World): Generator<Entry> {
  const draft = new Draft();
  for (const family of world.families) {
    if (family.kind !== "closed") continue;
    for (let key = 0; key < family.keys; key++) {
      for (let phrasing = 0; phrasing < family.phrasings; phrasing++) {
        draft.clear();
        family.write(draft, key, phrasing);
        const words = Array.from(draft.tokens.subarray(0, draft.length), (id) => VOCABULARY[id]);
        yield {
          family: family.name,
          text: words.join(" "),
          split: world.splitOfEntry(family.name, key, phrasing),
          answer: words.filter((_, i) => draft.answers[i] === 1),
        };
      }
    }
  }
}

const ALPHABET = "abcdefghijklmnopqrstuvwxyz";
const padded = (value: number, width: number) => [...String(value).padStart(width, "0")].join(" ");

/** The answer of a statement of a family that is computed rather than known; undefined for the others. */
export function expectedAnswer(family: string, text: string): string | undefined {
  const words = text.split(" ");
  const value = (part: string) => Number(part.replaceAll(" ", ""));
  const question = text.slice(0, Math.max(text.indexOf("=") < 0 ? text.indexOf(":") : text.indexOf("="), 0));
  switch (family) {
    case "add2":
    case "add3": {
      const [a, b] = question.split("+").map(value);
      return padded(a + b, family === "add2" ? 3 : 4);
    }
    case "subtract2":
    case "subtract3": {
      const [a, b] = question.split("-").map(value);
      return padded(a - b, family === "subtract2" ? 2 : 3);
    }
    case "multiply": {
      const digits = words.filter((word) => /^\d$/.test(word)).join("");
      return padded(Number(digits.slice(0, 2)) * Number(digits.slice(2, 4)), 3);
    }
    case "multiply_add": {
      const [product, c] = question.split("+");
      const [a, b] = product.split("*").map(value);
      return padded(a * b + value(c), 3);
    }
    case "program": {
      const [, , a, op, b] = words;
      const first = op === "+" ? +a + +b : op === "-" ? +a - +b : +a * +b;
      if (words[1] !== words[7]) throw new Error(`another variable is shown: ${text}`);
      return padded(words[8] === "+" ? first + +words[9] : first - +words[9], 2);
    }
    case "calendar":
    case "successor": {
      const unit = family === "successor" ? "letter" : text.includes("days") ? "day" : "month";
      const list = VOCABULARY.slice(WORDS[unit].base, WORDS[unit].base + WORDS[unit].size);
      const asked = text.slice(0, text.indexOf(":")).split(" ");
      const start = list.indexOf(asked.find((word) => list.includes(word))!);
      const step = Number(asked.filter((word) => /^\d$/.test(word)).join(""));
      const back = asked.includes("before") || asked.includes("minus");
      return list[(start + (back ? -step : step) + 30 * list.length) % list.length];
    }
    case "shift":
      return words.slice(1, 4).map((letter) => ALPHABET[(ALPHABET.indexOf(letter) + Number(words[5])) % 26]).join(" ");
    case "sort": {
      const up = words.slice(2, 7).toSorted();
      return (words[1] === "up" ? up : up.toReversed()).join(" ");
    }
    case "reversal":
      return words.slice(1, 5).toReversed().join(" ");
    case "boolean":
      return String(truth(question));
    default:
      return undefined;
  }
}

/** The value of a boolean expression, by the language's own operators. */
function truth(expression: string): boolean {
  const code = expression.replaceAll("not", "!").replaceAll("and", "&&").replaceAll("xor", "!=").replaceAll(
    /\bor\b/g,
    "||",
  );
  return Boolean(new Function(`return ${code}`)());
}
