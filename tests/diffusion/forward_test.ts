import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { maskExactly, stratifiedCounts } from "../../lib/diffusion/forward.ts";
import { type Rng, rng } from "../../lib/tensor/rng.ts";

/** What `stratifiedCounts` gives for each value of its one random integer, all as likely. */
function outcomes(length: number, batch: number): Int32Array[] {
  let values = 0;
  const given = (value: number) => {
    const int = (n: number) => {
      values = n;
      return value;
    };
    return stratifiedCounts(length, batch, { int } as unknown as Rng);
  };
  given(0);
  return Array.from({ length: values }, (_, value) => given(value));
}

const sizes = [...Array(144).keys()].map((i) => [1 + i % 12, 1 + Math.floor(i / 12)])
  .concat([[64, 4], [31, 7], [7, 31], [2, 50], [128, 3], [5, 128]]);

Deno.test("each stratified count is uniform on 1..L, exactly, for every number of draws", () => {
  for (const [length, batch] of sizes) {
    const all = outcomes(length, batch);
    for (let draw = 0; draw < batch; draw++) {
      const times = new Int32Array(length);
      for (const counts of all) times[counts[draw] - 1]++;
      const equal = new Int32Array(length).fill(all.length / length);
      assertEquals(times, equal, `draw ${draw} of ${batch}, ${length} tokens`);
    }
  }
});

Deno.test("stratified counts cover 1..L: each comes floor(b / L) or ceil(b / L) times, whatever is drawn", () => {
  for (const [length, batch] of sizes) {
    for (const counts of outcomes(length, batch)) {
      assertEquals(counts.length, batch);
      for (let n = 1; n <= length; n++) {
        const times = counts.filter((count) => count === n).length;
        assert(
          times === Math.floor(batch / length) || times === Math.ceil(batch / length),
          `${n} of ${length}: ${times}`,
        );
      }
    }
  }
});

Deno.test("stratified counts are the systematic sample from u", () => {
  for (const [length, batch] of sizes) {
    const all = outcomes(length, batch);
    all.forEach((counts, part) => {
      // u = (2 part + 1) / (2 L b), the middle of its part, in whole numbers: L (u + i / b) has the denominator 2 b.
      const wanted = Int32Array.from(counts, (_, i) => {
        const [numerator, denominator] = [2n * BigInt(part) + 1n + 2n * BigInt(length * i), 2n * BigInt(batch)];
        return 1 + Number(numerator % (BigInt(length) * denominator) / denominator);
      });
      assertEquals(counts, wanted);
    });
  }
});

Deno.test("stratified counts follow the seed, and lengths and numbers out of range are refused", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), fc.nat(), (length, batch, seed) => {
      assertEquals(stratifiedCounts(length, batch, rng(seed)), stratifiedCounts(length, batch, rng(seed)));
    }),
    { seed: 1 },
  );
  const seeds = Array.from({ length: 20 }, (_, seed) => stratifiedCounts(9, 2, rng(seed)).join());
  assert(new Set(seeds).size > 1);
  for (const [length, batch] of [[0, 1], [1, 0], [1.5, 1], [1, NaN]]) {
    assertThrows(() => stratifiedCounts(length, batch, rng(1)), RangeError, "wanted positive integers");
  }
});

Deno.test("exactly the asked number of candidate positions is masked", () => {
  const tokens = Int32Array.from({ length: 30 }, (_, i) => i);
  fc.assert(
    fc.property(fc.nat(20), fc.nat(), (count, seed) => {
      const positions = Int32Array.from({ length: 20 }, (_, i) => 10 + i);
      const masked = maskExactly(tokens, positions, count, 99, rng(seed));
      assertEquals(masked.filter((t) => t === 99).length, count);
      assertEquals(masked.subarray(0, 10), tokens.subarray(0, 10));
    }),
    { seed: 2 },
  );
  assertThrows(() => maskExactly(tokens, [1, 2], 3, 99, rng(0)), RangeError, "0 to 2");
});
