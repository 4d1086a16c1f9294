import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { samplerStates } from "../../lib/diffusion/samplers/states.ts";
import { certaintyWeighted, weighted } from "../../lib/diffusion/weigh.ts";
import { dllmQuant } from "../../lib/methods/dllm_quant.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import type { Method } from "../../lib/quant/method.ts";
import { valueScale } from "../../lib/quant/value_scale.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { contextual, fake } from "../evaluate/fakes.ts";
import { randomTokens, snapshot, tinyModel } from "../model/tiny.ts";

Deno.test("dllmquant: with weights that are all alike it is GPTQ, whatever they are; zeros leave tokens out", async () => {
  await using model = await tinyModel();
  const windows = Array.from({ length: 6 }, (_, i) => randomTokens(12, 70 + i));
  const calibration = simulateMasks({ windows }, { maskId: model.maskId, seed: 1 });
  const of = async (method: Method, given: typeof calibration) =>
    snapshot(await quantize(model, method, { calibration: given }));
  const weights = (weight: (w: number, p: number) => number) => ({
    ...calibration,
    weights: windows.map((window, w) => Float32Array.from(window, (_, p) => weight(w, p))),
  });
  const wanted = await of(gptq({ bits: 2, group: 4 }), calibration), own = dllmQuant({ bits: 2, group: 4 });
  assertEquals(await of(own, weights(() => 1)), wanted);
  assertEquals(await of(own, weights(() => 4)), wanted);
  // Λ of zeros and ones is GPTQ on a part of the tokens; whole windows here, which see nothing of each other.
  const some = {
    ...calibration,
    windows: windows.map((_, i) => calibration.windows[i]).slice(0, 3),
    timesteps: calibration.timesteps.slice(0, 3),
  };
  assertEquals(await of(own, weights((w) => w < 3 ? 1 : 0)), await of(gptq({ bits: 2, group: 4 }), some));
  assertEquals(await of(own, weighted(weights(() => 3), "uniform")), wanted);
});

Deno.test("dllmquant: visible tokens count .7 and masked ones the model's certainty", async () => {
  const { denoiser } = fake(contextual);
  const calibration = { name: "some", windows: [Int32Array.of(1, 9, 2, 9)], timesteps: [0.5] };
  const { weights, name } = await certaintyWeighted(denoiser, calibration), [own] = weights!;
  assertEquals([own[0], own[2], name], [Math.fround(0.7), Math.fround(0.7), "some+certainty"]);
  for (const p of [1, 3]) assert(own[p] > 0 && own[p] < 1);
});

Deno.test("dllmquant: quotas of the way add up to all states, each where its stretch is; one stretch is even sampling", async () => {
  const { denoiser } = fake(contextual), random = rng(1);
  const corpus = { windows: Array.from({ length: 20 }, () => Int32Array.from({ length: 32 }, () => random.int(9))) };
  const take = (quotas?: readonly number[]) =>
    samplerStates(denoiser, corpus, { seed: 3, steps: 24, ...(quotas ? { quotas } : {}) });
  const { timesteps, name } = await take([0.3, 0.2, 0.2, 0.3]);
  assert(name.endsWith("-q0.3_0.2_0.2_0.3"));
  const stretches = [0, 0, 0, 0];
  for (const masked of timesteps) stretches[Math.min(3, Math.floor(4 * (1 - masked) + 1e-9))]++;
  assertEquals(stretches, [6, 4, 4, 6]);
  const [even, one] = [await take(), await take([1])];
  assertEquals([one.windows, one.name], [even.windows, even.name]);
  const late = await take([0, 1]);
  assert(late.timesteps.every((masked) => masked <= 0.5));
  for (const quotas of [[], [0.5, 0.4], [1.5, -0.5], [NaN]]) {
    await assertRejects(() => take(quotas), RangeError, "quotas");
  }
});

Deno.test("dllmquant: the range of values is that of the plain error where attention is even, and of one token where it has all", () => {
  const random = rng(4), values = Float64Array.from({ length: 60 }, random.normal), ones = new Float64Array(60).fill(1);
  values[7] = 9;
  const even = valueScale(values, ones, { bits: 3 });
  assert(even.share < 1 && even.error > 0);
  assertEquals(valueScale(values, ones.map(() => 5), { bits: 3 }).share, even.share);
  const spike = ones.map((_, j) => Number(j === 7));
  const { share, error } = valueScale(values, spike, { bits: 3 });
  // The outlier alone is seen: its own error is the least of all that were tried.
  assert(
    error <= valueScale(values, spike, { bits: 3, tries: 1 }).error && error < 0.05 && share > 0.9,
    `${share}, ${error}`,
  );
  // An outlier that nobody looks at is clipped.
  assert(valueScale(values, ones.map((_, j) => Number(j !== 7)), { bits: 3 }).share < even.share);
  // The shares are even from the whole range down to a twentieth of it.
  const clipped = Float64Array.from(values, (_, j) => j === 7 ? 0.05 * 7 : 0);
  clipped[8] = 7;
  const shares = [2, 3, 4].map((tries) => valueScale(clipped, spike, { bits: 3, tries }).share);
  shares.forEach((x, i) => assertAlmostEquals(x, [0.05, 0.05, 0.05][i], 1e-12));
  assertThrows(() => valueScale(values, [1]), RangeError, "60 values by 1 weights");
  assertThrows(() => valueScale([1], [-1]), RangeError, "at least 0");
});

Deno.test("dllmquant: its name says what is underneath; others are refused", () => {
  assertEquals(dllmQuant({ bits: 2, group: 128 }).name, "dllmquant-gptq-2b-g128");
  const over = dllmQuant({ bits: 3, group: 64, base: "awq" });
  assertEquals([over.name, over.wants?.inputs !== undefined], ["dllmquant-awq-3b-g64", true]);
  assertThrows(() => dllmQuant({ bits: 2, group: 128, base: "rtn" as "awq" }), RangeError, "base is rtn");
});
