import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { elbo } from "../../lib/evaluate/elbo.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { LOG_PROBABILITY, LOGITS_TINY } from "../tolerances.ts";
import { familyConfigs, randomTokens, tinyModel, tinyWeights } from "../model/tiny.ts";
import { logSoftmax, referencePass } from "../model/reference.ts";
import {
  contextual,
  counting,
  fake,
  logOdds,
  logProbability,
  marginals,
  shiftedFake,
  subsets,
  uniform,
} from "./fakes.ts";

const windows = (count: number, length: number) =>
  Array.from({ length: count }, (_, i) => {
    const r = rng(i, "window");
    return Int32Array.from({ length }, () => r.int(9));
  });

Deno.test("a model that knows nothing pays log V per token, exactly", async () => {
  for (const draws of [1, 4]) {
    const result = await elbo(fake(uniform).denoiser, windows(70, 7), { draws, seed: 1 });
    assert(Math.abs(result.nats - Math.log(10)) <= LOG_PROBABILITY);
    assert(result.perWindow.every((x) => Math.abs(x - Math.log(10)) <= LOG_PROBABILITY));
    assertEquals(result.n, 70);
    assert(result.standardError <= LOG_PROBABILITY);
    assert(draws === 1 ? Number.isNaN(result.mcStandardError) : result.mcStandardError <= LOG_PROBABILITY);
  }
});

Deno.test("a model of independent tokens pays its cross entropy", async () => {
  // Where all tokens of a window are equal, whatever the masks.
  const equal = Array.from({ length: 9 }, (_, id) => new Int32Array(6).fill(id));
  const exact = await elbo(fake(marginals).denoiser, equal, { draws: 2, seed: 1 });
  exact.perWindow.forEach((x, id) => assert(Math.abs(x + logOdds(id)) <= LOG_PROBABILITY));
  assert(exact.mcStandardError <= LOG_PROBABILITY);

  const mixed = windows(40, 8);
  const tokens = mixed.flatMap((w) => Array.from(w));
  const wanted = tokens.reduce((s, t) => s - logOdds(t), 0) / tokens.length;
  const { nats, mcStandardError } = await elbo(fake(marginals).denoiser, mixed, { draws: 16, seed: 1 });
  assert(mcStandardError > 0 && mcStandardError < 0.05);
  assert(Math.abs(nats - wanted) <= 4 * mcStandardError, `${nats} ± ${mcStandardError} for ${wanted}`);
});

Deno.test("the mean over seeds is the expectation over all masks, and the errors say how far it is off", async () => {
  const [tokens] = windows(1, 5);
  let wanted = 0;
  for (let n = 1; n <= 5; n++) {
    const masks = subsets(5, n);
    for (const mask of masks) {
      const sequence = Array.from(tokens, (t, p) => mask.includes(p) ? 9 : t);
      for (const p of mask) wanted -= logProbability(contextual, sequence, p, tokens[p]) / n / masks.length / 5;
    }
  }
  const results = await Promise.all(
    Array.from({ length: 400 }, (_, seed) => elbo(fake(contextual).denoiser, [tokens], { draws: 3, seed })),
  );
  const mean = results.reduce((s, r) => s + r.nats, 0) / 400;
  const spread = Math.sqrt(results.reduce((s, r) => s + (r.nats - mean) ** 2, 0) / 399);
  assert(Math.abs(mean - wanted) <= 4 * spread / 20, `${mean} ± ${spread / 20} for ${wanted}`);
  const claimed = Math.sqrt(results.reduce((s, r) => s + r.mcStandardError ** 2, 0) / 400);
  // Stratified counts make the truth smaller than what draws taken as independent say, never much larger.
  assert(spread <= 1.15 * claimed && spread >= 0.4 * claimed, `claimed ${claimed}, found ${spread}`);
});

Deno.test("the mean over all that can be drawn is the exact bound, for few draws too", async () => {
  const exact = (L: number, token: number) => {
    const costs = Array.from({ length: L }, (_, i) => {
      const sequence = Array.from({ length: L }, (_, p) => p <= i ? 9 : token);
      return -logProbability(counting, sequence, 0, token);
    });
    return costs.reduce((a, b) => a + b) / L;
  };
  const bounds = async (L: number, draws: number) => {
    const list = Array.from({ length: 120 }, () => new Int32Array(L).fill(3));
    const { perWindow } = await elbo(fake(counting).denoiser, list, { draws, seed: 1 });
    return perWindow;
  };
  // Where L divides the number of draws, each count is drawn equally often: nothing is left to chance.
  for (const [L, draws] of [[2, 2], [2, 4], [2, 6], [3, 6], [4, 4], [5, 10]]) {
    for (const x of await bounds(L, draws)) {
      assert(Math.abs(x - exact(L, 3)) <= LOG_PROBABILITY, `${L} tokens, ${draws} draws`);
    }
  }
  // Else every set of counts is as likely as another; of four draws of three tokens there are three, by what comes twice.
  for (const [L, draws, sets] of [[3, 4, 3], [5, 1, 5], [3, 2, 3], [4, 3, 4], [5, 4, 5]]) {
    const seen = [...new Set(Array.from(await bounds(L, draws), (x) => x.toFixed(9)))].map(Number);
    assertEquals(seen.length, sets, `${L} tokens, ${draws} draws`);
    const mean = seen.reduce((a, b) => a + b) / sets;
    assert(Math.abs(mean - exact(L, 3)) <= LOG_PROBABILITY, `${L} tokens, ${draws} draws: ${mean}`);
  }
});

