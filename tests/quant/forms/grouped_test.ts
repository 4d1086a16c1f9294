import { assertEquals, assertThrows } from "@std/assert";
import { groupOf } from "../../../lib/quant/forms/grouped.ts";
import type { QuantizedLinear } from "../../../lib/quant/method.ts";

Deno.test("columns per group are a positive integer, and nothing that only looks like one", () => {
  const of = (group: string | number | boolean): QuantizedLinear => ({
    ...{ name: "up", format: "levels", shape: [1, 4], tensors: {}, report: {} },
    config: { group },
  });
  assertEquals([groupOf(of(1)), groupOf(of(128))], [1, 128]);
  for (const group of [0, -4, 1.5, NaN, Infinity, "4", true]) {
    assertThrows(() => groupOf(of(group)), RangeError, `"up": group is ${group}`);
  }
});
