/** The authors' likelihood estimators: their masks, the losses of given masks, and what they are on average. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { choose, dreamLikelihood, lladaLikelihood, optionEstimates } from "../../lib/harness/likelihood/choose.ts";
import { dreamMasks, lladaCounts, lladaMasks, maskedLosses } from "../../lib/harness/likelihood/masks.ts";
import { encodeDreamPair, encodePair } from "../../lib/harness/likelihood/pairs.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { contextual, fake, logOdds, logProbability, marginals, shiftedFake } from "../evaluate/fakes.ts";
import { python, pythonPrints } from "./python.ts";

const random = (seed: number) => (repeat: number, row = -1) => rng(seed, repeat, row);
const ids = (...values: number[]) => Int32Array.from(values);
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;

/** A token per letter a..i, and white space as a token of its own that takes the next letter along, as byte-level vocabularies do. */
const letters = {
  encode: (text: string) =>
    Int32Array.from(text.match(/\s?[a-i]|\s/g) ?? [], (t) => t.trim() ? t.trim().charCodeAt(0) - 97 : 8),
  decode: () => "",
};

Deno.test("white space that ends the context goes to the continuation, and the target is the rest of the joint tokens", () => {
  assertEquals(encodePair(letters, "ab ", "c"), { context: ids(0, 1), target: ids(2) });
  assertEquals(encodePair(letters, "ab", " cd"), { context: ids(0, 1), target: ids(2, 3) });
  assertEquals(encodePair(letters, "", "cd"), { context: ids(), target: ids(2, 3) });
  assertEquals(encodePair(letters, "  ", "c"), { context: ids(), target: ids(8, 2) });
  assertThrows(() => encodePair(letters, "ab", ""), RangeError, "no token of its own");
  const ends = { bos: "i", eos: 7, maxLength: 99 };
  assertEquals(encodeDreamPair(letters, "ab ", "c", ends), { context: ids(8, 0, 1), target: ids(2, 7) });
  assertEquals(encodeDreamPair(letters, "ab", " cd", { ...ends, maxLength: 4 }), {
    context: ids(1),
    target: ids(2, 3, 7),
  });
  assertEquals(encodeDreamPair(letters, "ab", " cd", { ...ends, maxLength: 2 }), { context: ids(), target: ids(3, 7) });
  assertThrows(() => encodeDreamPair(letters, "ab", "", ends), RangeError, "no token of its own");
});

// Printed by Python 3.11.2: [((round(k + i * L / b) - 1) % L) + 1 for i in range(b)], with Python's round, half to even.
const counts: readonly (readonly [length: number, batch: number, first: number, number[]])[] = [
  [2, 8, 1, [1, 1, 2, 2, 2, 2, 2, 1]],
  [3, 4, 3, [3, 1, 1, 2]],
  [5, 8, 4, [4, 5, 5, 1, 1, 2, 3, 3]],
  [7, 3, 7, [7, 2, 5]],
  [1, 4, 1, [1, 1, 1, 1]],
];

Deno.test("LLaDA's counts of masks: the grid from k on, rounded half to even and wrapped", () => {
  for (const [length, batch, first, expected] of counts) {
    assertEquals([...lladaCounts(length, batch, first)], expected, `${length} ${batch} ${first}`);
  }
});

if (!python) console.log("SKIPPED mask counts against Python: install python3");
Deno.test({
  name: "and for many lengths, as Python computes them",
  ignore: !python,
  fn() {
    const theirs = pythonPrints(
      "import json; print(json.dumps([[((round(k + i * L / b) - 1) % L) + 1 for i in range(b)] " +
        "for L in range(1, 40) for b in (1, 4, 8, 32) for k in (1, (L + 1) // 2, L)]))",
    );
    const ours = Array.from({ length: 39 }, (_, i) => i + 1).flatMap((length) =>
      [1, 4, 8, 32].flatMap((b) => [1, Math.floor((length + 1) / 2), length].map((k) => [...lladaCounts(length, b, k)]))
    );
    assertEquals(ours, theirs);
  },
});

