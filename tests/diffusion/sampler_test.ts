import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Denoiser } from "../../lib/diffusion/denoiser.ts";
import type { Sampler, SampleState } from "../../lib/diffusion/sampler.ts";
import { dreamSampler } from "../../lib/diffusion/samplers/dream.ts";
import { lladaSampler } from "../../lib/diffusion/samplers/llada.ts";
import { sample } from "../../lib/diffusion/samplers/sample.ts";
import { nucleusChoice } from "../../lib/diffusion/sampler_choice.ts";
import { denoisingTimes, evenCounts, transferShare } from "../../lib/diffusion/schedule.ts";
import { NumericalError } from "../../lib/tensor/errors.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { contextual, fake, shiftedFake } from "../evaluate/fakes.ts";

const MASK = 9;
const prompt = Int32Array.of(3, 1, 4);

/** A denoiser whose row at answer position p is `table[p]`, whatever stands around it; the mask, id `width`, has logit `mask`. */
function tabled(table: readonly (readonly number[])[], mask = -50) {
  const width = table[0].length;
  const asked: number[][] = [];
  const denoiser: Denoiser = {
    maskId: width,
    vocabSize: width + 1,
    logits(_tokens, { rows } = {}) {
      asked.push(Array.from(rows!));
      const data = Float32Array.from(asked.at(-1)!.flatMap((row) => [...table[row], mask]));
      return Promise.resolve({ shape: [rows!.length, width + 1] as const, data });
    },
  };
  return { denoiser, asked };
}

const statesOf = (sampler: Sampler, denoiser: Denoiser, length: number, steps: number, seed = 1) =>
  Array.fromAsync(sampler.walk(denoiser, prompt, { length, steps, seed }));

Deno.test("schedules: remainders first, and Dream's shares", () => {
  assertEquals([...evenCounts(10, 4)], [3, 3, 2, 2]);
  assertEquals([...evenCounts(2, 5)], [1, 1, 0, 0, 0]);
  const times = denoisingTimes(4, 0.2);
  times.forEach((t, i) => assertAlmostEquals(t, [1, 0.8, 0.6, 0.4, 0.2][i], 1e-15));
  [0.2, 0.25, 1 / 3, 1].forEach((share, i) => assertAlmostEquals(transferShare(times, i), share, 1e-15));
});

Deno.test("greedy by hand: surest first, ties to the lowest position and id, only masked rows asked", async () => {
  // Probabilities of the best token (ids 0, 1, 2): .5 of id 2, .9 of id 0, .5 of id 1, .6 of id 1.
  const rows = [[0.2, 0.3, 0.5], [0.9, 0.05, 0.05], [0.25, 0.5, 0.25], [0.2, 0.6, 0.2]];
  const { denoiser, asked } = tabled(rows.map((row) => row.map(Math.log)));
  const states = await Array.fromAsync(
    lladaSampler().walk(denoiser, new Int32Array(), { length: 4, steps: 4, seed: 1 }),
  );
  assertEquals(states.map(({ tokens }) => tokens.join(" ")), [
    "3 3 3 3",
    "3 0 3 3",
    "3 0 3 1",
    "2 0 3 1",
    "2 0 1 1",
  ]);
  assertEquals(asked, [[0, 1, 2, 3], [0, 2, 3], [0, 2], [2]]);
  assertEquals(states.map(({ masked, done, passes }) => [masked, done, passes]), [
    [4, 0, 0],
    [3, 1, 1],
    [2, 2, 2],
    [1, 3, 3],
    [0, 4, 4],
  ]);
  const blocks = tabled(rows.map((row) => row.map(Math.log)));
  const two = await sample(blocks.denoiser, new Int32Array(), {
    sampler: lladaSampler({ block: 2 }),
    length: 4,
    seed: 1,
  });
  assertEquals([...two.tokens], [2, 0, 1, 1]);
  assertEquals(blocks.asked, [[0, 1], [0], [2, 3], [2]]);
  const even = tabled([[1, 1, 1], [1, 1, 1]]);
  const tied = await sample(even.denoiser, new Int32Array(), { length: 2, seed: 1 });
  assertEquals([...tied.tokens], [0, 0]);
  assertEquals(even.asked, [[0, 1], [1]]);
});

