import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Calibration, simulateMasks, visible } from "../../lib/diffusion/mcs.ts";
import { mix } from "../../lib/diffusion/mix.ts";
import { maskResponses } from "../../lib/diffusion/responses.ts";

const MASK = 999;
const windowsOf = (count: number, length: number) =>
  Array.from({ length: count }, (_, i) => Int32Array.from({ length }, (_, p) => (7 * i + p) % 500));
const masked = (window: Int32Array) => [...window.keys()].filter((p) => window[p] === MASK);

Deno.test("answers are masked as a whole and nothing else", () => {
  const windows = windowsOf(300, 20);
  // Two answers, of three tokens and of one, at places of their own in every window.
  const starts = windows.map((_, i) => [1 + i % 5, 12 + i % 7]);
  const answers = starts.map(([a, b]) =>
    Uint8Array.from({ length: 20 }, (_, p) => Number((p >= a && p < a + 3) || p === b))
  );
  const found = maskResponses({ windows, answers }, { maskId: MASK, seed: 1 });
  assertEquals(found.name, "responses");
  const counts = [0, 0];
  found.windows.forEach((window, i) => {
    const [a, b] = starts[i], at = masked(window);
    const [first, second] = [at.includes(a), at.includes(b)];
    assertEquals(at, [...first ? [a, a + 1, a + 2] : [], ...second ? [b] : []]);
    assert(at.length > 0);
    assertEquals(found.timesteps[i], at.length / 20);
    window.forEach((token, p) => assert(token === MASK || token === windows[i][p]));
    counts[0] += Number(first);
    counts[1] += Number(second);
  });
  // Each with 3/4, and one of them where neither was drawn: 3/4 + 1/32 of 300, with a standard deviation of 7.2.
  for (const count of counts) assert(Math.abs(count - 234) < 29, `${counts}`);
});

Deno.test("without marks a span of each window is masked; the first position stays where logits are shifted", () => {
  const windows = windowsOf(200, 9);
  const found = maskResponses({ windows }, { maskId: MASK, seed: 2, firstPredicted: 1 });
  assertEquals(found.name, "spans");
  const lengths = new Set<number>();
  for (const window of found.windows) {
    const at = masked(window);
    assertEquals(at.at(-1)! - at[0] + 1, at.length);
    assert(at[0] >= 1);
    lengths.add(at.length);
  }
  assertEquals(lengths.size, 8);
  const again = maskResponses({ windows }, { maskId: MASK, seed: 2, firstPredicted: 1 });
  assertEquals(again, found);
  assert(maskResponses({ windows }, { maskId: MASK, seed: 3 }).windows.some((w, i) => w[0] !== found.windows[i][0]));
  assertThrows(() => maskResponses({ windows: [] }, { maskId: MASK, seed: 1 }), RangeError, "no windows");
});

Deno.test("a mixture holds its parts by their shares, everywhere, each window in one of them", () => {
  const corpus = { windows: windowsOf(128, 16) }, options = { maskId: MASK, seed: 1 };
  const mcs = simulateMasks(corpus, options), spans = maskResponses(corpus, options), plain = visible(corpus);
  const half = mix([[0.5, mcs], [0.5, spans]]);
  assertEquals(half.name, "mix(0.5 mcs-g0.25, 0.5 spans)");
  const from = (c: Calibration, p: number) => half.windows[p] === c.windows[p] && half.timesteps[p] === c.timesteps[p];
  const places = half.windows.map((_, p) => from(mcs, p));
  half.windows.forEach((_, p) => assert(places[p] !== from(spans, p)));
  for (let p = 0; p < 128; p += 2) assert(places[p] !== places[p + 1], `both of ${p} and ${p + 1} are of one kind`);
  // The grid of timesteps of the half that is MCS is still even: no gap above two steps of the pairs.
  const grid = mcs.timesteps.filter((_, p) => places[p]);
  grid.slice(1).forEach((t, i) => assert(t - grid[i] <= 3 / 128));
  assertEquals(half.weights, undefined);

  const three = mix([[0.25, mcs], [0.125, plain], [0.625, spans]]);
  const counted = (c: Calibration) => three.windows.filter((w, p) => w === c.windows[p]).length;
  assertEquals([counted(mcs), counted(plain), counted(spans)], [32, 16, 80]);
});

Deno.test("of two copies of each window a half takes both as often", () => {
  const corpus = { windows: windowsOf(64, 16) };
  const copies = simulateMasks(corpus, { maskId: MASK, seed: 1, timesteps: 2 });
  const half = mix([[0.5, copies], [0.5, visible({ windows: copies.windows.map((w) => w.slice()) })]]);
  const early = half.timesteps.filter((t) => t > 0 && t <= 0.5).length, late = half.timesteps.filter((t) => t > 0.5);
  assertEquals([early, late.length], [32, 32]);
});

Deno.test("weights of a part go along, and those of the others are one", () => {
  const corpus = { windows: windowsOf(4, 3) };
  const plain = visible(corpus);
  const heavy = { ...visible(corpus), name: "heavy", weights: corpus.windows.map(() => Float32Array.of(2, 3, 4)) };
  const ones = [1, 1, 1], own = [2, 3, 4];
  assertEquals(mix([[0.5, plain], [0.5, heavy]]).weights!.map((w) => [...w]), [ones, own, own, ones]);
  assertEquals(mix([[1, heavy]]), { ...heavy, name: "mix(1 heavy)" });
});

Deno.test("what cannot be mixed is refused", () => {
  const part = visible({ windows: windowsOf(4, 3) }), short = visible({ windows: windowsOf(3, 3) });
  assertThrows(() => mix([]), RangeError, "there are none");
  assertThrows(() => mix([[0.5, part], [0.4, part]]), RangeError, "wanted a sum of one");
  assertThrows(() => mix([[1.5, part], [-0.5, part]]), RangeError, "share of -0.5");
  assertThrows(() => mix([[NaN, part]]), RangeError, "share of NaN");
  assertThrows(() => mix([[0.5, part], [0.5, short]]), RangeError, "3 windows");
  assertThrows(() => mix([[1, { ...part, inverseNorm: true }]]), TypeError, "mix first");
});