Deno.test("LLaDA masks exactly as many tokens as counted, anywhere in the target, k once per batch", () => {
  const { positions, p } = lladaMasks(5, { draws: 16, batch: 8, random: random(3) });
  assertEquals(positions.length, 16);
  positions.forEach((row, i) => {
    assertEquals(new Set(row).size, row.length);
    assert(row.every((at) => at >= 0 && at < 5));
    assertEquals(p[i], row.length / 5);
  });
  for (const start of [0, 8]) {
    const own = positions.slice(start, start + 8).map((row) => row.length);
    assert([1, 2, 3, 4, 5].some((k) => own.join() === lladaCounts(5, 8, k).join()), own.join());
  }
  const firsts = Array.from(
    { length: 400 },
    (_, s) => lladaMasks(4, { draws: 1, batch: 1, random: random(s) }).positions[0],
  );
  for (const count of [1, 2, 3, 4]) assert(Math.abs(firsts.filter((f) => f.length === count).length - 100) < 40);
  for (const at of [0, 1, 2, 3]) assert(Math.abs(firsts.filter((f) => f.includes(at)).length - 250) < 45);
  assertEquals(lladaMasks(1, { draws: 8, batch: 4, random: random(1) }), {
    positions: [ids(0)],
    p: Float64Array.of(1),
  });
  assertThrows(() => lladaMasks(5, { draws: 10, batch: 4, random: random(1) }), RangeError, "4 must divide them");
  assertThrows(() => lladaMasks(5, { draws: 0, batch: 4, random: random(1) }), RangeError, "positive integers");
});

Deno.test("Dream masks by probability, on a grid from one number, and never the last token", () => {
  const { positions, p } = dreamMasks(6, 1, { draws: 5000, batch: 50, random: random(2) });
  assertEquals(positions.length, 5000);
  assert(positions.every((row) => row.every((at) => at >= 1 && at <= 4)));
  const grid = Array.from(p.slice(0, 50)).sort((a, b) => a - b);
  grid.slice(1).forEach((x, i) => assertAlmostEquals(x - grid[i], 0.999 / 50, 1e-9));
  assert(grid[0] >= 1e-3 && grid[49] <= 1);
  for (const at of [1, 2, 3, 4]) {
    const share = mean(positions.map((row) => Number(row.includes(at))));
    assertAlmostEquals(share, mean(p), 0.03);
  }
  assertEquals(dreamMasks(3, 0, { draws: 1, batch: 4, random: random(1) }).positions.length, 4, "at least one batch");
});

Deno.test("losses of given masks are the cross-entropies of the masked tokens over p", async () => {
  const pair = { context: ids(1, 2), target: ids(3, 4, 5) };
  const masks = { positions: [ids(0, 2), ids(1), ids()], p: Float64Array.of(0.5, 0.25, 0.1) };
  const expected = [
    -(logProbability(contextual, [1, 2, 9, 4, 9], 2, 3) + logProbability(contextual, [1, 2, 9, 4, 9], 4, 5)) / 0.5,
    -logProbability(contextual, [1, 2, 3, 9, 5], 3, 4) / 0.25,
    0,
  ];
  for (const together of [1, 7]) {
    const { denoiser } = fake(contextual);
    const [losses] = await maskedLosses(denoiser, [{ pair, masks }], { together });
    losses.forEach((loss, i) => assertAlmostEquals(loss, expected[i], 1e-9));
  }
});

Deno.test("guidance sees the context masked too: u + (w + 1)(c - u)", async () => {
  const pair = { context: ids(1, 2), target: ids(3, 4) };
  const masks = { positions: [ids(1)], p: Float64Array.of(0.5) };
  const { denoiser, calls } = fake(contextual);
  const [losses] = await maskedLosses(denoiser, [{ pair, masks }], { guidance: 1.5 });
  assertEquals(calls.map(({ sequences }) => sequences), [[[1, 2, 3, 9], [9, 9, 3, 9]]]);
  const mixed = (_: readonly number[], position: number, id: number) => {
    const c = contextual([1, 2, 3, 9], position, id), u = contextual([9, 9, 3, 9], position, id);
    return u + 2.5 * (c - u);
  };
  assertAlmostEquals(losses[0], -logProbability(mixed, [], 3, 4) / 0.5, 1e-5);
  const shifted = shiftedFake(contextual).denoiser;
  await assertRejects(() => maskedLosses(shifted, [{ pair, masks }], { guidance: 1 }), RangeError, "shifted logits");
  await assertRejects(() => maskedLosses(denoiser, [{ pair, masks }], { guidance: -1 }), RangeError, "from 0 on");
});

