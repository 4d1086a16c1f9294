import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { crossedMean, errorOf } from "../../lib/evaluate/variance.ts";
import { VARIANCE } from "../tolerances.ts";

const near = (found: number | undefined, wanted: number, size = 1) =>
  assert(Math.abs(found! - wanted) <= VARIANCE * size, `${found}, wanted ${wanted}`);

/** Integers, so that sums in any order are equal, as tasks[t][s][i]. */
const matrices = fc.tuple(
  fc.integer({ min: 2, max: 6 }),
  fc.array(fc.integer({ min: 2, max: 7 }), { minLength: 1, maxLength: 3 }),
)
  .chain(([seeds, sizes]) =>
    fc.tuple(
      ...sizes.map((n) =>
        fc.array(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: n, maxLength: n }), {
          minLength: seeds,
          maxLength: seeds,
        })
      ),
    )
  );

Deno.test("crossed mean: a worked table of three seeds and four items", () => {
  // Row means 4, 5, 9; column means 4, 6, 6, 8; grand mean 6. MS_seed = 4 (4 + 1 + 9) / 2 = 28, MS_item = 3 (4 + 4) / 3 = 8,
  // MS_rest = 10 / 6 from the residuals 1 -2 1 0 / 0 1 -1 0 / -1 1 0 0.
  const table = [[3, 2, 5, 6], [3, 6, 4, 7], [6, 10, 9, 11]];
  const { mean, standardError, degrees, n, seeds, variances } = crossedMean([table]);
  assertEquals([mean, n, seeds], [6, 4, 3]);
  const rest = 10 / 6;
  near(variances.tasks[0].rest, rest);
  near(variances.tasks[0].item, (8 - rest) / 3);
  near(variances.seed, (28 - rest) / 4);
  near(standardError ** 2, (28 + 8 - rest) / 12);
  near(degrees, (28 + 8 - rest) ** 2 / (28 ** 2 / 2 + 8 ** 2 / 3 + rest ** 2 / 6), 10);
});

Deno.test("crossed mean: the error is never below that of the seeds' means or of the items' means alone", () => {
  const variance = (x: readonly number[]) => {
    const mean = x.reduce((a, b) => a + b, 0) / x.length;
    return x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (x.length - 1);
  };
  const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
  fc.assert(
    fc.property(matrices, (tasks) => {
      const { standardError, degrees, mean: found } = crossedMean(tasks);
      const seedMeans = tasks[0].map((_, s) => mean(tasks.map((task) => mean(task[s]))));
      const items = tasks.map((task) =>
        variance(task[0].map((_, i) => mean(task.map((row) => row[i])))) / task[0].length
      );
      const bySeed = variance(seedMeans) / seedMeans.length;
      const byItem = items.reduce((a, b) => a + b, 0) / tasks.length ** 2;
      near(found, mean(seedMeans), 10);
      assert(standardError ** 2 >= Math.max(bySeed, byItem) - 1e-9, `${standardError ** 2}: ${bySeed}, ${byItem}`);
      assert(standardError ** 2 <= bySeed + byItem + 1e-9);
      assert(degrees > 0 && Number.isFinite(degrees));
    }),
    { seed: 3, numRuns: 500 },
  );
});

Deno.test("crossed mean: order, sign, shift and scale do what they must", () => {
  fc.assert(
    fc.property(matrices, (tasks) => {
      const own = crossedMean(tasks);
      const turned = crossedMean(tasks.map((task) => task.map((row) => row.toReversed()).toReversed()).toReversed());
      const scaled = crossedMean(tasks.map((task) => task.map((row) => row.map((y) => 5 - 2 * y))));
      near(turned.mean, own.mean, 10);
      near(turned.standardError, own.standardError, 1e4);
      near(scaled.mean, 5 - 2 * own.mean, 100);
      near(scaled.standardError, 2 * own.standardError, 1e4);
    }),
    { seed: 4, numRuns: 200 },
  );
});

Deno.test("crossed mean: seeds that see the same items do not multiply them, and a seed moves all tasks together", () => {
  const row = [0, 1, 1, 0, 1, 1, 1, 0];
  const once = crossedMean([[row]]), often = crossedMean([[row, row, row, row, row]]);
  near(often.standardError, once.standardError);
  near(once.standardError ** 2, 15 / 8 / 7 / 8);
  assertEquals([often.n, often.seeds, often.degrees], [8, 5, 7]);
  // Seeds shift two tasks alike: the mean over both is as uncertain as one of them.
  const shifts = [0, 3, -2, 5, 4];
  const shifted = shifts.map((shift) => [shift, shift]);
  near(crossedMean([shifted, shifted]).standardError, crossedMean([shifted]).standardError);
  assertEquals(crossedMean([shifted, shifted]).degrees, 4);
  // Opposite shifts cancel in the mean.
  near(crossedMean([shifted, shifted.map((r) => r.map((y) => -y))]).standardError, 0);
});

Deno.test("crossed mean: one seed leaves the seeds' part unknown, a seedless arm has none", () => {
  const table = [[1, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]];
  const one = crossedMean(table.slice(0, 1).map((row) => [row]));
  assertEquals(one.variances.seed, undefined);
  assertEquals(one.degrees, 3);
  const seedless = crossedMean([table], { seedless: true });
  assertEquals(seedless.variances.seed, 0);
  const byItem = [2 / 3, 1 / 3, 1, 1];
  near(seedless.standardError ** 2, byItem.reduce((sum, y) => sum + (y - 0.75) ** 2, 0) / 3 / 4);
  assert(crossedMean([table]).standardError > seedless.standardError);
});

Deno.test("crossed mean: n answers that agree are not taken for certain", () => {
  const row = Array<number>(299).fill(1);
  assertEquals(crossedMean([[row]]).standardError, 0);
  // As if a three hundredth item had differed.
  near(crossedMean([[row]], { step: 1 }).standardError, Math.sqrt(1 / 300 / 299));
  // One that differs is seen and needs no such care.
  const seen = [0, ...row];
  assertEquals(crossedMean([[seen]], { step: 1 }), crossedMean([[seen]]));
});

Deno.test("crossed mean: variances foretell the error of other numbers of seeds and items", () => {
  const variances = { seed: 0.03, tasks: [{ n: 50, item: 0.5, rest: 2 }, { n: 100, item: 0.2, rest: 1 }] };
  const { variance } = errorOf(variances, { seeds: 4, seedless: false });
  near(variance, 0.03 / 4 + (0.5 / 50 + 2 / 200 + 0.2 / 100 + 1 / 400) / 4);
  near(errorOf(variances, { seeds: 4, seedless: true }).variance, variance - 0.03 / 4);
});

Deno.test("crossed mean: what does not fit together is refused", () => {
  const bad: [number[][][], string][] = [
    [[], "no tasks"],
    [[[]], "0 seeds"],
    [[[[1, 2]], [[1, 2], [3, 4]]], "task 1: it has 2 seeds"],
    [[[[1]]], "1 items, wanted at least 2"],
    [[[[1, 2], [1, 2, 3]]], "2 and 3 items"],
    [[[[1, NaN]]], "outcome 1 is NaN"],
  ];
  for (const [tasks, message] of bad) assertThrows(() => crossedMean(tasks), RangeError, message);
});
