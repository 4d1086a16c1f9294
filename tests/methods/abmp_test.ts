import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { abmp, allocate, allocateAcross, allocateByLoss, blockScores, expectedLosses } from "../../lib/methods/abmp.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { blockOrders } from "../../lib/quant/forms/grouped.ts";
import { layer } from "../layers.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";

const count = (orders: number[], k: number) => orders.filter((order) => order === k).length;
const mean = (orders: number[]) => orders.reduce((a, b) => a + b, 0) / orders.length;
const scoresOf = fc.array(fc.double({ min: 0.01, max: 100, noNaN: true }), { minLength: 1, maxLength: 40 });

Deno.test("the mean is exact and as many blocks lose a plane as gain one, gated or not", () => {
  fc.assert(
    fc.property(scoresOf, fc.double({ min: 0, max: 0.5, noNaN: true }), fc.boolean(), (scores, ratio, gated) => {
      const orders = allocate(scores, abmp({ ratio, gate: gated && "scores" }));
      assertEquals(mean(orders), 2);
      assertEquals(count(orders, 1), count(orders, 3));
      assert(orders.every((k) => k >= 1 && k <= 3));
      if (!gated) assertEquals(count(orders, 3), Math.floor(ratio * scores.length + 1e-9));
    }),
    { seed: 1 },
  );
});

Deno.test("official ranking: truncated counts, ties to the later block for three planes", () => {
  assertEquals(allocate([4, 1, 2, 3], abmp({ ratio: 0.25 })), [3, 1, 2, 2]);
  assertEquals(allocate([1, 1, 1, 1], abmp({ ratio: 0.25 })), [1, 2, 2, 3]);
  // LLaDA: 5 % of 32 blocks is one, of 96 blocks four.
  assertEquals(count(allocate(new Array(32).fill(1), abmp()), 3), 1);
  assertEquals(count(allocate(new Array(96).fill(1), abmp()), 3), 4);
});

Deno.test("gated by scores: a swap is made exactly where the scores differ by more than a factor of 2.96", () => {
  assertEquals(allocate([1, 2.9], abmp({ gate: "scores" })), [2, 2]);
  assertEquals(allocate([1, 3.0], abmp({ gate: "scores" })), [1, 3]);
});

Deno.test("gated allocations never raise the predicted loss, and no allowed single swap would lower it further", () => {
  fc.assert(
    fc.property(scoresOf, (scores) => {
      const losses = expectedLosses(scores);
      const total = (orders: number[]) => orders.reduce((sum, k, b) => sum + losses[b][k], 0);
      const orders = allocateByLoss(losses, abmp({ gate: true }));
      const least = total(orders);
      assert(least <= total(orders.map(() => 2)) + 1e-9);
      for (let up = 0; up < orders.length; up++) {
        for (let down = 0; down < orders.length; down++) {
          if (up === down || orders[up] !== 2 || orders[down] !== 2) continue;
          const swapped = orders.with(up, 3).with(down, 1);
          assert(total(swapped) >= least - 1e-9);
        }
      }
    }),
    { seed: 2, numRuns: 50 },
  );
});

Deno.test("a fractional average is met from below by whole blocks, the highest scores first", () => {
  assertEquals(allocate([1, 4, 2, 3], abmp({ average: 2.5, ratio: 0 })), [2, 3, 2, 3]);
  assertEquals(mean(allocate([1, 2, 3, 4, 5], abmp({ average: 1.5, ratio: 0 }))), 1.4);
});

Deno.test("by loss, a fractional average is met by whole blocks, those that gain most", () => {
  const losses = [1, 4, 2, 3].map((s) => [8 * s, 4 * s, 2 * s, s, s / 2]);
  assertEquals(allocateByLoss(losses, abmp({ average: 2.5, ratio: 0 })), [2, 3, 2, 3]);
  assertEquals(allocateByLoss(losses, abmp({ average: 2.25, ratio: 0 })), [2, 3, 2, 2]);
});

Deno.test("across linears: one ranking per block size, mean exact over all weights", () => {
  fc.assert(
    fc.property(scoresOf, scoresOf, (a, b) => {
      const linears = {
        a: { scores: a, sizes: a.map(() => 64) },
        b: { scores: b, sizes: b.map((_, i) => i % 2 === 0 ? 64 : 32) },
      };
      const orders = allocateAcross(linears, abmp({ ratio: 0.25, scope: "model" }));
      let planes = 0, weights = 0;
      for (const name of ["a", "b"] as const) {
        orders[name].forEach((k, i) => {
          planes += k * linears[name].sizes[i];
          weights += linears[name].sizes[i];
        });
      }
      assertEquals(planes, 2 * weights);
    }),
    { seed: 3 },
  );
  const { low, high } = allocateAcross({
    low: { scores: [1, 2], sizes: [8, 8] },
    high: { scores: [30, 40], sizes: [8, 8] },
  }, abmp({ ratio: 0.5, scope: "model" }));
  assertEquals([low, high], [[1, 1], [3, 3]]);
});

Deno.test("scores are W² / U_jj² summed over a block, the short last one included", () => {
  const W = matrix(2, 3, Float32Array.of(1, 2, 3, 4, 5, 6));
  const U = matrix64(3, 3, Float64Array.of(1, 9, 9, 0, 2, 9, 0, 0, 4));
  assertEquals([...blockScores(W, U, { group: 2 })], [17 + 29 / 4, 45 / 16]);
});

Deno.test("names are canonical and wrong options are refused", () => {
  assertEquals(abmp().name, "abmp2-r0.05");
  assertEquals(abmp({ gate: true, scope: "model" }).name, "abmp2-r0.5-measured-model");
  assertThrows(() => abmp({ ratio: 0.6 }), RangeError, "0 to 0.5");
  assertThrows(() => abmp({ average: 1.5 }), RangeError, "wanted 2 to 3");
  assertThrows(() => abmp({ average: 5 }), RangeError, "1 to 4");
});

Deno.test("a measured gate may take one plane more or less than the mean, and does where that is worth it", async () => {
  // The first group alone carries what is read: a third plane there is worth more than the second one of the last.
  const { name, W, H } = layer(24, 16, 4);
  for (let i = 0; i < 16; i++) {
    for (let j = 0; j < 16; j++) H.data[i * 16 + j] *= (i < 8 ? 10 : 0.1) * (j < 8 ? 10 : 0.1);
  }
  for (const average of [2, 3]) {
    const q = await daq({ bits: abmp({ average, ratio: 0.5, gate: "measured" }), group: 8, profile: "plus" })
      .quantize({ name, W, H });
    assertEquals(blockOrders(q), [average + 1, average - 1]);
  }
});
