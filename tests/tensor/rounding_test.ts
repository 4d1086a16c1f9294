import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { roundHalfEven } from "../../lib/tensor/rounding.ts";

Deno.test("roundHalfEven: ties go to the even neighbour", () => {
  for (let n = -1001; n <= 1001; n++) {
    assertEquals(roundHalfEven(n + 0.5), n % 2 === 0 ? n + 0 : n + 1);
    assertEquals(roundHalfEven(n), n + 0);
  }
  assertEquals(roundHalfEven(0.49999999999999994), 0);
  assertEquals(roundHalfEven(2 ** 52 + 1), 2 ** 52 + 1);
  assertEquals(roundHalfEven(2 ** 51 + 0.5), 2 ** 51);
  assertEquals(roundHalfEven(-Infinity), -Infinity);
  assert(Number.isNaN(roundHalfEven(NaN)));
});

Deno.test("roundHalfEven: an integer, at most half away, odd in x", () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, min: -1e12, max: 1e12 }), (x) => {
      const rounded = roundHalfEven(x);
      assert(Number.isInteger(rounded) && Math.abs(rounded - x) <= 0.5);
      assert(roundHalfEven(-x) === -rounded);
    }),
    { seed: 1 },
  );
});
