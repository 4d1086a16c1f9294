import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { simulateMasks, visible } from "../../lib/diffusion/mcs.ts";

const MASK = 999;
const corpusOf = (count: number, length: number) => ({
  windows: Array.from({ length: count }, (_, i) => Int32Array.from({ length }, (_, p) => (7 * i + p) % 500)),
});

Deno.test("official form: one timestep per window on the grid, prefix untouched, last suffix fully masked", () => {
  const corpus = corpusOf(128, 400);
  const masked = simulateMasks(corpus, { maskId: MASK, seed: 0 });
  assertEquals(masked.name, "mcs-g0.25");
  assertEquals(masked.windows.length, 128);
  let hidden = 0;
  masked.windows.forEach((w, i) => {
    assertEquals(masked.timesteps[i], (i + 1) / 128);
    assertEquals(w.subarray(0, 100), corpus.windows[i].subarray(0, 100));
    w.subarray(100).forEach((token, p) => {
      if (token === MASK) hidden++;
      else assertEquals(token, corpus.windows[i][100 + p]);
    });
  });
  assert(masked.windows[127].subarray(100).every((token) => token === MASK));
  // (N + 1) / 2N = .5039; the standard deviation of the mean is .0021 here.
  const rate = hidden / (128 * 300);
  assert(Math.abs(rate - 0.5039) < 0.008, `mean suffix rate ${rate}`);
});

Deno.test("paper form: S stratified timesteps per window", () => {
  const masked = simulateMasks(corpusOf(5, 32), { maskId: MASK, seed: 3, timesteps: 4, prefix: 0.5 });
  assertEquals(masked.name, "mcs-s4-g0.5");
  assertEquals(masked.windows.length, 20);
  masked.timesteps.forEach((t, n) => assert(t > (n % 4) / 4 && t <= (n % 4 + 1) / 4));
  assertEquals(
    simulateMasks(corpusOf(1, 8), { maskId: 1, seed: 1, timesteps: 2, sampling: "uniform" }).name,
    "mcs-s2u-g0.25",
  );
});

Deno.test("the same seed gives the same masks, another seed others, and windows do not depend on each other", () => {
  const corpus = corpusOf(8, 64);
  const a = simulateMasks(corpus, { maskId: MASK, seed: 1, timesteps: 2 });
  assertEquals(simulateMasks(corpus, { maskId: MASK, seed: 1, timesteps: 2 }), a);
  assert(
    simulateMasks(corpus, { maskId: MASK, seed: 2, timesteps: 2 }).windows.some((w, i) => `${w}` !== `${a.windows[i]}`),
  );
  const first = simulateMasks({ windows: corpus.windows.slice(0, 3) }, { maskId: MASK, seed: 1, timesteps: 2 });
  assertEquals(first.windows, a.windows.slice(0, 6));
});

Deno.test("any prefix and length: the corpus is left alone and only the suffix is masked", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 1, max: 40 }), (prefix, length) => {
      const corpus = corpusOf(3, length);
      const before = corpus.windows.map((w) => Int32Array.from(w));
      const { windows } = simulateMasks(corpus, { maskId: MASK, seed: 4, prefix });
      assertEquals(corpus.windows, before);
      const kept = Math.floor(prefix * length);
      windows.forEach((w, i) => assertEquals(w.subarray(0, kept), before[i].subarray(0, kept)));
      assert(windows[2].subarray(kept).every((token) => token === MASK));
    }),
    { seed: 5, numRuns: 50 },
  );
});

Deno.test("visible masks nothing", () => {
  const corpus = corpusOf(3, 10);
  assertEquals(visible(corpus), { name: "visible", windows: corpus.windows, timesteps: [0, 0, 0] });
});

Deno.test("wrong options are refused", () => {
  const corpus = corpusOf(1, 4);
  assertThrows(() => simulateMasks(corpus, { maskId: 1, seed: 0, prefix: 1.5 }), RangeError, "prefix 1.5");
  assertThrows(() => simulateMasks(corpus, { maskId: 1, seed: 0, timesteps: 0 }), RangeError, "0 timesteps");
  assertThrows(() => simulateMasks({ windows: [] }, { maskId: 1, seed: 0 }), RangeError, "no windows");
});
