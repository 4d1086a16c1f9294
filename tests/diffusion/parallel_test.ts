/** Parallel decoding, guidance, kept keys and values, and batches: the checks of the papers on small fakes. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { CachingDenoiser, Denoiser } from "../../lib/diffusion/denoiser.ts";
import type { SampleState } from "../../lib/diffusion/sampler.ts";
import { askKept } from "../../lib/diffusion/samplers/asking.ts";
import { sampleBatch } from "../../lib/diffusion/samplers/batch.ts";
import { dreamSampler } from "../../lib/diffusion/samplers/dream.ts";
import { guidedBy } from "../../lib/diffusion/samplers/guided.ts";
import { lladaSampler } from "../../lib/diffusion/samplers/llada.ts";
import { sample } from "../../lib/diffusion/samplers/sample.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { familyConfigs, randomTokens, tinyModel } from "../model/tiny.ts";

const MASK = 9, VOCAB = 10, BLOCK = 4;
const prompt = Int32Array.of(3, 1, 4);

/** Logits of a row from a hash of what it sees: of all tokens, or of those up to the end of its block of four after the prompt. */
function hashed(causal: boolean, log: { windows: [number, number][]; whole: number }): CachingDenoiser {
  const row = (tokens: Int32Array, p: number): Float32Array => {
    const end = causal ? prompt.length + BLOCK * (Math.floor((p - prompt.length) / BLOCK) + 1) : tokens.length;
    const r = rng(tokens.subarray(0, end).join(), "row", p);
    return Float32Array.from({ length: VOCAB }, () => 6 * r.next());
  };
  const rowsOf = (tokens: Int32Array, rows: Int32Array) => ({
    shape: [rows.length, VOCAB] as const,
    data: Float32Array.from([...rows].flatMap((p) => [...row(tokens, p)])),
  });
  return {
    ...{ maskId: MASK, vocabSize: VOCAB },
    logits(tokens, { batch = 1, rows = Int32Array.from(tokens.keys()) } = {}) {
      log.whole++;
      const n = tokens.length / batch;
      const data = [...rows].flatMap((flat) => {
        const s = Math.floor(flat / n);
        return [...row(tokens.subarray(s * n, (s + 1) * n), flat - s * n)];
      });
      return Promise.resolve({ shape: [rows.length, VOCAB], data: Float32Array.from(data) });
    },
    openCache() {
      let kept = new Int32Array();
      return {
        get kept() {
          return kept.length;
        },
        crop(length) {
          kept = kept.slice(0, length);
        },
        run(tokens, { from, to, rows }) {
          log.windows.push([from, to]);
          const next = new Int32Array(Math.max(kept.length, to));
          next.set(kept);
          next.set(tokens.subarray(from, to), from);
          kept = next;
          return Promise.resolve(rowsOf(kept, rows));
        },
        async [Symbol.asyncDispose]() {},
      };
    },
  };
}

const logOf = () => ({ windows: [] as [number, number][], whole: 0 });
const run = async (sampler: ReturnType<typeof lladaSampler>, { causal = false, length = 8, seed = 1 } = {}) => {
  const log = logOf();
  const last = await sample(hashed(causal, log), prompt, { length, seed, sampler });
  return { ...last, log, text: last.tokens.join(" ") };
};

Deno.test("threshold: above 1 it is one token a pass, at 0 one pass a block", async () => {
  const plain = await run(lladaSampler({ block: BLOCK }));
  const never = await run(lladaSampler({ block: BLOCK, threshold: 1.01 }));
  assertEquals([never.text, never.passes], [plain.text, 8]);
  const always = await run(lladaSampler({ block: BLOCK, threshold: 0 }));
  assertEquals([always.passes, always.masked, always.done, always.steps], [2, 0, 2, 2]);
  const some = await run(lladaSampler({ block: BLOCK, threshold: 0.4 }));
  assert(some.passes > 2 && some.passes < 8, `${some.passes}`);
});

