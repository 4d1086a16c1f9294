import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type ApdOptions, apdSampler } from "../../../lib/diffusion/apd/apd.ts";
import { coupledChoice } from "../../../lib/diffusion/apd/coupled.ts";
import { type LeftToRight, stepwise } from "../../../lib/diffusion/apd/left_to_right.ts";
import type { Denoiser } from "../../../lib/diffusion/denoiser.ts";
import { sample } from "../../../lib/diffusion/samplers/sample.ts";
import { NumericalError } from "../../../lib/tensor/errors.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { bigram, caching, denoiserOf, logChain, markov, MASK, remembering, rough, rowsOf } from "./fakes.ts";

const prompt = Int32Array.of(3, 4, 5);
const length = 24;
/** Readers' tables: one with opinions, one that says of the chain what it does. */
const opinion = (before: number, id: number) => 2 * Math.sin(before * 1.3 + id * 2.1);

const statesOf = (options: ApdOptions, denoiser: Denoiser, seed = 1, given = prompt) =>
  Array.fromAsync(apdSampler(options).walk(denoiser, given, { length, steps: length, seed }));
const lastOf = async (...args: Parameters<typeof statesOf>) => (await statesOf(...args)).at(-1)!;
const answerOf = async (...args: Parameters<typeof statesOf>) => [...(await lastOf(...args)).tokens];

const softmax = (row: readonly number[]): number[] => {
  const e = row.map((l) => Math.exp(l - Math.max(...row)));
  return e.map((x) => x / e.reduce((a, b) => a + b, 0));
};
const argmax = (row: readonly number[]) => row.indexOf(Math.max(...row));
const float32 = (row: readonly number[]) => row.map(Math.fround);

/** The draw of pass `step` at a position in the form exp(l) / (-ln u)^s, the mask left out. */
function drawn(logits: readonly number[], scale: number, seed: number, step: number, position: number): number {
  const random = rng(seed, "sampler", "token", step, position);
  return argmax(logits.map((l, id) => {
    const noisy = scale > 0 ? Math.exp(l) / (-Math.log(random.next())) ** scale : l;
    return id === MASK ? -Infinity : noisy;
  }));
}

/**
 * The algorithm written out anew over logits of one position at a time, for top-p 1 and full recomputation. `late` gives the first drafted token the
 * logits that the authors' code has for it after a window that was accepted whole: those of the token before.
 */
function naive(
  marginal: (tokens: readonly number[], position: number) => readonly number[],
  reader: (before: number, id: number) => number,
  { mix, lookAhead, temperature, released, late = false, seed }:
    & Required<Pick<ApdOptions, "mix" | "lookAhead" | "temperature" | "released">>
    & { seed: number; late?: boolean },
) {
  const x = [...prompt, ...new Array(length).fill(MASK)];
  const kept: number[] = [];
  const read = (before: number) => float32(Array.from({ length: 8 }, (_, id) => reader(before, id)));
  let cur = prompt.length, previous = read(x[cur - 1]);
  for (let step = 0; cur < x.length; step++) {
    const right = Math.min(cur + lookAhead, x.length);
    const canvas = x.slice(0, right);
    const positions = Array.from({ length: right - cur }, (_, i) => cur + i);
    const marginals = positions.map((p) => float32(marginal(canvas, p)));
    const draft = positions.map((p, i) =>
      released
        ? drawn(marginals[i].map((l) => temperature > 0 ? l / temperature : l), temperature, seed, step, p)
        : drawn(marginals[i], temperature, seed, step, p)
    );
    const scores = positions.map((_, i) => i === 0 ? previous : read(draft[i - 1]));
    const accepted = positions.map((p, i) => {
      const target = marginals[i].map((l, id) => mix * l + (1 - mix) * scores[i][id]);
      return i === 0 || drawn(target, released ? 0 : temperature, seed, step, p) === draft[i];
    });
    const first = accepted.indexOf(false);
    const k = first < 0 ? draft.length : first;
    for (let i = 0; i < k; i++) x[cur + i] = draft[i];
    previous = late && k === draft.length ? scores[k - 1] : read(x[cur + k - 1]);
    kept.push(k);
    cur += k;
  }
  return { tokens: x, kept };
}

const cases = fc.record({
  mix: fc.constantFrom(0, 0.3, 0.7, 0.9, 1),
  lookAhead: fc.constantFrom(1, 2, 5, 9, 40),
  temperature: fc.constantFrom(0, 0.3, 1),
  released: fc.boolean(),
  seed: fc.nat({ max: 1000 }),
});