Deno.test("Dream by hand: probability, lead and entropy order the same rows differently", async () => {
  // Best probability: rows 1, 0, 2. Lead: .4 - .35, .45 - .44, .35 - .22. Entropy: row 1 has two candidates, row 0 three, row 2 four and a bit.
  const rows = [[0.4, 0.35, 0.25, 1e-9, 1e-9], [0.45, 0.44, 0.11, 1e-9, 1e-9], [0.35, 0.22, 0.22, 0.21, 1e-9]];
  for (const [alg, first] of [["maskgit_plus", 1], ["topk_margin", 2], ["entropy", 1]] as const) {
    const { denoiser, asked } = tabled(rows.map((row) => row.map(Math.log)));
    // 1 - .5005 of three masks is one; the last step commits the other two.
    await sample(denoiser, new Int32Array(), { sampler: dreamSampler({ alg }), length: 3, steps: 2, seed: 1 });
    assertEquals(asked.map((rows) => rows.length), [3, 2], alg);
    assert(!asked[1].includes(first), `${alg}: ${JSON.stringify(asked)}`);
  }
});

Deno.test("the last token of a vocabulary counts like any other: as the answer, for the lead and for the entropy", async () => {
  // The mask is token 0. Row 0 is torn between tokens 1 and 4, row 1 is sure of 4, row 2 of 1 and less so.
  const rows = [[1e-9, 0.45, 0.05, 0.05, 0.45], [1e-9, 0.05, 0.05, 0.1, 0.8], [1e-9, 0.75, 0.1, 0.1, 0.05]];
  for (const alg of ["maskgit_plus", "topk_margin", "entropy"] as const) {
    const asked: number[][] = [];
    const denoiser: Denoiser = {
      maskId: 0,
      vocabSize: 5,
      logits(_tokens, { rows: wanted } = {}) {
        asked.push(Array.from(wanted!));
        const data = Float32Array.from(asked.at(-1)!.flatMap((row) => rows[row].map(Math.log)));
        return Promise.resolve({ shape: [wanted!.length, 5] as const, data });
      },
    };
    const sampler = dreamSampler({ alg });
    const { tokens } = await sample(denoiser, new Int32Array(), { sampler, length: 3, steps: 3, seed: 1 });
    assertEquals([...tokens], [1, 4, 1], alg);
    assert(!asked[1].includes(1) && asked.at(-1)!.includes(0), `${alg}: ${JSON.stringify(asked)}`);
  }
  const random = rng(1),
    choose = (p: number[], temperature: number) =>
      nucleusChoice(Float32Array.from(p, Math.log), { maskId: 0, temperature, topP: 1, confidence: "entropy", random });
  // Three tokens as likely as each other are less certain than one of .6 and two of .2, whichever stands last.
  const third = [1e-9, 1 / 3, 1 / 3, 1 / 3], led = [1e-9, 0.6, 0.2, 0.2];
  assertAlmostEquals(choose(third, 0).confidence, Math.log(1 / 3), 1e-6);
  assert(choose(led, 0).confidence > choose(third, 0).confidence);
  const drawn = new Set(Array.from({ length: 60 }, () => choose(third, 1).token));
  assertEquals(drawn, new Set([1, 2, 3]));
});

/** Every sampler of the kit on arbitrary lengths that suit it. */
const cases = fc.record({
  blocks: fc.integer({ min: 1, max: 4 }),
  block: fc.integer({ min: 1, max: 5 }),
  per: fc.integer({ min: 1, max: 6 }),
  temperature: fc.constantFrom(0, 0.5, 2),
  seed: fc.nat(),
});

Deno.test("exactly the counts of the schedule are unmasked, the prompt stays, and no mask is left", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async ({ blocks, block, per, temperature, seed }) => {
      const length = blocks * block, steps = blocks * per;
      const { denoiser, calls } = fake(contextual);
      for (const remasking of ["low_confidence", "random"] as const) {
        const states = await statesOf(lladaSampler({ block, temperature, remasking }), denoiser, length, steps, seed);
        const counts = Array.from({ length: blocks }, () => [...evenCounts(block, per)]).flat();
        assertEquals(states.slice(1).map((s, i) => states[i].masked - s.masked), counts);
        invariants(states, steps);
        // Blocks are filled from left to right.
        states.forEach(({ tokens, done }) => {
          const filled = Math.floor(done / per) * block;
          assert(tokens.subarray(prompt.length, prompt.length + filled).every((t) => t !== MASK));
          assert(tokens.subarray(prompt.length + filled + block).every((t) => t === MASK));
        });
      }
      for (const alg of ["maskgit_plus", "topk_margin", "entropy", "origin"] as const) {
        const states = await statesOf(dreamSampler({ alg, temperature, topP: 0.9 }), denoiser, length, steps, seed);
        invariants(states, steps);
        const times = denoisingTimes(steps, 1e-3);
        states.slice(1).forEach((s, i) => {
          const share = Math.floor(states[i].masked * transferShare(times, i));
          if (alg !== "origin") assertEquals(states[i].masked - s.masked, share);
        });
      }
      for (const { sequences } of calls) assertEquals(sequences.length, 1);
    }),
    { seed: 1, numRuns: 40 },
  );
});