Deno.test("factor: towards 0 it is one token a pass, and large enough one pass a block", async () => {
  const plain = await run(lladaSampler({ block: BLOCK }));
  const small = await run(lladaSampler({ block: BLOCK, factor: 1e-9 }));
  assertEquals([small.text, small.passes], [plain.text, 8]);
  assertEquals((await run(lladaSampler({ block: BLOCK, factor: 6 }))).passes, 2);
});

Deno.test("by hand: which of probabilities .99 .95 .8 .6 a threshold and a factor let through", async () => {
  const probabilities = [0.8, 0.99, 0.6, 0.95];
  const denoiser: Denoiser = {
    ...{ maskId: 2, vocabSize: 3 },
    logits: (_, { rows } = {}) => {
      const data = [...rows!].flatMap((p) => [Math.log(probabilities[p]), Math.log(1 - probabilities[p]), -50]);
      return Promise.resolve({ shape: [rows!.length, 3] as const, data: Float32Array.from(data) });
    },
  };
  const firstOf = async (options: Parameters<typeof lladaSampler>[0]) => {
    const walk = lladaSampler(options).walk(denoiser, new Int32Array(), { length: 4, steps: 4, seed: 1 });
    const states: SampleState[] = await Array.fromAsync(walk);
    return states[1].committed!.map(({ position }) => position);
  };
  assertEquals(await firstOf({ threshold: 0.9 }), [1, 3]);
  assertEquals(await firstOf({ threshold: 0.8 - 1e-6 }), [1, 3, 0]);
  // (n + 1) (1 - c_n): .02, .15, .8, 2.
  assertEquals(await firstOf({ factor: 0.02 }), [1]);
  assertEquals(await firstOf({ factor: 0.1 }), [1]);
  assertEquals(await firstOf({ factor: 0.2 }), [1, 3]);
  assertEquals(await firstOf({ factor: 0.9 }), [1, 3, 0]);
  assertEquals(await firstOf({ factor: 2.1 }), [1, 3, 0, 2]);
});

Deno.test("kept keys and values: parts are run within a block, all of it at its start; exact where nothing behind a block counts", async () => {
  for (const options of [{}, { threshold: 0.4 }, { temperature: 0.7 }] as const) {
    const none = await run(lladaSampler({ block: BLOCK, ...options }), { causal: true });
    const prefix = await run(lladaSampler({ block: BLOCK, cache: "prefix", ...options }), { causal: true });
    const dual = await run(lladaSampler({ block: BLOCK, cache: "dual", ...options }), { causal: true });
    assertEquals([prefix.text, prefix.passes], [none.text, none.passes]);
    assertEquals([dual.text, dual.passes], [none.text, none.passes]);
    assertEquals([prefix.log.whole, dual.log.whole], [0, 0]);
    assertEquals(prefix.log.windows.length, none.passes);
  }
  const { log: { windows } } = await run(lladaSampler({ block: BLOCK, cache: "prefix" }));
  assertEquals(windows, [[0, 11], [3, 11], [3, 11], [3, 11], [0, 11], [7, 11], [7, 11], [7, 11]]);
  const dual = await run(lladaSampler({ block: BLOCK, cache: "dual" }));
  assertEquals(dual.log.windows, [[0, 11], [3, 7], [3, 7], [3, 7], [0, 11], [7, 11], [7, 11], [7, 11]]);
  assertEquals(dual.passes, 8);
  // A block that its first pass fills takes no other.
  const filled = await run(lladaSampler({ block: BLOCK, cache: "dual", threshold: 0 }));
  assertEquals(filled.log.windows, [[0, 11], [0, 11]]);
});

Deno.test("asked without a span, all positions are run again: what changed anywhere is seen", async () => {
  const model = hashed(false, logOf()), tokens = Int32Array.of(1, 2, MASK, MASK), positions = [2, 3];
  await using asking = askKept(model, "prefix");
  const of = async (tokens: Int32Array) => [...(await asking.logits(tokens, positions)).data];
  const changed = Int32Array.of(5, 2, MASK, MASK), rows = Int32Array.from(positions);
  for (const now of [tokens, changed]) assertEquals(await of(now), [...(await model.logits(now, { rows })).data]);
});

