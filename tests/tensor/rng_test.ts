import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Rng, rng } from "../../lib/tensor/rng.ts";

const take = (random: Rng, count: number) => Array.from({ length: count }, () => random.int(1000));

Deno.test("rng: the same labels give the same numbers, other labels others", () => {
  assertEquals(take(rng(1, "masks", 3), 20), take(rng(1, "masks", 3), 20));
  const streams = [rng(1), rng("1"), rng(2), rng(1, 0), rng(1, "0"), rng(1, "masks"), rng("1masks"), rng(1.5), rng(-1)];
  assertEquals(new Set(streams.map((random) => take(random, 6).join())).size, streams.length);
});

Deno.test("rng: the numbers never change between versions, since results are named by their seed", () => {
  const random = rng(1, "pinned");
  assertEquals(take(random, 5), [998, 972, 945, 841, 274]);
  assertEquals(random.next(), 0.27031312589049183);
  assertEquals([...random.choose(10, 4)], [9, 4, 6, 3]);
  assertEquals(random.shuffle([0, 1, 2, 3, 4]), [4, 2, 0, 3, 1]);
});

Deno.test("rng: uniform numbers fill [0, 1) evenly and neighbours do not follow each other", () => {
  const random = rng(7, "uniform"), count = 40000, bins = new Array(16).fill(0);
  let mean = 0, lagged = 0, before = 0.5;
  for (let k = 0; k < count; k++) {
    const x = random.next();
    assert(x >= 0 && x < 1);
    bins[Math.floor(16 * x)]++;
    mean += x / count;
    lagged += (x - 0.5) * (before - 0.5) / count;
    before = x;
  }
  // Five standard errors each.
  assert(Math.abs(mean - 0.5) < 5 * Math.sqrt(1 / 12 / count));
  assert(Math.abs(lagged) < 5 / 12 / Math.sqrt(count));
  for (const bin of bins) assert(Math.abs(bin - count / 16) < 5 * Math.sqrt(count / 16));
});

Deno.test("rng: neighbouring streams are independent", () => {
  let product = 0;
  const count = 4000;
  for (let k = 0; k < count; k++) product += (rng(1, k).next() - 0.5) * (rng(1, k + 1).next() - 0.5) / count;
  assert(Math.abs(product) < 5 / 12 / Math.sqrt(count));
});

Deno.test("rng: normal numbers have the moments of a normal", () => {
  const random = rng(7, "normal"), count = 40000, moments = [0, 0, 0, 0];
  for (let k = 0; k < count; k++) {
    const z = random.normal();
    for (let m = 0; m < 4; m++) moments[m] += z ** (m + 1) / count;
  }
  [0, 1, 0, 3].forEach((want, m) => {
    const sigma = Math.sqrt([1, 2, 15, 96][m] / count);
    assert(Math.abs(moments[m] - want) < 5 * sigma, `moment ${m + 1} is ${moments[m]}`);
  });
});

Deno.test("rng: shuffle keeps the items, choose takes distinct ones, both reach every place", () => {
  const random = rng(3, "sets"), seen = new Set<string>();
  for (let k = 0; k < 200; k++) {
    const shuffled = random.shuffle([0, 1, 2]);
    assertEquals([...shuffled].sort(), [0, 1, 2]);
    seen.add(shuffled.join());
    const chosen = random.choose(9, 5);
    assertEquals(new Set(chosen).size, 5);
    assert(chosen.every((c) => c >= 0 && c < 9));
  }
  assertEquals(seen.size, 6);
  assertEquals([...random.choose(4, 4)].sort(), [0, 1, 2, 3]);
  assertEquals(random.choose(4, 0).length, 0);
});

Deno.test("rng: refuses what cannot be drawn", () => {
  const random = rng(1);
  for (const n of [0, -1, 1.5, 2 ** 33, NaN]) assertThrows(() => random.int(n), RangeError);
  assertThrows(() => random.choose(3, 4), RangeError);
});
