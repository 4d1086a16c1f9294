import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { type ChoiceItem, scoreChoices } from "../../lib/evaluate/choice.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { contextual, counting, fake, logProbability, marginals, odds, shiftedFake, subsets, uniform } from "./fakes.ts";

const ids = (...tokens: number[]) => Int32Array.from(tokens);

/** An item of random tokens; every choice has `length` of them. */
function item(id: number, length: number, choices = 4): ChoiceItem {
  const r = rng(1, "item", id);
  const draw = (n: number) => Int32Array.from({ length: n }, () => r.int(9));
  return {
    id: `item ${id}`,
    prefix: draw(3),
    choices: Array.from({ length: choices }, () => draw(length)),
    suffix: draw(id % 3),
    answer: r.int(choices),
  };
}

/** What the estimate of a choice is the mean of: over mask counts n, over masks of n tokens, (L / n) Σ log p. */
function expectation({ prefix, suffix }: ChoiceItem, choice: Int32Array, logit: typeof contextual): number {
  const L = choice.length;
  let sum = 0;
  for (let n = 1; n <= L; n++) {
    const masks = subsets(L, n);
    for (const mask of masks) {
      const sequence = [...prefix, ...choice, ...suffix];
      for (const p of mask) sequence[prefix.length + p] = 9;
      for (const p of mask) {
        sum += logProbability(logit, sequence, prefix.length + p, choice[p]) * L / n / masks.length / L;
      }
    }
  }
  return sum;
}

const argmax = (x: number[]) => x.indexOf(Math.max(...x));

Deno.test("choices are ranked by the exact expectation when every count is drawn and masks of a count are alike", async () => {
  const items = Array.from({ length: 40 }, (_, i): ChoiceItem => {
    const one = item(i, 1 + i % 5);
    return { ...one, choices: one.choices.map((c) => c.map(() => c[0])) };
  });
  for (const length of [1, 2, 3, 4, 5]) {
    const some = items.filter((i) => i.choices[0].length === length);
    const wanted = some.map((i) => Number(argmax(i.choices.map((c) => expectation(i, c, counting))) === i.answer));
    for (const draws of [length, 2 * length, 3 * length]) {
      const { right, accuracy, n } = await scoreChoices(fake(counting).denoiser, some, { draws, seed: 3 });
      assertEquals(Array.from(right), wanted);
      assertEquals([accuracy, n], [wanted.reduce((a, b) => a + b) / 8, 8]);
    }
  }
});

Deno.test("of two tokens one is masked as often as both: four draws rank choices exactly", async () => {
  // Token 1 gains 1 where one token is masked and loses 0.6 where both are: 0.4 better than token 2 where both counts weigh the same.
  const logit = (sequence: readonly number[], _position: number, id: number) =>
    id === 1 ? (sequence.filter((t) => t === 9).length === 1 ? 1 : -0.6) : 0;
  const items = Array.from({ length: 30 }, (_, i): ChoiceItem => ({
    id: `${i}`,
    prefix: ids(3),
    choices: [ids(2, 2), ids(1, 1)],
    suffix: ids(),
    answer: 1,
  }));
  const { right } = await scoreChoices(fake(logit).denoiser, items, { draws: 4, seed: 1 });
  assertEquals(Array.from(right), items.map(() => 1));
});

Deno.test("with many draws the ranking is that of the expectation over all masks", async () => {
  const items = Array.from({ length: 60 }, (_, i) => item(i, 3));
  const scores = items.map((i) => i.choices.map((c) => expectation(i, c, contextual)));
  // Items whose two best choices are far apart, in units of what 300 draws leave of the noise (below 0.15).
  const clear = items.filter((_, i) => {
    const [first, second] = scores[i].slice().sort((a, b) => b - a);
    return first - second > 0.6;
  });
  assert(clear.length >= 10, `only ${clear.length} items are clear`);
  const wanted = clear.map((i) => Number(argmax(scores[items.indexOf(i)]) === i.answer));
  const { right } = await scoreChoices(fake(contextual).denoiser, clear, { draws: 300, seed: 1 });
  assertEquals(Array.from(right), wanted);
});

Deno.test("a model of independent tokens prefers the choice of higher odds, also among unequal lengths", async () => {
  const items: ChoiceItem[] = [
    { id: "a", prefix: ids(1), choices: [ids(1, 1), ids(0, 7), ids(2, 3)], suffix: ids(), answer: 1 },
    { id: "b", prefix: ids(1), choices: [ids(0, 0, 0), ids(0), ids(0, 0)], suffix: ids(2), answer: 1 },
    { id: "c", prefix: ids(), choices: [ids(1, 4), ids(1, 2)], suffix: ids(), answer: 1 },
  ];
  const { right, accuracy, chance, standardError } = await scoreChoices(fake(marginals).denoiser, items, {
    draws: 200,
    seed: 1,
  });
  assertEquals(odds[0] > odds[1], true);
  assertEquals(Array.from(right), [1, 1, 0]);
  assertEquals(accuracy, 2 / 3);
  assert(Math.abs(chance - (1 / 3 + 1 / 3 + 1 / 2) / 3) < 1e-15);
  assert(Math.abs(standardError - Math.sqrt(2 / 3 * (1 / 3) / 2)) < 1e-15);
});

