import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Denoiser } from "../../lib/diffusion/denoiser.ts";
import { divergence, maskedBatch } from "../../lib/diffusion/divergence.ts";
import { drawMasks } from "../../lib/diffusion/masks.ts";
import { corpusText } from "../../lib/diffusion/text.ts";
import { rng } from "../../lib/tensor/rng.ts";

const windowsOf = (count: number, length: number) =>
  Array.from({ length: count }, (_, w) => Int32Array.from({ length }, (_, p) => 100 * w + p));
const count = (mask: Uint8Array) => mask.reduce((sum, m) => sum + m, 0);

Deno.test("by the forward process every window has a rate from its own part of (0, 1], and positions are masked alike", () => {
  const windows = windowsOf(4, 2000);
  const masks = drawMasks({ windows }, { shares: { forward: 1, answers: 0 }, random: rng(1) });
  masks.forEach((mask, w) => {
    const rate = count(mask) / 2000;
    assert(rate > w / 4 - 0.04 && rate <= (w + 1) / 4 + 0.04, `window ${w} is masked at a rate of ${rate}`);
    const halves = [mask.subarray(0, 1000), mask.subarray(1000)].map(count);
    assert(Math.abs(halves[0] - halves[1]) < 150, `${halves}`);
  });
});

Deno.test("answers are masked whole, three of four, and nothing else is; at least one of every window", () => {
  const windows = windowsOf(400, 20);
  const answers = windows.map(() =>
    Uint8Array.from({ length: 20 }, (_, p) => Number([3, 4, 9, 15, 16, 17].includes(p)))
  );
  const masks = drawMasks({ windows, answers }, { shares: { forward: 0, answers: 1 }, random: rng(2) });
  let whole = 0;
  for (const mask of masks) {
    for (const run of [[3, 4], [9], [15, 16, 17]]) {
      assertEquals(new Set(run.map((p) => mask[p])).size, 1);
      whole += mask[run[0]];
    }
    assert(mask.every((m, p) => m === 0 || answers[0][p] === 1) && mask.includes(1));
  }
  assert(Math.abs(whole / 1200 - 0.75) < 0.05, `${whole} of 1200`);
});

Deno.test("where no answer is marked one span is masked; the first position stays where nothing predicts it", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 9 }),
      fc.integer({ min: 0, max: 99 }),
      fc.boolean(),
      (length, seed, marked) => {
        const windows = windowsOf(6, length), answers = marked ? windows.map(() => new Uint8Array(length)) : undefined;
        const masks = drawMasks({ windows, answers }, {
          shares: { forward: 0.5, answers: 0.5 },
          random: rng(seed),
          firstPredicted: 1,
        });
        for (const [w, mask] of masks.entries()) {
          assert(mask[0] === 0 && mask.includes(1));
          if (w >= 3) assertEquals(mask.lastIndexOf(1) - mask.indexOf(1) + 1, count(mask));
        }
      },
    ),
    { seed: 1, numRuns: 100 },
  );
});

Deno.test("windows of different lengths, too short ones, and shares that are none are refused", () => {
  const options = { shares: { forward: 1, answers: 0 }, random: rng(1) };
  assertThrows(() => drawMasks({ windows: [] }, options), RangeError, "0 and 0 tokens");
  assertThrows(() => drawMasks({ windows: [...windowsOf(1, 3), ...windowsOf(1, 4)] }, options), RangeError, "3 and 4");
  assertThrows(() => drawMasks({ windows: windowsOf(2, 1) }, { ...options, firstPredicted: 1 }), RangeError, "above 1");
  const shares = { forward: 1.5, answers: -0.5 };
  assertThrows(() => drawMasks({ windows: windowsOf(2, 3) }, { ...options, shares }), RangeError, "share of 1.5");
});

Deno.test("a masked batch holds the windows one after another, and where masks are", () => {
  const masks = [Uint8Array.of(0, 1, 0), Uint8Array.of(1, 0, 1)];
  assertEquals(maskedBatch(windowsOf(2, 3), { masks, maskId: 7 }), {
    tokens: Int32Array.of(0, 7, 2, 7, 101, 7),
    batch: 2,
    positions: Int32Array.of(1, 3, 5),
  });
});

Deno.test("the divergence is the mean over masked positions of p (log p - log q), and the same masks serve every student", async () => {
  const seen: Int32Array[] = [];
  const fake = (p: number): Denoiser => ({
    maskId: 9,
    vocabSize: 2,
    logits: (tokens, { rows } = {}) => {
      seen.push(tokens.slice());
      const data = Float32Array.from(rows!, () => 0);
      return Promise.resolve({
        shape: [data.length, 2],
        data: Float32Array.from({ length: 2 * data.length }, (_, i) => 5 + Math.log(i % 2 === 0 ? p : 1 - p)),
      });
    },
  });
  const text = { windows: windowsOf(3, 8) };
  const kl = (p: number, q: number) => p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q));
  for (const q of [0.25, 0.6]) {
    const { forward, answers } = await divergence(fake(0.6), fake(q), { text, seed: 1 });
    for (const found of [forward, answers]) {
      assert(Math.abs(found - kl(0.6, q)) < 1e-6, `${found}, wanted ${kl(0.6, q)}`);
    }
  }
  assertEquals(seen.slice(0, 4), seen.slice(4));
});

Deno.test("a corpus gives other windows to every step, the same to the same step, with their answers", async () => {
  const corpus = { windows: windowsOf(50, 4) }, text = corpusText(corpus, { name: "some", batch: 10 });
  assertEquals([text.name, text.batch, text.length], ["50 windows of some", 10, 4]);
  assertEquals(await text.draw(1, 3), await text.draw(1, 3));
  const [a, b] = [await text.draw(1, 3), await text.draw(1, 4)].map(({ windows }) => windows.map((w) => w[0]).join());
  assert(a !== b);
  assertEquals(new Set((await text.draw(1, 3)).windows).size, 10);
  assertThrows(() => corpusText(corpus, { name: "some", batch: 51 }), RangeError, "holds 50");
  const answers = corpus.windows.map((w) => Uint8Array.of(...w.map((x) => x % 2)));
  const drawn = await corpusText({ ...corpus, answers }, { name: "marked", batch: 10 }).draw(1, 3);
  assertEquals(
    drawn.answers!.map((marks) => answers.findIndex((a) => a === marks)),
    drawn.windows.map((w) => corpus.windows.findIndex((x) => x === w)),
  );
});

Deno.test("tokens that are to stay visible are never masked, whatever the shares", () => {
  const windows = windowsOf(40, 8),
    visible = windows.map((_, w) => Uint8Array.from({ length: 8 }, (_, p) => Number(p % 3 === w % 3)));
  for (const shares of [{ forward: 1, answers: 0 }, { forward: 0, answers: 1 }]) {
    const masks = drawMasks({ windows, visible }, { shares, random: rng(1, "visible") });
    assert(masks.every((mask, w) => mask.every((m, p) => m === 0 || visible[w][p] === 0)));
    assert(masks.some((mask) => mask.includes(1)));
  }
});
