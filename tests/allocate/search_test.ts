import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { searchOrders, type SearchStep, type Singles } from "../../lib/allocate/search.ts";
import { rng } from "../../lib/tensor/rng.ts";

const total = (sizes: readonly number[]) => sizes.reduce((sum, size) => sum + size, 0);
const planes = (orders: readonly number[], sizes: readonly number[]) =>
  orders.reduce((sum, k, u) => sum + k * sizes[u], 0);

/** Losses that fall in every order, and in which pairs of neighbours are worth more or less together than alone. */
function fake(sizes: readonly number[], { seed, coupling }: { readonly seed: number; readonly coupling: number }) {
  const random = rng(seed, "fake"), asked = { loss: 0, singles: 0 };
  const weight = sizes.map((size) => size * Math.exp(2 * random.normal()));
  const pair = sizes.map(() => coupling * random.normal());
  const lossOf = (orders: readonly number[]) => {
    const errors = orders.map((k) => 4 ** -k);
    return errors.reduce((sum, e, u) => sum + weight[u] * e * (1 + pair[u] * (errors[u + 1] ?? 0)), 0);
  };
  const loss = (orders: readonly number[]) => {
    asked.loss++;
    return Promise.resolve(lossOf(orders));
  };
  const singles = (orders: readonly number[]): Promise<Singles> => {
    asked.singles++;
    const after = (by: number) => orders.map((k, u) => lossOf(orders.with(u, k + by)));
    return Promise.resolve({ loss: lossOf(orders), down: after(-1), up: after(1) });
  };
  return { lossOf, loss, singles, asked };
}

const cases = fc.record({
  sizes: fc.array(fc.constantFrom(64, 64, 128, 192), { minLength: 1, maxLength: 24 }),
  average: fc.double({ min: 1, max: 3, noNaN: true }),
  seed: fc.integer({ min: 1, max: 1000 }),
  coupling: fc.constantFrom(0, 2),
});

Deno.test("the budget is never passed and no unit that still fits goes without; swaps only lower the loss", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async ({ sizes, average, seed, coupling }) => {
      const { loss, singles, lossOf, asked } = fake(sizes, { seed, coupling });
      const told: SearchStep[] = [], options = { sizes, average, least: 1, most: 3, trials: 12 };
      const found = await searchOrders({ ...options, loss, singles, onStep: (step) => told.push(step) });
      const used = planes(found.orders, sizes), limit = average * total(sizes) + 1e-6;
      assert(used <= limit, `${used} of ${limit}`);
      for (const [u, k] of found.orders.entries()) {
        assert(k >= 1 && k <= 3 && (k === 3 || used + sizes[u] > limit - 1), `${found.orders} of ${sizes}`);
      }
      assertEquals(found.loss, lossOf(found.orders));
      assertEquals(found.steps, told);
      assertEquals(asked.loss, told.length + 1);
      // The last steps are swaps at the average: of those, the accepted ones lower the loss, the refused ones do not.
      let orders: number[] = sizes.map(() => Math.floor(average + 0.5));
      for (const { moves, before, after, accepted, average: mean } of told) {
        assertEquals(before, lossOf(orders));
        const next = [...orders];
        for (const { unit, from, to } of moves) {
          assertEquals([next[unit], Math.abs(to - from)], [from, 1]);
          next[unit] = to;
        }
        assertEquals([after, mean], [lossOf(next), planes(next, sizes) / total(sizes)]);
        const within = planes(orders, sizes) <= limit &&
          sizes.every((s, u) => orders[u] === 3 || planes(orders, sizes) + s > limit);
        assertEquals(accepted, !within || after < before);
        if (accepted) orders = next;
      }
      assertEquals(orders, found.orders);
    }),
    { seed: 1, numRuns: 200 },
  );
});

Deno.test("with units of one size an average of whole units is met exactly, from either side", async () => {
  const sizes = new Array(16).fill(128);
  for (const average of [1, 1.25, 1.5, 1.75, 2, 2.25, 3]) {
    const { loss, singles } = fake(sizes, { seed: 3, coupling: 1 });
    const { orders } = await searchOrders({ sizes, average, least: 1, most: 3, trials: 8, loss, singles });
    assertEquals(planes(orders, sizes), average * total(sizes));
  }
});

Deno.test("where losses add up no swap of two units is left to gain, and the worst unit has most planes", async () => {
  const sizes = new Array(10).fill(64), { lossOf, loss, singles } = fake(sizes, { seed: 5, coupling: 0 });
  const { orders } = await searchOrders({ sizes, average: 2, least: 1, most: 3, trials: 100, loss, singles });
  assert(orders.includes(1) && orders.includes(3));
  for (let up = 0; up < 10; up++) {
    for (let down = 0; down < 10; down++) {
      if (up === down || orders[up] === 3 || orders[down] === 1) continue;
      assert(lossOf(orders.with(up, orders[up] + 1).with(down, orders[down] - 1)) >= lossOf(orders) - 1e-12);
    }
  }
});

Deno.test("a swap that single changes promise and the joint loss refuses is not made", async () => {
  // Alone, each of the two gains when it is raised; together with the other's fall, nothing does.
  const singles = () => Promise.resolve({ loss: 1, down: [1.05, 1.05, 1.05], up: [0.5, 0.9, 0.9] });
  const loss = (orders: readonly number[]) => Promise.resolve(orders.every((k) => k === 2) ? 1 : 2);
  const { orders, steps } = await searchOrders({
    ...{ sizes: [8, 8, 8], average: 2, least: 1, most: 3, trials: 20, loss, singles },
  });
  assertEquals([...orders], [2, 2, 2]);
  assertEquals(new Set(steps.map(({ moves }) => JSON.stringify(moves))).size, steps.length, "a swap was tried twice");
  assert(steps.length === 6 && steps.every(({ accepted }) => !accepted), `${steps.length}`);
});

Deno.test("the same measurements give the same steps; no trials, no swaps", async () => {
  const sizes = [64, 128, 64, 64, 192, 64];
  const run = (trials: number) =>
    searchOrders({ sizes, average: 1.7, least: 1, most: 3, trials, ...fake(sizes, { seed: 9, coupling: 1 }) });
  assertEquals(await run(10), await run(10));
  assert((await run(0)).steps.every(({ accepted }) => accepted));
  assert((await run(10)).loss <= (await run(0)).loss);
});