Deno.test("where logits are shifted the first token is given: a Markov chain pays its closed form", async () => {
  // Each token is the one before it plus one with logit 2; nothing is known where the one before it is masked.
  const chain = (sequence: readonly number[], position: number, id: number) =>
    sequence[position - 1] === 9 ? 0 : Number(id === (sequence[position - 1] + 1) % 10) * 2;
  const known = Math.log(Math.exp(2) + 9) - 2;
  const unknown = Math.log(10);
  // Masks of one token both leave the token before visible; masks of two hide it from one of them.
  const wanted = (known + (known + unknown) / 2) / 2;
  const { denoiser, calls } = shiftedFake(chain);
  const list = Array.from({ length: 20 }, (_, i) => Int32Array.of(i % 6, i % 6 + 1, i % 6 + 2));
  const { perWindow } = await elbo(denoiser, list, { draws: 2, seed: 1 });
  for (const x of perWindow) assert(Math.abs(x - wanted) <= LOG_PROBABILITY, `${x} for ${wanted}`);
  for (const { sequences, rows } of calls) {
    assert(sequences.every(([first]) => first !== 9), "the first token is masked");
    assert(rows!.every((row) => row % 3 !== 0), "the row of the first token is asked for");
  }
  await assertRejects(() => elbo(denoiser, [Int32Array.of(1)], { draws: 2, seed: 1 }), RangeError, "0 positions");
});

Deno.test("Dream's bound of two tokens is that of the second one after the first", async () => {
  const config = familyConfigs.Dream;
  await using model = await tinyModel({ config });
  const list = Array.from({ length: 12 }, (_, i) => randomTokens(2, i));
  const { perWindow } = await elbo(model, list, { draws: 3, seed: 1 });
  list.forEach(([first, second], i) => {
    const { logits } = referencePass(model.architecture, tinyWeights(config), [first, model.maskId]);
    const wanted = -logSoftmax(logits[1])[second];
    assert(Math.abs(perWindow[i] - wanted) <= LOGITS_TINY, `${perWindow[i]} for ${wanted}`);
  });
});

Deno.test("masks depend on seed, window and draw only: the same for every model and batch size", async () => {
  const list = windows(40, 6);
  const record = async (logit: typeof contextual, seed: number, batch?: number) => {
    const { denoiser, calls } = fake(logit);
    await elbo(denoiser, list, { draws: 2, seed, batch });
    return calls.flatMap((c) => c.sequences);
  };
  const seen = await record(contextual, 1);
  assertEquals(await record(uniform, 1), seen);
  assertEquals(await record(uniform, 1, 3), seen);
  assertNotEquals(await record(contextual, 2), seen);
  assert(seen.every((s) => s.includes(9)));
});

Deno.test("the masks of window i are drawn by its number, so that a part of a text has the masks that it has in all of it", async () => {
  const list = windows(70, 40), { denoiser, calls } = fake(contextual);
  await elbo(denoiser, list, { draws: 1, seed: 5 });
  const seen = calls.flatMap((c) => c.sequences);
  assertEquals(seen.length, 70);
  seen.forEach((sequence, i) => {
    const masked = sequence.flatMap((t, p) => t === 9 ? [p] : []);
    assertEquals(masked, Array.from(rng(5, "elbo-mask", i, 0).choose(40, masked.length)).sort((a, b) => a - b));
  });
});

Deno.test("the standard error is that of the mean over windows", async () => {
  const { nats, perWindow, standardError } = await elbo(fake(contextual).denoiser, windows(50, 6), {
    draws: 2,
    seed: 1,
  });
  const mean = perWindow.reduce((s, x) => s + x, 0) / 50;
  const variance = perWindow.reduce((s, x) => s + (x - mean) ** 2, 0) / 49;
  assert(Math.abs(nats - mean) <= 1e-12 && Math.abs(standardError - Math.sqrt(variance / 50)) <= 1e-12);
});

Deno.test("numbers of draws out of range are refused", async () => {
  for (const draws of [0, 1.5]) {
    await assertRejects(() => elbo(fake(uniform).denoiser, windows(2, 3), { draws, seed: 1 }), RangeError, "draw");
  }
});