function invariants(states: readonly SampleState[], steps: number): void {
  assertEquals(states.length, steps + 1);
  assertEquals(states.at(-1)!.masked, 0);
  states.forEach((state, i) => {
    assertEquals([state.done, state.steps], [i, steps]);
    assertEquals(state.tokens.subarray(0, prompt.length), prompt);
    assertEquals(state.tokens.filter((t) => t === MASK).length, state.masked);
    if (i === 0) return;
    const before = states[i - 1];
    assertEquals(state.passes - before.passes, state.masked < before.masked ? 1 : 0);
    before.tokens.forEach((t, p) => assert(t === MASK || t === state.tokens[p], "a committed token changed"));
  });
}

Deno.test("the number of passes depends on length and steps alone, not on weights, temperature or seed", async () => {
  for (const [length, steps, wanted] of [[8, 8, 8], [8, 2, 2], [8, 16, 8]]) {
    for (const [temperature, seed, shift] of [[0, 1, 0], [1, 2, 0], [1, 3, 5]]) {
      const { denoiser, calls } = fake((sequence, p, id) => contextual(sequence, p + shift, id));
      const { passes } = await sample(denoiser, prompt, {
        sampler: lladaSampler({ temperature }),
        length,
        steps,
        seed,
      });
      assertEquals([passes, calls.length], [wanted, wanted]);
    }
  }
});

Deno.test("the same seed gives the same text, another seed another, and no seed matters where nothing is drawn", async () => {
  const { denoiser } = fake(contextual);
  const text = async (sampler: Sampler, seed: number) =>
    (await sample(denoiser, prompt, { sampler, length: 12, steps: 6, seed })).tokens.join(" ");
  const drawing = [
    lladaSampler({ temperature: 1 }),
    lladaSampler({ remasking: "random" }),
    dreamSampler({ temperature: 1 }),
    dreamSampler({ alg: "origin" }),
    dreamSampler({ algTemp: 1 }),
  ];
  for (const sampler of drawing) {
    const texts = await Promise.all([1, 1, 2, 3, 4].map((seed) => text(sampler, seed)));
    assertEquals(texts[0], texts[1]);
    assert(new Set(texts).size > 1, sampler.name);
  }
  for (const sampler of [lladaSampler(), dreamSampler()]) {
    assertEquals(await text(sampler, 1), await text(sampler, 2));
  }
});

/** softmax in float64, of float32 logits. */
function softmax(row: readonly number[]): number[] {
  const max = Math.max(...row);
  const e = row.map((l) => Math.exp(l - max));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((x) => x / sum);
}

/** LLaDA's loop written out anew: all logits in every step, confidences of other positions at minus infinity, one commit at a time. */
async function naiveLlada(
  denoiser: Denoiser,
  { length, steps, seed, block, temperature, forbid, defer }:
    & {
      [option in "length" | "steps" | "seed" | "block" | "temperature"]: number;
    }
    & { forbid: number[]; defer: number[] },
): Promise<number[]> {
  const x = [...prompt, ...new Array(length).fill(MASK)];
  let step = 0;
  for (let from = prompt.length; from < x.length; from += block) {
    const perBlock = steps / (length / block);
    for (let s = 0; s < perBlock; s++, step++) {
      const { data } = await denoiser.logits(Int32Array.from(x));
      const guess: number[] = [], confidence: number[] = [];
      x.forEach((_, p) => {
        const row = Array.from(data.slice(p * 10, p * 10 + 10)).map((l, id) => forbid.includes(id) ? -Infinity : l);
        const noise = rng(seed, "sampler", "token", step, p);
        const noisy = row.map((l) => {
          const u = temperature > 0 ? noise.next() : 0.5;
          return temperature > 0 ? Math.exp(l) / (-Math.log(u)) ** temperature : l;
        });
        noisy[MASK] = -Infinity;
        guess.push(noisy.indexOf(Math.max(...noisy)));
        confidence.push(softmax(row.map((l, id) => defer.includes(id) ? -Infinity : l))[guess[p]]);
      });
      for (let n = Math.floor(block / perBlock) + (s < block % perBlock ? 1 : 0); n > 0; n--) {
        const open = confidence.map((c, p) => x[p] === MASK && p >= from && p < from + block ? c : -Infinity);
        const p = open.indexOf(Math.max(...open));
        x[p] = guess[p];
      }
    }
  }
  return x;
}

