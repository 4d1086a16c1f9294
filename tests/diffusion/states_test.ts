import { assert, assertEquals, assertRejects } from "@std/assert";
import { apdSampler } from "../../lib/diffusion/apd/apd.ts";
import { dreamSampler } from "../../lib/diffusion/samplers/dream.ts";
import { lladaSampler } from "../../lib/diffusion/samplers/llada.ts";
import { samplerStates } from "../../lib/diffusion/samplers/states.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { contextual, fake } from "../evaluate/fakes.ts";

const MASK = 9;
const corpusOf = (count: number, length: number) => ({
  windows: Array.from({ length: count }, (_, i) => {
    const r = rng(1, i);
    return Int32Array.from({ length }, () => r.int(9));
  }),
});
const corpus = corpusOf(12, 16);

Deno.test("each state is one that the sampler visits from the window's prefix, and the strata of its way are shared out", async () => {
  for (const sampler of [lladaSampler(), lladaSampler({ block: 4, temperature: 0.5 }), dreamSampler()]) {
    for (const states of [1, 3]) {
      const { denoiser } = fake(contextual);
      const { windows, timesteps } = await samplerStates(denoiser, corpus, { seed: 4, sampler, steps: 12, states });
      assertEquals([windows.length, timesteps.length], [12 * states, 12 * states]);
      const done: number[] = [];
      for (const [n, window] of windows.entries()) {
        const i = Math.floor(n / states);
        assertEquals(window.length, 16);
        assertEquals(window.slice(0, 4), corpus.windows[i].slice(0, 4));
        assertEquals(timesteps[n], window.filter((t) => t === MASK).length / 12);
        const options = { length: 12, steps: 12, seed: `4 states ${i}` };
        const way = await Array.fromAsync(sampler.walk(denoiser, window.slice(0, 4), options));
        const at = way.findIndex(({ tokens }) => `${tokens}` === `${window}`);
        assert(at >= 0 && at < 12, "a state that the model never sees");
        done.push(at);
      }
      // LLaDA commits one token a step, so that a state tells its step: twelve windows take the twelve steps, `states` times over.
      if (sampler.name === "llada") {
        assertEquals(
          done.toSorted((a, b) => a - b),
          Array.from({ length: 12 * states }, (_, n) => Math.floor(n / states)),
        );
        if (states === 3) windows.forEach((_, n) => assertEquals(Math.floor(done[n] / 4), n % 3));
      }
    }
  }
});

Deno.test("a window costs the passes up to its last state", async () => {
  const { denoiser, calls } = fake(contextual);
  await samplerStates(denoiser, corpus, { seed: 1, steps: 12 });
  assertEquals(calls.length, 66); // 0 + 1 + ... + 11
});

Deno.test("the same seed gives the same states, another seed others; progress counts windows", async () => {
  const { denoiser } = fake(contextual);
  const told: number[] = [];
  const take = (seed: number) =>
    samplerStates(denoiser, corpus, { seed, onProgress: (n) => void told.push(n), steps: 12 });
  const [a, again, b] = [await take(1), await take(1), await take(2)];
  assertEquals(again, a);
  assert(`${b.windows}` !== `${a.windows}`);
  assertEquals(told.slice(0, 12), Array.from({ length: 12 }, (_, i) => i + 1));
});

Deno.test("the name follows from the options, seed left out", async () => {
  const { denoiser } = fake(contextual);
  const name = async (options: object) => (await samplerStates(denoiser, corpus, { seed: 1, ...options })).name;
  assertEquals(await name({}), "states-llada-s32-g0.25");
  assertEquals(
    await name({ sampler: lladaSampler({ block: 4 }), steps: 6, states: 2, prefix: 0.5 }),
    "states-llada-b4-s6-n2-g0.5",
  );
});

Deno.test("wrong options are refused, an abort is heeded, the corpus is left alone", async () => {
  const { denoiser } = fake(contextual);
  const wrong = (options: object, message: string, windows = corpus.windows) =>
    assertRejects(() => samplerStates(denoiser, { windows }, { seed: 1, ...options }), RangeError, message);
  await wrong({}, "no windows", []);
  await wrong({ prefix: 1 }, "prefix 1");
  await wrong({ states: 0 }, "0 sampler states");
  await wrong({ steps: 2.5 }, "of 2.5 steps");
  await wrong({ sampler: lladaSampler({ block: 5 }) }, "a divisor of length 12");
  await wrong({ sampler: apdSampler({ mix: 1 }) }, "by apd-r1-m100: it was done before step ");
  const before = corpus.windows.map((w) => w.slice());
  const stop = new AbortController();
  const onProgress = () => stop.abort(new Error("enough"));
  await assertRejects(
    () => samplerStates(denoiser, corpus, { seed: 1, signal: stop.signal, onProgress }),
    Error,
    "enough",
  );
  assertEquals(corpus.windows, before);
});