Deno.test("on models, shifted logits and others: kept keys and values write whole answers in as many passes", async () => {
  for (const config of [undefined, familyConfigs.Dream]) {
    await using model = await tinyModel(config ? { config } : {});
    for (const cache of ["none", "prefix", "dual"] as const) {
      const options = { length: 8, steps: 4, seed: 1, sampler: lladaSampler({ block: 4, cache }) };
      const { masked, passes } = await sample(model, randomTokens(5, 4), options);
      assertEquals([masked, passes], [0, 4]);
    }
  }
});

Deno.test("on models, shifted logits and others: a batch of two writes what each writes alone", async () => {
  for (const config of [undefined, familyConfigs.Dream]) {
    await using model = await tinyModel(config ? { config } : {});
    const prompts = [4, 5].map((seed) => ({ tokens: randomTokens(5, seed), seed }));
    for (const sampler of [lladaSampler({ block: 4, temperature: 0.7 }), dreamSampler({ temperature: 0.4 })]) {
      const together = await sampleBatch(model, prompts, { length: 8, sampler });
      const alone = [];
      for (const { tokens, seed } of prompts) alone.push(await sample(model, tokens, { length: 8, seed, sampler }));
      assertEquals(together.map(({ tokens }) => tokens), alone.map(({ tokens }) => tokens), sampler.name);
    }
  }
});

Deno.test("guidance: logits of both halves as the formula says, two sequences a pass; without weight it is plain", async () => {
  const seen: Int32Array[] = [];
  const denoiser: Denoiser = {
    ...{ maskId: 3, vocabSize: 4 },
    logits(tokens, { batch = 1, rows } = {}) {
      seen.push(tokens);
      const n = tokens.length / batch;
      // With its prompt the first token is likely, without it the second is a little less so.
      const data = [...rows!].flatMap((flat) =>
        tokens[Math.floor(flat / n) * n] === 3 ? [0, 1.5, 0, -9] : [2, 1, 0, -9]
      );
      return Promise.resolve({ shape: [rows!.length, 4] as const, data: Float32Array.from(data) });
    },
  };
  const of = (cfg: number) =>
    sample(denoiser, Int32Array.of(1, 1), { length: 2, seed: 1, sampler: lladaSampler({ cfg }) });
  const guided = await of(0.5);
  // l_u + 1.5 (l_c - l_u): 3, .75, 0.
  assertEquals([[...guided.tokens], guided.passes], [[1, 1, 0, 0], 4]);
  assertEquals([...seen[0]], [1, 1, 3, 3, 3, 3, 3, 3]);
  const confidence = Math.exp(3) / (Math.exp(3) + Math.exp(0.75) + 1);
  const walk = lladaSampler({ cfg: 0.5 }).walk(denoiser, Int32Array.of(1, 1), { length: 2, steps: 2, seed: 1 });
  const states: SampleState[] = await Array.fromAsync(walk);
  assert(Math.abs(states[1].committed![0].confidence - confidence) < 1e-4);
  seen.length = 0;
  assertEquals((await of(0)).passes, 2);
  assertEquals([...seen[0]], [1, 1, 3, 3]);
});