Deno.test("LLaDA's sampler agrees with its loop written out anew", async () => {
  let drawn = 0;
  await fc.assert(
    fc.asyncProperty(cases, async ({ blocks, block, per, temperature, seed }) => {
      const length = blocks * block, steps = blocks * per;
      const { denoiser } = fake((sequence, p, id) => 3 * contextual(sequence, p, id));
      for (const [forbid, defer] of [[[], []], [[2], []], [[], [2, 5]]]) {
        const sampler = lladaSampler({ block, temperature, forbid, defer });
        const { tokens } = await sample(denoiser, prompt, { sampler, length, steps, seed });
        const wanted = await naiveLlada(denoiser, { length, steps, seed, block, temperature, forbid, defer });
        assertEquals([...tokens], wanted);
        drawn += length;
      }
    }),
    { seed: 2, numRuns: 40 },
  );
  assert(drawn > 500);
});

/** Dream's loop written out anew for T = 0, over all of the answer. */
async function naiveDream(
  denoiser: Denoiser,
  { alg, length, steps, topP }: { alg: string; length: number; steps: number; topP: number },
): Promise<number[]> {
  const x = [...prompt, ...new Array(length).fill(MASK)];
  for (let i = 0; i < steps; i++) {
    const time = (k: number) => 1 - k * (1 - 1e-3) / steps;
    const { data } = await denoiser.logits(Int32Array.from(x));
    const masked = [...x.keys()].filter((p) => x[p] === MASK);
    const scored = masked.map((p) => {
      let probabilities = softmax(Array.from(data.slice(p * 10, p * 10 + 10)));
      const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
      const before = (n: number) => order.slice(0, n).reduce((sum, id) => sum + probabilities[id], 0);
      const kept = new Set(order.filter((_, n) => before(n) <= topP));
      const total = [...kept].reduce((sum, id) => sum + probabilities[id], 0);
      probabilities = probabilities.map((q, id) => kept.has(id) ? q / total : 0);
      const [a, b] = probabilities.toSorted((x, y) => y - x);
      const score = alg === "maskgit_plus"
        ? a
        : alg === "topk_margin"
        ? a - b
        : probabilities.reduce((sum, q) => sum + q * Math.log(q + 1e-10), 0);
      return { p, token: probabilities.indexOf(a), score };
    });
    const count = i === steps - 1 ? masked.length : Math.floor(masked.length * (1 - time(i + 1) / time(i)));
    for (const { p, token } of scored.toSorted((a, b) => b.score - a.score).slice(0, count)) x[p] = token;
  }
  return x;
}

Deno.test("Dream's sampler agrees with its loop written out anew", async () => {
  const { denoiser } = fake((sequence, p, id) => id === MASK ? -30 : 2 * contextual(sequence, p, id));
  for (const alg of ["maskgit_plus", "topk_margin", "entropy"] as const) {
    for (const [length, steps, topP] of [[12, 12, 1], [12, 5, 0.7], [9, 3, 0.95], [20, 7, 0.4]]) {
      const { tokens } = await sample(denoiser, prompt, {
        sampler: dreamSampler({ alg, topP }),
        length,
        steps,
        seed: 1,
      });
      assertEquals([...tokens], await naiveDream(denoiser, { alg, length, steps, topP }), `${alg} ${topP}`);
    }
  }
});

/** Chi-square of counts against probabilities. */
const chiSquare = (counts: readonly number[], p: readonly number[]) => {
  const n = counts.reduce((a, b) => a + b, 0);
  return counts.reduce(
    (sum, c, i) => p[i] > 0 ? sum + (c - n * p[i]) ** 2 / (n * p[i]) : sum + (c > 0 ? Infinity : 0),
    0,
  );
};