Deno.test("a choice is worth the sum of its log probabilities, whatever its length", async () => {
  // Token 1 has log p -0.51 alone; of two tokens 2 each has -0.29: less in all, more for each.
  const logit = (sequence: readonly number[], _position: number, id: number) =>
    sequence.length === 2 ? id === 1 ? Math.log(9 * 1.5) : 0 : id === 2 ? Math.log(9 * 3) : 0;
  const list: ChoiceItem[] = [{ id: "a", prefix: ids(3), choices: [ids(2, 2), ids(1)], suffix: ids(), answer: 1 }];
  assertEquals((await scoreChoices(fake(logit).denoiser, list, { draws: 2, seed: 1 })).accuracy, 1);
});

Deno.test("choices of one token take one sequence per item, exactly", async () => {
  const items = Array.from({ length: 10 }, (_, i) => ({ ...item(i, 1), suffix: ids(1, 2) }));
  const { denoiser, calls } = fake(contextual);
  const { right, mcStandardError } = await scoreChoices(denoiser, items, { draws: 8, seed: 1 });
  assertEquals(calls.length, 1);
  assertEquals([calls[0].sequences.length, calls[0].rows!.length], [10, 10]);
  assertEquals(calls[0].sequences, items.map((i) => [...i.prefix, 9, 1, 2]));
  assertEquals(mcStandardError, 0);
  const wanted = items.map((i) => {
    const sequence = [...i.prefix, 9, ...i.suffix];
    return Number(argmax(i.choices.map((c) => logProbability(contextual, sequence, 3, c[0]))) === i.answer);
  });
  assertEquals(Array.from(right), wanted);
});

Deno.test("only the choice is masked, with the same masks for every choice of one length, every model and every order of items", async () => {
  const items = Array.from({ length: 6 }, (_, i) => item(i, 4));
  const record = async (logit: typeof contextual, list: ChoiceItem[], seed = 1) => {
    const { denoiser, calls } = fake(logit);
    await scoreChoices(denoiser, list, { draws: 4, seed });
    return calls.flatMap((c) => c.sequences.map(String)).sort();
  };
  const seen = await record(contextual, items);
  assertEquals(await record(uniform, items), seen);
  assertEquals(await record(contextual, items.slice().reverse()), seen);
  assertNotEquals(await record(contextual, items, 2), seen);
  for (const { prefix, choices, suffix } of items) {
    const masks = choices.map((choice) => {
      const full = [...prefix, ...choice, ...suffix];
      const mine = seen.map((s) => s.split(",").map(Number)).filter((s) =>
        s.length === full.length && s.includes(9) && s.every((t, p) => t === full[p] || t === 9)
      );
      for (const s of mine) {
        s.forEach((t, p) => assert(t !== 9 || (p >= prefix.length && p < prefix.length + 4), "the context is masked"));
      }
      return mine.map((s) => s.map((t) => Number(t === 9)).join("")).sort();
    });
    masks.forEach((m) => assertEquals(m, masks[0]));
    // Four draws of four tokens: counts 1, 2, 3 and 4 once each.
    assertEquals(masks[0].map((m) => m.replaceAll("0", "").length).sort(), [1, 2, 3, 4]);
  }
});

Deno.test("the error over masks says how far the accuracy moves from seed to seed", async () => {
  const items = Array.from({ length: 30 }, (_, i) => item(i, 3));
  const results = await Promise.all(
    Array.from({ length: 60 }, (_, seed) => scoreChoices(fake(contextual).denoiser, items, { draws: 4, seed })),
  );
  const mean = results.reduce((s, r) => s + r.accuracy, 0) / 60;
  const found = Math.sqrt(results.reduce((s, r) => s + (r.accuracy - mean) ** 2, 0) / 59);
  const claimed = Math.sqrt(results.reduce((s, r) => s + r.mcStandardError ** 2, 0) / 60);
  // Leaving one draw out errs on the safe side for something as coarse as an argmax.
  assert(found > 0 && claimed > 0.7 * found && claimed < 3 * found, `claimed ${claimed}, found ${found}`);
  // A model that knows nothing answers the first of equal choices, whatever is masked.
  const still = await scoreChoices(fake(uniform).denoiser, items, { draws: 4, seed: 1 });
  assertEquals(still.mcStandardError, 0);
  assertEquals(Array.from(still.right), items.map((i) => Number(i.answer === 0)));
});

Deno.test("a choice without a context is refused where logits are shifted, whichever of its tokens are masked", async () => {
  const first = { ...item(1, 2), prefix: ids() };
  for (const seed of [1, 2, 3, 4, 5]) {
    const { denoiser, calls } = shiftedFake(contextual);
    await assertRejects(
      () => scoreChoices(denoiser, [item(0, 2), first], { draws: 1, seed }),
      RangeError,
      'Cannot score the choices of "item 1": position 0 is masked, but this model predicts from position 1 on',
    );
    assertEquals(calls, []);
  }
  const one = { ...first, prefix: ids(3) };
  assertEquals((await scoreChoices(shiftedFake(contextual).denoiser, [one], { draws: 1, seed: 1 })).n, 1);
  assertEquals((await scoreChoices(fake(contextual).denoiser, [first], { draws: 1, seed: 1 })).n, 1);
});

Deno.test("numbers of draws out of range, and empty choices, are refused", async () => {
  for (const draws of [0, -1, 1.5, NaN]) {
    await assertRejects(
      () => scoreChoices(fake(uniform).denoiser, [item(1, 2)], { draws, seed: 1 }),
      RangeError,
      "draws",
    );
  }
  const empty = { ...item(1, 2), choices: [ids(1), ids()] };
  await assertRejects(() => scoreChoices(fake(uniform).denoiser, [empty], { draws: 1, seed: 1 }), RangeError);
});
