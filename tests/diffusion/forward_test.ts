import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { maskExactly, stratifiedCounts } from "../../lib/diffusion/forward.ts";
import { type Rng, rng } from "../../lib/tensor/rng.ts";

Deno.test("stratified counts follow the grid from k, half to even, wrapped", () => {
  const drawing = (value: number) => ({ int: () => value }) as unknown as Rng;
  // k = 4, steps of 5 / 2: 4, 6.5 -> 6 (half to even) -> 1
  assertEquals([...stratifiedCounts(5, 2, drawing(3))], [4, 1]);
  // k = 1, steps of 5 / 2: 1, 3.5 -> 4
  assertEquals([...stratifiedCounts(5, 2, drawing(0))], [1, 4]);
});

Deno.test("stratified counts lie in 1..L and, with b = L, meet every count once", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), fc.nat(), (length, batch, seed) => {
      const counts = stratifiedCounts(length, batch, rng(seed));
      assert(counts.every((n) => n >= 1 && n <= length));
      assertEquals(new Set(stratifiedCounts(length, length, rng(seed))).size, length);
    }),
    { seed: 1 },
  );
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