Deno.test("tokens are draws from softmax(l / T), within the nucleus for Dream", async () => {
  const logits = [0.3, -0.5, 1.4, 0.1, -2];
  const n = 6000;
  const { denoiser } = tabled(Array.from({ length: n }, () => logits));
  const counts = async (sampler: Sampler) => {
    const { tokens } = await sample(denoiser, new Int32Array(), { sampler, length: n, steps: 1, seed: 5 });
    return logits.map((_, id) => tokens.filter((t) => t === id).length);
  };
  for (const temperature of [0.5, 1, 2]) {
    const p = softmax(logits.map((l) => l / temperature));
    // 18.5: the 99.9th percentile for four degrees of freedom.
    assert(chiSquare(await counts(lladaSampler({ temperature })), p) < 18.5, `llada ${temperature}`);
    assert(chiSquare(await counts(dreamSampler({ temperature })), p) < 18.5, `dream ${temperature}`);
  }
  // What the mask would have is shared out.
  const likely = tabled(Array.from({ length: n }, () => logits), 1);
  for (const sampler of [lladaSampler({ temperature: 1 }), dreamSampler({ temperature: 1 })]) {
    const { tokens } = await sample(likely.denoiser, new Int32Array(), { sampler, length: n, steps: 1, seed: 6 });
    const drawn = logits.map((_, id) => tokens.filter((t) => t === id).length);
    assert(chiSquare(drawn, softmax(logits)) < 18.5, sampler.name);
  }
  // Sorted: ids 2 (.532), 0 (.177), 3 (.145), 1 (.080), 4: two pass .6, and the second is the one that does.
  const p = softmax(logits);
  const kept = [p[0], 0, p[2], 0, 0].map((x) => x / (p[0] + p[2]));
  assert(chiSquare(await counts(dreamSampler({ temperature: 1, topP: 0.6 })), kept) < 13.9);
  // Of equal tokens those of the lowest ids are kept: .4 of five, and one more that passes .5.
  const even = tabled(Array.from({ length: n }, () => [0, 0, 0, 0, 0]));
  const sampler = dreamSampler({ temperature: 1, topP: 0.5 });
  const { tokens } = await sample(even.denoiser, new Int32Array(), { sampler, length: n, steps: 1, seed: 7 });
  assertEquals([...new Set(tokens)].sort(), [0, 1, 2]);
});

Deno.test("algTemp draws positions by softmax(confidence / algTemp); origin commits each with the share of its step", async () => {
  const rows = [[2, 0, 0], [1, 0, 0], [0, 0, 0]];
  const first = [0, 0, 0];
  const confidence = rows.map((row) => Math.max(...softmax([...row, -50])));
  for (let seed = 0; seed < 3000; seed++) {
    const { denoiser } = tabled(rows);
    const sampler = dreamSampler({ alg: "maskgit_plus", algTemp: 0.3 });
    for await (const state of sampler.walk(denoiser, new Int32Array(), { length: 3, steps: 2, seed })) {
      if (state.done !== 1) continue;
      assertEquals(state.masked, 2);
      first[state.tokens.findIndex((t) => t !== 3)]++;
      break;
    }
  }
  assert(chiSquare(first, softmax(confidence.map((c) => c / 0.3))) < 13.9, `${first}`);

  const many = tabled(Array.from({ length: 4000 }, () => [1, 0]));
  const states = await Array.fromAsync(
    dreamSampler({ alg: "origin", eps: 0 }).walk(many.denoiser, new Int32Array(), { length: 4000, steps: 4, seed: 2 }),
  );
  // A quarter of 4000 in each step, give or take four standard deviations of 27.
  states.slice(1).forEach((s, i) => assert(Math.abs(states[i].masked - s.masked - 1000) < 110, `${s.masked}`));
});

Deno.test("forbidden tokens never come, deferred ones come last, the mask never", async () => {
  const end = 2;
  const { denoiser } = fake((_, p, id) => id === MASK ? 9 : id === end ? 5 + (p % 3) : id === p % 2 ? 1 : 0);
  const run = (sampler: Sampler) => statesOf(sampler, denoiser, 6, 6);
  assert((await run(lladaSampler())).at(-1)!.tokens.subarray(3).every((t) => t === end));
  const forbidden = (await run(lladaSampler({ forbid: [end] }))).at(-1)!.tokens;
  assertEquals([...forbidden.subarray(3)], [1, 0, 1, 0, 1, 0]);
  for (const options of [{ temperature: 0 }, { temperature: 1 }, { remasking: "random" }] as const) {
    const ends = fake((_, p, id) => id === MASK ? -9 : id === end && p !== 5 ? 20 : id === 7 ? 4 : 0);
    const states = await statesOf(lladaSampler({ ...options, defer: [end] }), ends.denoiser, 6, 6);
    assert(states[1].tokens[5] !== MASK, "the one position that does not end the text comes first");
    assertEquals(states.at(-1)!.tokens.filter((t) => t === end).length, 5);
  }
  for (
    const sampler of [lladaSampler({ temperature: 1 }), dreamSampler(), dreamSampler({ temperature: 1, topP: 0.5 })]
  ) {
    assert((await run(sampler)).at(-1)!.tokens.every((t) => t !== MASK), sampler.name);
  }
});