Deno.test("agrees with the algorithm written out anew, and the authors' late logits change no text", async () => {
  const lengths = new Set<number>();
  await fc.assert(
    fc.asyncProperty(cases, async ({ seed, ...options }) => {
      const wanted = naive(rough, opinion, { ...options, seed });
      const states = await statesOf({ ...options, helper: bigram(opinion).helper }, denoiserOf(rough).denoiser, seed);
      assertEquals([...states.at(-1)!.tokens], wanted.tokens);
      assertEquals(states.slice(1).map(({ masked }, i) => states[i].masked - masked), wanted.kept);
      assertEquals(naive(rough, opinion, { ...options, seed, late: true }).tokens, wanted.tokens);
      wanted.kept.forEach((k) => lengths.add(k));
    }),
    { seed: 1, numRuns: 150 },
  );
  assert(lengths.size > 8, `only ${[...lengths]} tokens were accepted at once`);
});

Deno.test("at R = 1 all that is drafted is accepted: a parallel draw per window, and no helper", async () => {
  for (const lookAhead of [1, 5, 7, 24, 100]) {
    const { denoiser, calls } = markov();
    const { helper, asked } = bigram(opinion);
    const options = { mix: 1, lookAhead, temperature: 1, helper };
    const { tokens, passes, helperPasses } = await lastOf(options, denoiser, 3);
    assertEquals([passes, calls.length, helperPasses, asked.length], [
      ...new Array(2).fill(Math.ceil(length / lookAhead)),
      0,
      0,
    ]);
    const x = [...prompt, ...new Array(length).fill(MASK)];
    for (let from = prompt.length, step = 0; from < x.length; from += lookAhead, step++) {
      const canvas = x.slice(0, from + lookAhead);
      for (let p = from; p < canvas.length; p++) {
        const { data } = await denoiser.logits(Int32Array.from(canvas), { rows: Int32Array.of(p) });
        x[p] = drawn([...data], 1, 3, step, p);
      }
    }
    assertEquals([...tokens], x);
  }
});

Deno.test("a helper that says what the marginals say has everything accepted, at any R, T and top-p", async () => {
  for (const mix of [0, 0.3, 0.7, 1]) {
    for (const [temperature, topP] of [[0, 1], [0.5, 1], [2, 1], [1, 0.6]]) {
      const { denoiser, calls } = denoiserOf(rough);
      const helper: LeftToRight = {
        name: "oracle",
        open: () =>
          Promise.resolve({
            passes: 0,
            logits: (tokens, { from, to }) => {
              // The canvas that was drafted from, which the denoiser saw last.
              const [canvas] = calls.at(-1)!;
              assertEquals([canvas.indexOf(MASK), canvas.length, tokens.length], [from - 1, to, to]);
              return Promise.resolve(rowsOf(from, to, (p, id) => rough(canvas, p)[id]));
            },
            crop() {},
            [Symbol.asyncDispose]: () => Promise.resolve(),
          }),
      };
      const options = { helper, mix, temperature, topP, lookAhead: 10 };
      assertEquals((await lastOf(options, denoiser, 2)).passes, 3, `R ${mix}, T ${temperature}, top-p ${topP}`);
    }
  }
});

