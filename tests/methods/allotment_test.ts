import { assert, assertEquals, assertThrows } from "@std/assert";
import { allotment, checkAllotment, evenOrders, meanOrder } from "../../lib/methods/allotment.ts";
import { salientMask } from "../../lib/methods/daq/fit.ts";
import { matrix } from "../../lib/tensor/matrix.ts";

Deno.test("even orders have the mean that is wanted, as near as whole planes come, and neighbours differ by one at most", () => {
  assertEquals(evenOrders(4, 2), [2, 2, 2, 2]);
  assertEquals(evenOrders(4, 1.5), [1, 2, 1, 2]);
  for (const [count, average] of [[10, 1.7], [7, 2.3], [32, 1.25]]) {
    const orders = evenOrders(count, average), sum = orders.reduce((a, b) => a + b, 0);
    assertEquals([orders.length, sum], [count, Math.floor(count * average + 1e-9)]);
    assert(Math.max(...orders) - Math.min(...orders) <= 1);
  }
});

Deno.test("an allotment is named by what it holds, in whatever order, and planes beyond the form are refused", () => {
  const [a, b] = [allotment({ q: [1, 2], k: [2] }), allotment({ k: [2], q: [1, 2] })];
  assertEquals(a.name, b.name);
  assert(allotment({ q: [2, 1], k: [2] }).name !== a.name);
  assertEquals(meanOrder(a), 5 / 3);
  checkAllotment(a, { method: "daq", most: 2 });
  assertThrows(() => checkAllotment(a, { method: "daq", most: 1 }), RangeError, '"q" is given 2 bits');
});

Deno.test("a weight of a column that nothing spreads is salient, if it is there at all", () => {
  const X = matrix(2, 3, Float32Array.of(1, 1, 1e-3, 1, 1, 0)),
    dor = { sigma: 2, weight: 3, scale: "conditional" } as const;
  assertEquals(Array.from(salientMask(X, Float64Array.of(1, 1, 0), dor)), [0, 0, 1, 0, 0, 0]);
});
