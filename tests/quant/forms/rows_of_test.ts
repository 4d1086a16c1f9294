import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { dequantize } from "../../../lib/quant/forms/decode.ts";
import { rowsOf } from "../../../lib/quant/forms/rows_of.ts";
import { storedLinear } from "../../packed/arbitrary.ts";

Deno.test("rows of a stored matrix, of every form, decode to those rows of it", () => {
  fc.assert(
    fc.property(storedLinear, fc.nat(), fc.nat(), (q, a, b) => {
      const [rows, cols] = q.shape;
      const from = Math.min(a, b) % rows, to = from + 1 + Math.max(a, b) % (rows - from);
      const some = rowsOf(q, { from, to });
      assertEquals(some.shape, [to - from, cols]);
      assertEquals(dequantize(some).data, dequantize(q).data.slice(from * cols, to * cols));
    }),
    { seed: 1, numRuns: 400 },
  );
});

Deno.test("rows that a matrix does not have are refused by name", () => {
  const [q] = fc.sample(storedLinear, { seed: 1, numRuns: 1 });
  const [rows] = q.shape;
  assertThrows(() => rowsOf(q, { from: 0, to: rows + 1 }), RangeError, `of "${q.name}": it has ${rows}`);
  assertThrows(() => rowsOf(q, { from: 1, to: 0 }), RangeError, "Cannot take rows 1 to 0");
});