Deno.test("a helper that excludes the draft leaves the first token: text drawn from left to right, a pass a token", async () => {
  const helper: LeftToRight = {
    name: "against",
    open: () =>
      Promise.resolve({
        passes: 0,
        logits: (tokens, { from, to }) =>
          Promise.resolve(rowsOf(from, to, (p, id) => id === tokens[p] ? -Infinity : opinion(1, id))),
        crop() {},
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  };
  for (const mix of [0, 0.5, 0.99]) {
    const states = await statesOf({ helper, mix, temperature: 1, lookAhead: 6 }, markov().denoiser, 4);
    assertEquals(states.map(({ masked }) => masked), Array.from({ length: length + 1 }, (_, i) => length - i));
    assertEquals(states.at(-1)!.passes, length);
    const x = [...prompt, ...new Array(length).fill(MASK)];
    for (let step = 0; step < length; step++) {
      const p = prompt.length + step;
      const { data } = await markov().denoiser.logits(Int32Array.from(x.slice(0, p + 6)), { rows: Int32Array.of(p) });
      x[p] = drawn([...data], 1, 4, step, p);
    }
    assertEquals([...states.at(-1)!.tokens], x, `R ${mix}`);
  }
});

Deno.test("at T = 0 a token is accepted exactly where the mixture's argmax is the draft", async () => {
  const { denoiser } = denoiserOf(rough);
  let kept = 0;
  for (const mix of [0, 0.4, 0.8, 0.95]) {
    const states = await statesOf({ mix, helper: bigram(opinion).helper, lookAhead: 8 }, denoiser);
    states.slice(1).forEach(({ tokens, masked }, i) => {
      const cur = prompt.length + length - states[i].masked;
      const canvas = [...states[i].tokens].slice(0, cur + 8);
      const best = (p: number, w: number, before: number) =>
        argmax(rough(canvas, p).slice(0, MASK).map((l, id) => w * l + (1 - w) * opinion(before, id)));
      const draft = canvas.map((_, p) => best(p, 1, 0));
      let k = 1;
      while (cur + k < canvas.length && best(cur + k, mix, draft[cur + k - 1]) === draft[cur + k]) k++;
      assertEquals(states[i].masked - masked, k);
      assertEquals([...tokens].slice(cur, cur + k), draft.slice(cur, cur + k));
      kept += k;
    });
  }
  assertEquals(kept, 4 * length);
});

Deno.test("a window over everything is full recomputation; a small one moves logits; what is run is what the window says", async () => {
  for (const shifted of [false, true]) {
    const run = async (window: number | undefined, seed: number) => {
      const { denoiser, windows, log } = caching({ shifted });
      const options = { window, mix: 0.6, temperature: 0.7, lookAhead: 9, helper: bigram(opinion).helper };
      const states = await statesOf(options, denoiser, seed);
      assertEquals([log.opened, log.closed], window === undefined ? [0, 0] : [1, 1]);
      return { states, windows };
    };
    let moved = 0;
    for (let seed = 0; seed < 12; seed++) {
      const whole = await run(undefined, seed);
      assertEquals((await run(length + prompt.length, seed)).states, whole.states);
      const small = await run(1, seed);
      moved += Number(String(small.states.at(-1)!.tokens) !== String(whole.states.at(-1)!.tokens));
      for (const window of [1, 2, 5]) {
        const { states, windows } = await run(window, seed);
        assertEquals(states.at(-1)!.passes, states.length - 1);
        const wanted = states.slice(0, -1).map(({ masked }, i) => {
          const cur = prompt.length + length - masked;
          const written = i === 0 ? 0 : states[i - 1].masked - masked;
          const left = i === 0 ? 0 : Math.max(cur - window - written + 1, 0);
          return [left, Math.min(cur + 9, prompt.length + length)];
        });
        assertEquals(windows, wanted as [number, number][]);
      }
    }
    assert(moved > 0, "no text of twelve depends on what the window keeps");
  }
});

Deno.test("a walk that is left early closes its cache", async () => {
  const { denoiser, log } = caching();
  for await (const { done } of apdSampler({ window: 4 }).walk(denoiser, prompt, { length, steps: length, seed: 1 })) {
    if (done === 1) break;
  }
  assertEquals(log, { opened: 1, closed: 1 });
});

/** Chi-square of counts against probabilities. */
const chiSquare = (counts: readonly number[], p: readonly number[]) => {
  const n = counts.reduce((a, b) => a + b, 0);
  return counts.reduce(
    (sum, c, i) => p[i] > 0 ? sum + (c - n * p[i]) ** 2 / (n * p[i]) : sum + (c > 0 ? Infinity : 0),
    0,
  );
};

Deno.test("coupled draws differ at most as often as 2 TV / (1 + TV), and each follows its own distribution", () => {
  const draws = 20_000;
  for (
    const [a, b] of [[[1, 0, -1, 0.5], [0.4, 0.3, -0.8, 0.6]], [[2, 0, 0, 0], [0, 0, 0, 2]], [[1, 1, 0, 0], [
      1,
      1,
      0,
      0,
    ]]]
  ) {
    for (const temperature of [0.5, 1]) {
      const [p, q] = [a, b].map((row) => softmax(row.map((l) => l / temperature)));
      const tv = p.reduce((sum, x, i) => sum + Math.abs(x - q[i]) / 2, 0);
      const counts = [[0, 0, 0, 0], [0, 0, 0, 0]];
      let differ = 0;
      for (let i = 0; i < draws; i++) {
        const [x, y] = [a, b].map((row) =>
          coupledChoice(Float64Array.from(row), { maskId: 9, temperature, topP: 1, random: rng(i, "coupling") })
        );
        counts[0][x]++, counts[1][y]++;
        differ += Number(x !== y);
      }
      const rate = differ / draws, deviation = Math.sqrt(0.25 / draws);
      assert(rate <= 2 * tv / (1 + tv) + 4 * deviation, `${rate} at TV ${tv}`);
      assert(rate >= tv - 4 * deviation, `${rate} at TV ${tv}`); // no coupling does better
      if (tv === 0) assertEquals(differ, 0);
      // 16.3: the 99.9th percentile for three degrees of freedom.
      assert(chiSquare(counts[0], p) < 16.3 && chiSquare(counts[1], q) < 16.3);
    }
  }
});

Deno.test("the first token of a pass follows the marginals at T, within the nucleus; as released at T squared", async () => {
  const logits = [0.3, -0.5, 1.4, 0.1, -2, 0, 0.9, 4]; // the mask would be likeliest
  const { denoiser } = denoiserOf(() => logits);
  const letters = float32(logits.slice(0, MASK));
  const counts = async (options: ApdOptions) => {
    const all = new Array(MASK).fill(0);
    for (let seed = 0; seed < 1000; seed++) {
      // The helper disagrees with any draft, so that each pass writes its first token.
      const states = apdSampler({ ...options, lookAhead: 1 });
      const { tokens } = await sample(denoiser, prompt, { sampler: states, length: 5, seed });
      for (const t of tokens.subarray(prompt.length)) all[t]++;
    }
    return all;
  };
  // 22.5: the 99.9th percentile for six degrees of freedom.
  for (const temperature of [0.7, 1.5]) {
    const at = (t: number) => softmax(letters.map((l) => l / t));
    const [paper, code] = [await counts({ temperature }), await counts({ temperature, released: true })];
    assert(chiSquare(paper, at(temperature)) < 22.5, `T ${temperature}`);
    assert(chiSquare(code, at(temperature ** 2)) < 22.5, `T ${temperature} squared`);
    assert(chiSquare(code, at(temperature)) > 100);
  }
  // .379 of id 2, .230 of 6, and .126 of 0, which passes .7.
  const p = softmax(letters);
  const kept = p.map((x, id) => [0, 2, 6].includes(id) ? x / (p[0] + p[2] + p[6]) : 0);
  assert(chiSquare(await counts({ temperature: 1, topP: 0.7 }), kept) < 13.9);
  // At T = .5 the first two have .61 and .23 and pass it alone.
  const cold = softmax(letters.map((l) => 2 * l)).map((x, id) => id === 2 || id === 6 ? x : 0);
  const both = cold.map((x) => x / (cold[2] + cold[6]));
  assert(chiSquare(await counts({ temperature: 0.5, topP: 0.7 }), both) < 10.9);
});

Deno.test("with the model itself as helper, a higher R takes fewer passes and writes less likely text", async () => {
  const mixes = [0, 0.3, 0.6, 0.9, 1];
  const means = await Promise.all(mixes.map(async (mix) => {
    let passes = 0, log = 0;
    for (let seed = 0; seed < 60; seed++) {
      const last = await lastOf({ mix, temperature: 1 }, markov().denoiser, seed);
      passes += last.passes;
      log += logChain(last.tokens, prompt.length) / 60 / length;
    }
    return { passes: passes / 60, log };
  }));
  const told = JSON.stringify(means);
  means.slice(1).forEach(({ passes }, i) => assert(passes <= means[i].passes, told));
  assert(means[0].passes > 4 * means[4].passes && means[4].passes === 1, told);
  assert(means[0].log > means[4].log + 0.5, told);
});

Deno.test("a reader that keeps its state says what it would say reading all anew, as it is cropped after every pass", async () => {
  const { denoiser } = denoiserOf(rough);
  for (const released of [false, true]) {
    let cut = 0;
    for (let seed = 0; seed < 10; seed++) {
      const { helper, answers, anew } = remembering();
      const options = { helper, mix: 0.8, temperature: 1, lookAhead: 5, released };
      const states = await statesOf(options, denoiser, seed);
      for (const { tokens, from, logits } of answers) assertEquals(logits, anew(tokens, from));
      assertEquals(states.at(-1)!.helperPasses, answers.length);
      cut += states.filter(({ masked }, i) => i > 0 && states[i - 1].masked - masked < 5).length;
    }
    assert(cut > 20, "hardly a draft was cut");
  }
  const { helper, answers, anew } = remembering({ cropped: false });
  await statesOf({ helper, mix: 0.8, temperature: 1, lookAhead: 5 }, denoiser, 1);
  const stale = answers.filter(({ tokens, from, logits }) => String(logits.data) !== String(anew(tokens, from).data));
  assert(stale.length > 0, "a reader that does not forget would not be noticed");
});

Deno.test("stepwise asks each drafted position with masks from it on, all in one batch", async () => {
  const { denoiser, calls } = markov();
  await using reading = await stepwise(denoiser).open();
  const tokens = Int32Array.of(3, 4, 1, 2, 6);
  const { shape, data } = await reading.logits(tokens, { from: 2, to: 5 });
  assertEquals(calls, [[[3, 4, 7, 7, 7], [3, 4, 1, 7, 7], [3, 4, 1, 2, 7]]]);
  assertEquals([...shape, reading.passes], [3, 8, 3]);
  for (const [i, canvas] of calls[0].entries()) {
    const alone = await denoiser.logits(Int32Array.from(canvas), { rows: Int32Array.of(2 + i) });
    assertEquals(data.slice(8 * i, 8 * i + 8), alone.data);
  }
});

Deno.test("the prompt stays, nothing that is written changes, no mask is left, and passes are at most tokens", async () => {
  await fc.assert(
    fc.asyncProperty(cases, fc.constantFrom(1, 6, undefined), async ({ seed, ...options }, window) => {
      const { denoiser } = caching();
      const states = await statesOf({ ...options, window, helper: bigram(opinion).helper }, denoiser, seed);
      states.forEach((state, i) => {
        assertEquals([state.done, state.steps, state.passes], [i, length, i]);
        assertEquals(state.tokens.subarray(0, prompt.length), prompt);
        assertEquals(state.tokens.filter((t) => t === MASK).length, state.masked);
        if (i === 0) return;
        assert(state.masked < states[i - 1].masked);
        states[i - 1].tokens.forEach((t, p) => assert(t === MASK || t === state.tokens[p]));
      });
      assertEquals(states.at(-1)!.masked, 0);
      assert(states.length - 1 <= length);
    }),
    { seed: 2, numRuns: 60 },
  );
});

Deno.test("an end token ends the answer, not one of the prompt", async () => {
  const given = Int32Array.of(2, 0, 3); // begins with what ends an answer
  for (const seed of [1, 2, 3]) {
    const options = { temperature: 1, lookAhead: 4 };
    const { denoiser } = markov();
    const [open, ended] = [
      await lastOf(options, denoiser, seed, given),
      await lastOf({ ...options, end: [2] }, denoiser, seed, given),
    ];
    const first = open.tokens.subarray(3).indexOf(2);
    assert(first > 0, "the answer has an end token");
    assertEquals(ended.tokens.subarray(0, 3 + first), open.tokens.subarray(0, 3 + first));
    assert(ended.tokens.subarray(3 + first).every((t) => t === 2));
    assert(ended.passes < open.passes && ended.masked === 0);
  }
});

Deno.test("an end token that was drafted and not accepted ends nothing", async () => {
  const { helper } = bigram(opinion);
  let passes = 0;
  for (let seed = 0; seed < 20; seed++) {
    const options = { helper, mix: 0.3, temperature: 1, lookAhead: 8, end: [2] };
    const states = await statesOf(options, markov().denoiser, seed);
    for (const { tokens, masked } of states) {
      const first = tokens.indexOf(2, prompt.length);
      // Until an end token is written the text goes on, and its masks are at the end.
      if (first < 0) assertEquals(tokens.indexOf(MASK), masked > 0 ? tokens.length - masked : -1);
      else assert(masked === 0 && tokens.subarray(first).every((t) => t === 2));
      passes++;
    }
  }
  assert(passes > 100, "hardly a pass was made");
});

Deno.test("logits of minus infinity do not count where their model has no share", async () => {
  const never = (id: number, l: number) => id === 0 ? -Infinity : l;
  const { denoiser } = denoiserOf((tokens, p) => rough(tokens, p).map((l, id) => never(id, l)));
  const helper = bigram((before, id) => never(6 - id, opinion(before, id))).helper;
  for (const [mix, released] of [[0, false], [1, true], [0.5, false]] as const) {
    for (const temperature of [0, 1]) {
      const tokens = (await answerOf({ mix, released, helper, temperature }, denoiser)).slice(prompt.length);
      assertEquals(tokens.filter((t) => t === 0 || t === MASK), []);
    }
  }
});

Deno.test("equal logits go to the lowest id", async () => {
  const flat = denoiserOf(() => [1, 2, 2, 0, 2, 1, 1, 5]).denoiser;
  assertEquals((await answerOf({}, flat)).slice(prompt.length), new Array(length).fill(1));
});

Deno.test("the same seed gives the same text, another seed another; at T = 0 none matters", async () => {
  const { denoiser } = markov();
  const texts = await Promise.all([1, 1, 2, 3].map((seed) => answerOf({ temperature: 1 }, denoiser, seed)));
  assertEquals(texts[0], texts[1]);
  assertNotEquals(texts[0], texts[2]);
  assertNotEquals(texts[2], texts[3]);
  assertEquals(await answerOf({}, denoiser, 1), await answerOf({}, denoiser, 2));
});

Deno.test("a helper of fewer tokens: what it does not know is never accepted, unless it comes first", async () => {
  const likely = denoiserOf((_, p) => [0, 0, 0, 0, 0, 0, p % 2 === 0 ? 5 : -5, -30]).denoiser;
  const few = bigram(() => 0).helper;
  const helper: LeftToRight = {
    name: "few",
    async open() {
      const reading = await few.open();
      return {
        ...reading,
        async logits(tokens, window) {
          const { shape: [rows], data } = await reading.logits(tokens, window);
          return { shape: [rows, 6], data: data.filter((_, i) => i % 8 < 6) };
        },
      };
    },
  };
  const states = await statesOf({ helper, mix: 0.9 }, likely);
  assert(states.at(-1)!.tokens.subarray(prompt.length).every((t, i) => (t === 6) === ((prompt.length + i) % 2 === 0)));
  // Positions 4, 6 ... begin a pass each, and bring the one behind along.
  assertEquals(states.slice(1).map(({ masked }, i) => states[i].masked - masked), [1, ...new Array(11).fill(2), 1]);
});

Deno.test("names follow from the options", () => {
  assertEquals(apdSampler().name, "apd-r0.7-m100");
  const { helper } = bigram(opinion);
  const all = {
    helper,
    mix: 0.6,
    window: 16,
    lookAhead: 200,
    temperature: 0.2,
    topP: 0.95,
    end: [0, 2],
    released: true,
  };
  assertEquals(apdSampler(all).name, "apd-r0.6-w16-m200-t0.2-p0.95-end0+2-released-by-bigram");
});

Deno.test("wrong options, a model without a cache, a masked prompt and broken logits are refused", async () => {
  const wrong: [ApdOptions, string][] = [
    [{ mix: 1.1 }, "mix 1.1: wanted a share from 0 to 1"],
    [{ mix: NaN }, "mix NaN"],
    [{ window: 0 }, "window 0: wanted a positive integer"],
    [{ window: 1.5 }, "window 1.5"],
    [{ lookAhead: 0 }, "lookAhead 0"],
    [{ temperature: -1 }, "temperature -1"],
    [{ topP: 0 }, "topP 0"],
  ];
  for (const [options, message] of wrong) assertThrows(() => apdSampler(options), RangeError, message);
  const { denoiser } = markov();
  const run = (options: ApdOptions, given = prompt, more = {}, model: Denoiser = denoiser) =>
    sample(model, given, { sampler: apdSampler(options), length, seed: 1, ...more });
  await assertRejects(
    () => run({ window: 4 }),
    RangeError,
    "window 4: this model keeps no keys and values; leave window out",
  );
  await assertRejects(() => run({}, prompt, { steps: 5 }), RangeError, "steps 5: wanted at least length 24");
  await assertRejects(() => run({}, prompt, { length: 0 }), RangeError, "length 0");
  await assertRejects(() => run({}, Int32Array.of(1, MASK)), RangeError, "token 1 of the prompt is the mask");
  await assertRejects(
    () => run({}, new Int32Array(), {}, caching({ shifted: true }).denoiser),
    RangeError,
    "give a prompt",
  );
  for (const bad of [NaN, Infinity]) {
    const broken = denoiserOf((_, p) => Array.from({ length: 8 }, (_, id) => p === 9 && id === 3 ? bad : 0)).denoiser;
    await assertRejects(() => run({}, prompt, {}, broken), NumericalError);
    const helper = bigram((_, id) => id === 3 ? bad : 0).helper;
    await assertRejects(() => run({ helper }), NumericalError);
  }
  const stop = AbortSignal.abort(new Error("enough"));
  await assertRejects(() => run({}, prompt, { signal: stop }), Error, "enough");
});