Deno.test("a guided denoiser: every sequence of a batch has its prompt masked in the other half, and rows stay where they are", async () => {
  const plain = hashed(false, logOf()), guided = guidedBy(plain, { weight: 1.5, prompt: 2 });
  const first = Int32Array.of(1, 2, MASK, 4), second = Int32Array.of(5, 6, 7, MASK);
  const bare = [Int32Array.of(MASK, MASK, MASK, 4), Int32Array.of(MASK, MASK, 7, MASK)];
  const one = async (tokens: Int32Array, row: number) =>
    (await plain.logits(tokens, { rows: Int32Array.of(row) })).data;
  const both = Int32Array.of(...first, ...second);
  const { shape, data } = await guided.logits(both, { batch: 2, rows: Int32Array.of(7, 2) });
  assertEquals(shape, [2, VOCAB]);
  const wanted = [[await one(second, 3), await one(bare[1], 3)], [await one(first, 2), await one(bare[0], 2)]];
  wanted.forEach(([c, u], i) =>
    c.forEach((_, id) => assertAlmostEquals(data[i * VOCAB + id], 2.5 * c[id] - 1.5 * u[id], 1e-5))
  );
  assertEquals((await guided.logits(both, { batch: 2 })).shape, [8, VOCAB]);
  assertEquals(guidedBy(plain, { weight: 0, prompt: 2 }), plain);
  // Without a prompt there is nothing to guide by: both halves are the same.
  const rows = Int32Array.of(0, 3), alone = guidedBy(plain, { weight: 1.5, prompt: 0 });
  const [some, plainly] = [await alone.logits(first, { rows }), await plain.logits(first, { rows })];
  some.data.forEach((x, k) => assertAlmostEquals(x, plainly.data[k], 1e-5));
  assertThrows(() => guidedBy(plain, { weight: NaN, prompt: 2 }), RangeError, "weight NaN");
  assertThrows(() => guidedBy(plain, { weight: 1, prompt: 1.5 }), RangeError, "prompt of 1.5");
  await assertRejects(() => guided.logits(Int32Array.of(1)), RangeError, "the prompt is 2");
});

Deno.test("a batch is its samples: the same tokens and counts as one by one, at any temperature, of any length", async () => {
  const samplers = [
    lladaSampler({ block: BLOCK }),
    lladaSampler({ block: BLOCK, temperature: 0.8, threshold: 0.4 }),
    dreamSampler({ temperature: 0.6 }),
    lladaSampler({ cfg: 0.7 }),
  ];
  const prompts = [prompt, Int32Array.of(2, 2, 2), Int32Array.of(5)].map((tokens, seed) => ({ tokens, seed }));
  for (const sampler of samplers) {
    const log = logOf(), denoiser = hashed(false, log);
    const together = await sampleBatch(denoiser, prompts, { length: 8, sampler });
    const passes = log.whole;
    const alone = [];
    for (const { tokens, seed } of prompts) {
      alone.push(await sample(denoiser, tokens, { length: 8, seed, sampler }));
    }
    assertEquals(together.map(({ tokens }) => tokens.join()), alone.map(({ tokens }) => tokens.join()), sampler.name);
    assertEquals(together.map(({ passes }) => passes), alone.map(({ passes }) => passes));
    // Two of the prompts are equally long.
    assert(passes < log.whole - passes, `${passes} of ${log.whole}`);
  }
});

Deno.test("a batch ends in an error where one of its samples does", async () => {
  const prompts = [{ tokens: prompt, seed: 1 }, { tokens: Int32Array.of(MASK), seed: 2 }];
  await assertRejects(
    () => sampleBatch(hashed(false, logOf()), prompts, { length: 4, sampler: lladaSampler() }),
    RangeError,
    "of the prompt is the mask",
  );
});

Deno.test("what excludes one another, or is out of range, is refused", async () => {
  const wrong: [Parameters<typeof lladaSampler>[0], string][] = [
    [{ threshold: 0.9, factor: 1 }, "threshold and factor"],
    [{ threshold: 0.9, remasking: "random" }, "threshold and remasking random"],
    [{ factor: 1, remasking: "random" }, "factor and remasking random"],
    [{ cfg: 1, cache: "dual" }, "cfg and cache dual"],
    [{ cfg: -1 }, "cfg -1"],
    [{ threshold: NaN }, "threshold NaN"],
    [{ factor: 0 }, "factor 0"],
    [{ cache: "all" as "dual" }, "cache all"],
    [{ remasking: "low" as "random" }, "remasking low"],
  ];
  for (const [options, message] of wrong) assertThrows(() => lladaSampler(options), RangeError, message);
  const sampler = lladaSampler({ threshold: 0.9 });
  await assertRejects(
    () => sample(hashed(false, logOf()), prompt, { length: 4, steps: 2, seed: 1, sampler }),
    RangeError,
    "steps 2",
  );
  const { openCache: _, ...plain } = hashed(false, logOf());
  await assertRejects(
    () => sample(plain, prompt, { length: 4, seed: 1, sampler: lladaSampler({ cache: "dual" }) }),
    RangeError,
    "keeps no keys and values",
  );
});