Deno.test("where tokens do not depend on each other, both estimators are right on average", async () => {
  const { denoiser } = fake(marginals);
  const requests = [{ context: "ab", continuation: "cdea" }];
  const exact = [2, 3, 4, 0].map(logOdds).reduce((a, b) => a + b, 0);
  const protocols = [
    lladaLikelihood({ draws: 8, batch: 4 }),
    dreamLikelihood({ draws: 400, batch: 400, eos: 7, maxLength: 99 }),
  ];
  for (const protocol of protocols) {
    const estimates: number[] = [];
    for (let seed = 0; seed < 300; seed++) {
      const [rows] = await optionEstimates(denoiser, letters, { protocol, requests }, { seed, question: "q" });
      estimates.push(mean(rows));
    }
    const spread = Math.sqrt(mean(estimates.map((x) => (x - mean(estimates)) ** 2)));
    assert(
      Math.abs(mean(estimates) - exact) < 4 * spread / Math.sqrt(300),
      `${protocol.name} ${mean(estimates)} ${exact}`,
    );
  }
});

Deno.test("options of one token share one pass, and those of several their masks on request", async () => {
  const one = fake(contextual);
  const requests = ["c", "d", "e", "f"].map((continuation) => ({ context: "ab", continuation }));
  const run = { seed: 1, question: "q" };
  const protocol = lladaLikelihood();
  const estimates = await optionEstimates(one.denoiser, letters, { protocol, requests }, run);
  assertEquals(one.calls.map(({ sequences }) => sequences), [[[0, 1, 9]]]);
  estimates.forEach(([value], i) => assertAlmostEquals(value, logProbability(contextual, [0, 1, 9], 2, 2 + i), 1e-9));

  // Dream's options end with a visible EOS: masked or not, they are one sequence.
  const dream = fake(contextual);
  const four = { protocol: dreamLikelihood({ eos: 7, maxLength: 99 }), requests };
  await optionEstimates(dream.denoiser, letters, four, run);
  assertEquals(dream.calls.flatMap(({ sequences }) => sequences), [[0, 1, 9, 7]]);

  const longer = [{ context: "ab", continuation: "cd" }, { context: "ab", continuation: "cd" }];
  const separate = lladaLikelihood({ draws: 4, batch: 4 });
  const { denoiser } = fake(contextual);
  const [x, y] = await optionEstimates(denoiser, letters, { protocol: separate, requests: longer }, run);
  assert(x.join() !== y.join());
  const common = { ...separate, common: true };
  const [a, b] = await optionEstimates(denoiser, letters, { protocol: common, requests: longer }, run);
  assertEquals(a, b);
  const tooLong = () => optionEstimates(denoiser, letters, { protocol, requests: longer }, { ...run, maxLength: 3 });
  await assertRejects(tooLong, RangeError, "have 4 tokens");
});

Deno.test("the choice is the first of the highest, by likelihood and by likelihood per character", () => {
  const of = (values: number[], gold: number, lengths = [1, 1, 1]) =>
    choose(values.map((v) => Float64Array.of(v)), { gold, lengths, random: rng(1) });
  assertEquals(of([-3, -2, -2], 1).acc, 1);
  assertEquals(of([-3, -2, -2], 2).acc, 0);
  const { acc, accNorm, mcVariance, logLikelihoods } = of([-3, -2, -4], 2, [2, 1, 9]);
  assertEquals([acc, accNorm, mcVariance.acc, mcVariance.accNorm], [0, 1, 0, 0]);
  assertEquals(logLikelihoods, [-3, -2, -4]);
});

Deno.test("the variance over masks is that of repeating the question with other masks", () => {
  // Two options whose rows are normal with means .1 apart: which is higher is a toss of known odds.
  const acc: number[] = [], told: number[] = [];
  for (let seed = 0; seed < 400; seed++) {
    const noise = rng(seed, "noise");
    const rows = [0.1, 0].map((m) => Float64Array.from({ length: 32 }, () => m + noise.normal()));
    const chosen = choose(rows, { gold: 0, lengths: [1, 1], random: rng(seed, "bootstrap") });
    acc.push(chosen.acc);
    told.push(chosen.mcVariance.acc);
  }
  const real = mean(acc) * (1 - mean(acc));
  // A bootstrap of one noisy run is itself noisy: it tells most of the variance, and never more than a coin's.
  assert(mean(told) > 0.5 * real && mean(told) < 1.1 * real, `${mean(told)} of ${real}`);
});
