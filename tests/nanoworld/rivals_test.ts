import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { corners, nearNumbers, numberTokens, others } from "../../lib/nanoworld/rivals.ts";
import { WORDS } from "../../lib/nanoworld/vocabulary.ts";
import { rng } from "../../lib/tensor/rng.ts";

const seeded = { seed: 20, numRuns: 300 };
const valueOf = (tokens: number[]) => Number(tokens.map((id) => id - WORDS.digit.base).join(""));

Deno.test("near numbers differ, keep their width and form a square round no one in particular", () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 2, max: 4 }), fc.nat(), (seed, width, any) => {
      const answer = any % 10 ** width;
      const rivals = nearNumbers(rng(seed), answer, width, 3);
      assert(
        rivals.every((tokens) =>
          tokens.length === width && tokens.every((id) => id >= WORDS.digit.base && id < WORDS.digit.base + 10)
        ),
      );
      const values = rivals.map(valueOf);
      assertEquals(new Set([answer, ...values]).size, 4);
      assertEquals(answer + values[2], values[0] + values[1]);
    }),
    seeded,
  );
});

Deno.test("others are of the class, differ, and every one comes up", () => {
  const seen = new Set<number>();
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const picked = others(rng(seed), WORDS.tool, WORDS.tool.base + 5, 3).flat();
      assertEquals(new Set([WORDS.tool.base + 5, ...picked]).size, 4);
      picked.forEach((id) => seen.add(id));
    }),
    seeded,
  );
  assertEquals(
    [...seen].sort((a, b) => a - b),
    Array.from({ length: 16 }, (_, i) => WORDS.tool.base + i).toSpliced(5, 1),
  );
});

Deno.test("numbers are written with leading zeros, and only squares have corners", () => {
  assertEquals(valueOf(numberTokens(42, 4)), 42);
  assertEquals(numberTokens(42, 4).length, 4);
  assertThrows(() => corners(rng(1), 2, () => 0), RangeError, "2 corners");
});
