import { assert, assertAlmostEquals, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { apdSampler } from "../../../lib/diffusion/apd/apd.ts";
import type { Sampler } from "../../../lib/diffusion/sampler.ts";
import { dreamSampler } from "../../../lib/diffusion/samplers/dream.ts";
import { lladaSampler } from "../../../lib/diffusion/samplers/llada.ts";
import { decode, type Decoded, type PromptItem } from "../../../lib/evaluate/decoding/decode.ts";
import { decodingOf, promptsOf } from "../../../lib/evaluate/decoding/decoding.ts";
import { sizeOf } from "../../../lib/evaluate/evaluate.ts";
import type { ChoiceTask } from "../../../lib/evaluate/tasks.ts";
import { rtn } from "../../../lib/methods/rtn.ts";
import { quantize } from "../../../lib/pipeline/quantize.ts";
import { decodeRows, encodeRows } from "../../../lib/report/rows.ts";
import { version } from "../../../lib/version.ts";
import { randomTokens, tinyModel } from "../../model/tiny.ts";
import { contextual, fake } from "../fakes.ts";

const MASK = 9;
const item = (id: string, prompt: number[], answer: number[]): PromptItem => ({
  id,
  prompt: Int32Array.from(prompt),
  answer: Int32Array.from(answer),
});

/** A sampler that writes these positions of the answer with position % 10, step by step, in so many passes each. */
const scripted = (script: readonly { writes: number[]; passes?: number; helper?: number }[]): Sampler => ({
  name: "scripted",
  async *walk({ maskId }, prompt, { length, steps }) {
    const tokens = new Int32Array(prompt.length + length).fill(maskId);
    tokens.set(prompt);
    let passes = 0, helperPasses = 0;
    const state = (done: number) => {
      const masked = tokens.filter((t) => t === maskId).length;
      return { tokens: tokens.slice(), masked, done, steps, passes, helperPasses };
    };
    yield state(0);
    for (const [i, { writes, passes: more = 1, helper = 0 }] of script.entries()) {
      for (const p of writes) tokens[prompt.length + p] = p;
      passes += more;
      helperPasses += helper;
      yield state(i + 1);
    }
  },
});

Deno.test("passes belong to the spans that they write to; a span at the cap was written one by one", async () => {
  const { denoiser } = fake(contextual);
  const script = [
    { writes: [0] },
    { writes: [2, 1] }, // both spans of two
    { writes: [], passes: 1 }, // none
    { writes: [3], helper: 4 },
    { writes: [4, 5], passes: 2 }, // as many passes as tokens
    { writes: [6] }, // what is left, alone
  ];
  const [one] = await decode(denoiser, [item("a", [3, 1], [0, 1, 2, 3, 4, 5, 6])], {
    sampler: scripted(script),
    span: 2,
    seed: 1,
  });
  assertEquals(one, {
    id: "a",
    tokens: Int32Array.of(3, 1, 0, 1, 2, 3, 4, 5, 6),
    right: true,
    length: 7,
    passes: 7,
    helperPasses: 4,
    spans: 4,
    spanPasses: 2 + 2 + 2 + 1,
    capped: 4,
    flips: undefined,
    seconds: undefined,
  });
  const whole = await decode(denoiser, [item("a", [3, 1], [0, 1, 2, 3, 4, 5, 0])], {
    sampler: scripted(script),
    seed: 1,
  });
  const { spans, spanPasses, capped, right } = whole[0];
  assertEquals([spans, spanPasses, capped, right], [1, 6, 0, false]);
  const [three] = await decode(denoiser, [item("a", [], [0, 1, 2, 3, 4, 5, 6])], {
    sampler: scripted([{ writes: [0, 1, 2] }, { writes: [5, 4, 3] }, { writes: [6] }]),
    span: 3,
    seed: 1,
  });
  assertEquals([three.spans, three.spanPasses, three.capped], [3, 3, 1]);
});

Deno.test("the sampler of one token a pass has as many passes as tokens and all spans at the cap", async () => {
  const items = [item("a", [3, 1, 4], [1, 2, 3, 4]), item("b", [2], [5, 5])];
  const { denoiser, calls } = fake(contextual);
  const decoded = await decode(denoiser, items, { sampler: lladaSampler(), span: 2, seed: 1 });
  assertEquals(decoded.map(({ passes, length, spans }) => [passes, length, spans]), [[4, 4, 2], [2, 2, 1]]);
  assertEquals(calls.length, 6, "without a reference nothing else is run");
  const blocks = await decode(denoiser, items, { sampler: lladaSampler({ block: 2 }), span: 2, seed: 1 });
  assertEquals(blocks.map(({ spanPasses, capped }) => [spanPasses, capped]), [[4, 2], [2, 1]]);
  const halved = { sampler: lladaSampler({ block: 2 }), steps: (n: number) => n / 2, span: 2, seed: 1 };
  const fast = await decode(denoiser, items, halved);
  assertEquals(fast.map(({ passes, spanPasses, capped }) => [passes, spanPasses, capped]), [[2, 2, 0], [1, 1, 0]]);
});

const items = Array.from({ length: 6 }, (_, i) => item(`q${i}`, [3, i, 4], [1, 2, 3, 4, 5].slice(0, 2 + i % 4)));
const samplers = [
  lladaSampler(),
  lladaSampler({ temperature: 1, remasking: "random" }),
  dreamSampler({ alg: "origin", temperature: 1 }),
  apdSampler({ mix: 0.7, lookAhead: 2, temperature: 1 }),
];

Deno.test("a model beside itself flips nothing, whatever its sampler draws", async () => {
  for (const sampler of samplers) {
    const [model, reference] = [fake(contextual), fake(contextual)];
    const options = { sampler, reference: reference.denoiser, batch: 2, seed: 1 };
    const decoded = await decode(model.denoiser, items, options);
    assertEquals(decoded.map(({ flips }) => flips), items.map(() => 0), sampler.name);
    assert(reference.calls.every(({ sequences }) => sequences.length <= 2));
    // Each answer token was asked about once.
    const asked = reference.calls.reduce((sum, { rows }) => sum + rows!.length, 0);
    assertEquals(asked, items.reduce((sum, { answer }) => sum + answer.length, 0));
  }
});

Deno.test("commits that the reference would make otherwise on the same canvas are counted, not those of another way", async () => {
  // The model likes the position's own number; the reference that plus one where the first answer token is written, or everywhere.
  const own = (_: readonly number[], p: number, id: number) => id === p ? 2 : id === MASK ? 9 : 0;
  const late = (tokens: readonly number[], p: number, id: number) => own(tokens, tokens[1] === MASK ? p : p + 1, id);
  const other = (tokens: readonly number[], p: number, id: number) => own(tokens, p + 1, id);
  const prompts = [item("a", [3], [1, 2, 3, 4]), item("b", [2], [1, 7])];
  const flips = async (reference: typeof own, sampler: Sampler = lladaSampler({ block: 1 })) =>
    (await decode(fake(own).denoiser, prompts, { sampler, reference: fake(reference).denoiser, seed: 1 }))
      .map(({ flips, right }) => [flips, right]);
  assertEquals(await flips(own), [[0, true], [0, false]]);
  assertEquals(await flips(other), [[4, true], [2, false]]);
  assertEquals(await flips(late), [[3, true], [1, false]]);
  assertEquals(await flips(late, apdSampler({ mix: 1 })), [[0, true], [0, false]], "all on the masked canvas");
});

Deno.test("seeds depend on the prompt's id, so that fewer prompts give the same answers", async () => {
  const { denoiser } = fake(contextual);
  const options = { sampler: lladaSampler({ temperature: 1 }), seed: 1 };
  const all = await decode(denoiser, items, options);
  assertEquals(await decode(denoiser, items.slice(3), options), all.slice(3));
  assertNotEquals(await decode(denoiser, items, { ...options, seed: 2 }), all);
  const twins = await decode(denoiser, ["a", "b"].map((id) => item(id, [3, 1], [1, 2, 3, 4, 5, 6])), options);
  assertNotEquals(twins[0].tokens, twins[1].tokens, "each prompt has noise of its own");
});

Deno.test("seconds are the clock's, of the walk alone", async () => {
  let time = 1000;
  const { denoiser } = fake(contextual);
  const slow = {
    ...denoiser,
    logits: (...args: Parameters<typeof denoiser.logits>) => (time += 250, denoiser.logits(...args)),
  };
  const options = { sampler: lladaSampler(), reference: slow, now: () => time, seed: 1 };
  const decoded = await decode(slow, items, options);
  assertEquals(decoded.map(({ seconds }) => seconds), items.map(({ answer }) => answer.length / 4));
});

Deno.test("rows: every measure with its error, the sampler's name, and what evaluate says of the model", async () => {
  await using model = await tinyModel();
  await using quantized = await quantize(model, rtn({ bits: 2, group: 16 }));
  const prompts = {
    id: "words",
    version: "3",
    items: Array.from({ length: 9 }, (_, i) => ({
      id: `${i}`,
      prompt: randomTokens(5, i),
      answer: randomTokens(2 + i % 3, 100 + i),
    })),
  };
  let decoded: readonly Decoded[] = [], ticks = 0;
  const rows = await decodingOf(quantized, prompts, {
    sampler: apdSampler({ mix: 0.9 }),
    reference: model,
    span: 2,
    limit: 8,
    seed: 5,
    now: () => 40 * ticks++,
    onDecoded: (all) => decoded = all,
  });
  assertEquals(decoded.length, 8);
  const sum = (of: (d: Decoded) => number) => decoded.reduce((total, d) => total + of(d), 0);
  const tokens = sum(({ length }) => length), spans = sum((d) => d.spans);
  const wanted: [string, number][] = [
    ["accuracy", sum(({ right }) => Number(right)) / 8],
    ["passes per token", sum(({ passes }) => passes) / tokens],
    ["helper passes per token", sum(({ helperPasses }) => helperPasses!) / tokens],
    ["passes per span", sum(({ spanPasses }) => spanPasses) / spans],
    ["spans at the cap", sum(({ capped }) => capped) / spans],
    ["flipped commits", sum(({ flips }) => flips!) / tokens],
    ["tokens per second", tokens / (8 * 0.04)],
  ];
  assertEquals(rows.map(({ metric }) => metric), wanted.map(([metric]) => metric));
  rows.forEach(({ value }, i) => assertAlmostEquals(value, wanted[i][1], 1e-12, wanted[i][0]));
  assert(rows[5].value > 0, "two bits change something");
  for (const row of rows) {
    const { method, task, n, seed, taskVersion, codeVersion, sampler, bitsPerWeight } = row;
    assertEquals({ method, task, n, seed, taskVersion, codeVersion, sampler, bitsPerWeight }, {
      method: rtn({ bits: 2, group: 16 }).name,
      task: "words",
      n: 8,
      seed: 5,
      taskVersion: "3",
      codeVersion: version,
      sampler: apdSampler({ mix: 0.9 }).name,
      bitsPerWeight: sizeOf(quantized).bitsPerWeight,
    });
    assert(row.standardError >= 0);
  }
  assertEquals(decodeRows(encodeRows(rows)), rows);
  const plain = await decodingOf(model, prompts, { sampler: lladaSampler(), seed: 1 });
  assertEquals(plain.map(({ metric, value, standardError }) => [metric, value, standardError]).slice(1), [
    ["passes per token", 1, 0],
    ["passes per span", 3, Math.sqrt(6 / 9 / 8)],
    ["spans at the cap", 1, 0],
  ]);
});

Deno.test("the error of a ratio is that of its parts: with equal lengths the error of a mean, of accuracies the binomial one", async () => {
  await using model = await tinyModel();
  const given = Array.from(
    { length: 12 },
    (_, i) => ({ id: `${i}`, prompt: randomTokens(6, i), answer: randomTokens(3, i) }),
  );
  const sampler = apdSampler({ mix: 0.5, temperature: 1 });
  const first = await decode(model, given, { sampler, seed: 1 });
  // Answers that are right for five of twelve.
  const items = given.map((one, i) => i < 5 ? { ...one, answer: first[i].tokens.slice(6) } : one);
  const rows = await decodingOf(model, { id: "t", version: "1", items }, { sampler, seed: 1 });
  const [accuracy, passes] = rows;
  assertAlmostEquals(accuracy.value, 5 / 12, 1e-15);
  assertAlmostEquals(accuracy.standardError, Math.sqrt(5 / 12 * 7 / 12 / 11), 1e-15);
  const each = first.map(({ passes }) => passes / 3);
  const mean = each.reduce((a, b) => a + b, 0) / 12;
  const spread = each.reduce((total, x) => total + (x - mean) ** 2, 0);
  assertAlmostEquals(passes.value, mean, 1e-15);
  assertAlmostEquals(passes.standardError, Math.sqrt(spread / 11 / 12), 1e-15);
  assert(passes.standardError > 0);
});

Deno.test("prompts are the items whose answer has two tokens or more and stands at the end", async () => {
  const of = (choices: number[][], suffix: number[], answer: number, id: string) => ({
    id,
    prefix: Int32Array.of(1, 2),
    choices: choices.map((c) => Int32Array.from(c)),
    suffix: Int32Array.from(suffix),
    answer,
  });
  const all = [
    of([[1], [2, 3]], [0], 1, "kept"),
    of([[1], [2, 3]], [0], 0, "one token"),
    of([[1, 4], [2, 3]], [], 0, "kept too"),
    of([[1, 4], [2, 3]], [5, 6], 0, "in the middle"),
  ];
  const task: ChoiceTask = { kind: "choice", id: "t", version: "2", draws: 1, items: () => Promise.resolve(all) };
  const tokenizer = { encode: () => new Int32Array(), decode: () => "" };
  assertEquals(await promptsOf(task, tokenizer), {
    id: "t",
    version: "2",
    items: [item("kept", [1, 2], [2, 3]), item("kept too", [1, 2], [1, 4])],
  });
  const none = { ...task, items: () => Promise.resolve([all[1], all[3]]) };
  await assertRejects(() => promptsOf(none, tokenizer), RangeError, "Cannot decode t: it has no answer of two tokens");
});

Deno.test("too few prompts, another vocabulary and a span of nothing are refused; an abort ends the run", async () => {
  await using model = await tinyModel();
  const prompts = { id: "t", version: "1", items };
  const sampler = lladaSampler();
  await assertRejects(() => decodingOf(model, prompts, { sampler, limit: 1, seed: 1 }), RangeError, "on 1 prompts");
  const { denoiser } = fake(contextual);
  const run = (options: object) => decode(denoiser, items, { sampler, seed: 1, ...options });
  await assertRejects(() => run({ span: 0 }), RangeError, "span 0: wanted a positive integer");
  await assertRejects(() => run({ span: 1.5 }), RangeError, "span 1.5");
  await assertRejects(
    () => run({ reference: model }),
    RangeError,
    "the reference has 23 tokens with mask 22, the model 10",
  );
  await assertRejects(() => run({ reference: { ...denoiser, maskId: 8 } }), RangeError, "with mask 8");
  await assertRejects(() => run({ signal: AbortSignal.abort(new Error("enough")) }), Error, "enough");
});
