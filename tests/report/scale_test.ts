import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { categoryScale, linearScale, logScale, niceTicks, shortNumber } from "../../lib/report/scale.ts";

const labels = (scale: { ticks: readonly { label: string }[] }) => scale.ticks.map(({ label }) => label);

Deno.test("niceTicks: inside the range, evenly spaced, about as many as asked", () => {
  const value = fc.double({ min: -1e6, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(
      value,
      fc.double({ min: 1e-3, max: 1e6, noNaN: true }),
      fc.integer({ min: 2, max: 12 }),
      (lo, span, count) => {
        const hi = lo + span;
        const ticks = niceTicks(lo, hi, count);
        const slack = 1e-6 * (Math.abs(lo) + span);
        assert(ticks.length >= 1 && ticks.length <= count + 2, `${ticks.length} ticks of ${count}`);
        assert(ticks.every((t) => t >= lo - slack && t <= hi + slack));
        ticks.slice(2).forEach((t, i) => assertAlmostEquals(t - ticks[i + 1], ticks[1] - ticks[0], slack));
      },
    ),
    { seed: 9, numRuns: 500 },
  );
  assertEquals(niceTicks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assertEquals(niceTicks(3, 3, 5), [3]);
});

Deno.test("tick labels share decimals, or share a unit", () => {
  assertEquals(labels(linearScale(0, 0.5, 0, 1, 5)), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
  assertEquals(labels(linearScale(0, 20_000, 0, 1, 8)), [
    "0",
    "2.5k",
    "5k",
    "7.5k",
    "10k",
    "12.5k",
    "15k",
    "17.5k",
    "20k",
  ]);
  assertEquals(labels(linearScale(-4, 4, 0, 1, 4)), ["-4", "-2", "0", "2", "4"]);
  assertEquals([0.00001, 1e20, 0.1 + 0.2, -0].map(shortNumber), ["1e-5", "1e20", "0.3", "0"]);
});

Deno.test("a log scale puts equal ratios at equal distances and refuses what is not positive", () => {
  const scale = logScale(0.01, 100, 0, 400, 5);
  for (const [value, at] of [[0.01, 0], [0.1, 100], [1, 200], [100, 400]]) {
    assertAlmostEquals(scale.map(value), at, 1e-9);
  }
  assert(Number.isNaN(scale.map(0)) && Number.isNaN(scale.map(-1)));
  assertEquals(labels(scale), ["0.01", "0.1", "1", "10", "100"]);
  assertEquals(labels(logScale(1.7, 2.6, 0, 400, 5)).length >= 3, true);
});

Deno.test("a category scale centres each category in its band", () => {
  const scale = categoryScale(["a", 5, "c"], 0, 300);
  assertEquals(["a", "5", "c"].map((c) => scale.map(c)), [50, 150, 250]);
  assertEquals(scale.band, 100);
  assert(Number.isNaN(scale.map("unknown")));
});