Deno.test("names follow from the options", () => {
  assertEquals(lladaSampler().name, "llada");
  assertEquals(
    lladaSampler({ block: 8, temperature: 0.5, remasking: "random", forbid: [1], defer: [1, 2] }).name,
    "llada-b8-t0.5-random-forbid1-defer1+2",
  );
  assertEquals(dreamSampler().name, "dream-entropy");
  assertEquals(
    dreamSampler({ alg: "origin", temperature: 0.2, topP: 0.95, eps: 0 }).name,
    "dream-origin-t0.2-p0.95-eps0",
  );
});

Deno.test("steps are told of, and an abort ends the run before the next pass", async () => {
  const { denoiser, calls } = fake(contextual);
  const stop = new AbortController();
  const seen: number[] = [];
  const onStep = ({ done }: SampleState) => {
    seen.push(done);
    if (done === 2) stop.abort(new Error("enough"));
  };
  const options = { length: 6, seed: 1, onStep, signal: stop.signal };
  await assertRejects(() => sample(denoiser, prompt, options), Error, "enough");
  assertEquals([seen, calls.length], [[1, 2], 2]);
});

Deno.test("without a prompt nothing is sampled where logits are shifted", async () => {
  const { denoiser, calls } = shiftedFake(contextual);
  for (const sampler of [lladaSampler(), dreamSampler()]) {
    const run = (given: Int32Array, model: Denoiser) => sample(model, given, { length: 2, seed: 1, sampler });
    await assertRejects(
      () => run(new Int32Array(), denoiser),
      RangeError,
      "predicts from position 1 on; give a prompt",
    );
    assertEquals(calls.splice(0), []);
    assertEquals((await run(Int32Array.of(3), denoiser)).masked, 0);
    assertEquals((await run(new Int32Array(), fake(contextual).denoiser)).masked, 0);
    calls.splice(0);
  }
});

Deno.test("wrong options, a masked prompt and broken logits are refused", async () => {
  const { denoiser } = fake(contextual);
  const wrong = (options: { length: number; steps?: number }, sampler: Sampler, message: string) =>
    assertRejects(() => sample(denoiser, prompt, { ...options, sampler, seed: 1 }), RangeError, message);
  await wrong({ length: 8 }, lladaSampler({ block: 3 }), "block 3: wanted a divisor of length 8");
  await wrong({ length: 8, steps: 3 }, lladaSampler({ block: 4 }), "steps 3: wanted a multiple of the 2 blocks");
  await wrong({ length: 0 }, dreamSampler(), "length 0");
  await wrong({ length: 2, steps: 1.5 }, dreamSampler(), "steps 1.5");
  assertThrows(() => lladaSampler({ temperature: -1 }), RangeError, "temperature -1");
  assertThrows(() => dreamSampler({ topP: 0 }), RangeError, "topP 0");
  assertThrows(() => dreamSampler({ alg: "best" as "origin" }), RangeError, "alg best");
  const masked = () => sample(denoiser, Int32Array.of(1, MASK), { length: 2, seed: 1 });
  await assertRejects(masked, RangeError, "token 1 of the prompt is the mask, 9");
  const atOnce = () => sample(denoiser, Int32Array.of(MASK, 1), { length: 2, seed: 1 });
  await assertRejects(atOnce, RangeError, "token 0 of the prompt is the mask, 9");
  for (const sampler of [lladaSampler(), dreamSampler()]) {
    for (const bad of [NaN, Infinity]) {
      const broken = fake((_, p, id) => p === 4 && id === 3 ? bad : 0).denoiser;
      await assertRejects(() => sample(broken, prompt, { sampler, length: 3, seed: 1 }), NumericalError);
    }
  }
});
