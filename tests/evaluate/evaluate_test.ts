import { loadModel } from "../../lib/checkpoint/open.ts";
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { visible } from "../../lib/diffusion/mcs.ts";
import { evaluate, sizeOf } from "../../lib/evaluate/evaluate.ts";
import {
  boundOn,
  type ChoiceTask,
  choiceTasks,
  type ElboTask,
  knowsNanoWorld,
  tasks,
} from "../../lib/evaluate/tasks.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { decode, encode, VOCABULARY } from "../../lib/nanoworld/vocabulary.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { storedBits } from "../../lib/quant/forms/decode.ts";
import { decodeRows, encodeRows } from "../../lib/report/rows.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { version } from "../../lib/version.ts";
import { randomTokens, tinyModel } from "../model/tiny.ts";

/** A tokenizer of letters: a is 0. */
const tokenizer = {
  encode: (text: string) => Int32Array.from(text, (c) => c.charCodeAt(0) - 97),
  decode: (tokens: ArrayLike<number>) => String.fromCharCode(...Array.from(tokens, (t) => t + 97)),
};

const nanoWorld = { encode, decode: (tokens: ArrayLike<number>) => decode(Array.from(tokens)) };

const letters: ChoiceTask = {
  kind: "choice",
  id: "letters",
  version: "7",
  draws: 3,
  items: ({ encode }) => {
    const r = rng(1, "letters");
    const word = (n: number) => encode(Array.from({ length: n }, () => "abcdefgh"[r.int(8)]).join(""));
    return Promise.resolve(Array.from({ length: 30 }, (_, i) => ({
      id: `${i}`,
      prefix: word(4),
      choices: [word(2), word(2), word(3)],
      suffix: word(i % 2),
      answer: i % 3,
    })));
  },
};
const text: ElboTask = {
  kind: "elbo",
  id: "text",
  version: "2",
  draws: 2,
  windows: () => Promise.resolve(Array.from({ length: 25 }, (_, i) => randomTokens(9, i))),
};

Deno.test("rows say what was measured, on what, and how sure it is", async () => {
  await using model = await tinyModel({ tokenizer });
  const calibration = visible({ windows: [randomTokens(12, 1), randomTokens(12, 2)] });
  const method = gptq({ bits: 2, group: 16 });
  const quantized = await quantize(model, method, { calibration });
  const items: Record<string, number[]> = {};
  const progress: string[] = [];
  const rows = await evaluate(quantized, [letters, text], {
    seed: 5,
    limit: 20,
    onItems: (task, values) => items[task] = Array.from(values),
    onProgress: (done, total, task) => progress.push(`${task} ${done}/${total}`),
  });
  assertEquals(rows.map((r) => [r.task, r.metric, r.n, r.taskVersion]), [
    ["letters", "accuracy", 20, "7"],
    ["text", "nats per token", 20, "2"],
  ]);
  for (const row of rows) {
    assertEquals([row.method, row.calibration, row.seed, row.codeVersion], [method.name, "visible", 5, version]);
    const values = items[row.task];
    assertEquals(values.length, 20);
    const mean = values.reduce((a, b) => a + b, 0) / 20;
    assert(Math.abs(row.value - mean) <= 1e-12);
    const variance = values.reduce((s, x) => s + (x - mean) ** 2, 0) / 19;
    // For accuracies p (1 - p) / (n - 1) is the same number.
    assert(Math.abs(row.standardError - Math.sqrt(variance / 20)) <= 1e-12);
    assert(row.mcStandardError! > 0);
    assertEquals({ bitsPerWeight: row.bitsPerWeight, storedBytes: row.storedBytes }, sizeOf(quantized));
  }
  assert(Math.abs((rows[0].chance as number) - 1 / 3) < 1e-12);
  assertEquals(rows[1].perplexity, Math.exp(rows[1].value));
  assertEquals(progress.at(-1), "text 20/20");
  assertEquals(decodeRows(encodeRows(rows)), rows);
});

Deno.test("the same seed gives the same rows; limit takes items from the start", async () => {
  await using model = await tinyModel({ tokenizer });
  const run = (seed: number, limit?: number, batch?: number) =>
    evaluate(model, [letters, text], { seed, limit, batch });
  const rows = await run(1);
  assertEquals(await run(1), rows);
  assertEquals(await run(1, 1000), rows);
  assertNotEquals((await run(2))[1].value, rows[1].value);
  assertEquals(rows.map((r) => [r.method, r.calibration, r.n]), [["fp", undefined, 30], ["fp", undefined, 25]]);
  let first: number[] = [];
  await evaluate(model, [text], { seed: 1, onItems: (_, values) => first = Array.from(values).slice(0, 4) });
  const [few] = await evaluate(model, [text], { seed: 1, limit: 4 });
  assert(Math.abs(few.value - first.reduce((a, b) => a + b) / 4) <= 1e-5);
  for (const limit of [0, -1, 0.5, NaN]) await assertRejects(() => run(1, limit), RangeError, `limit is ${limit}`);
});

Deno.test("two items are enough, and fewer are refused: one has no standard error", async () => {
  await using model = await loadModel("data/nano-llada");
  const [row] = await evaluate(model, [tasks.nano_mmlu], { limit: 2, seed: 1 });
  assertEquals(row.n, 2);
  for (const limit of [1, 0, NaN]) {
    await assertRejects(() => evaluate(model, [tasks.nano_mmlu], { limit, seed: 1 }), RangeError, "at least 2 items");
  }
});

Deno.test("an abort ends an evaluation", async () => {
  await using model = await tinyModel({ tokenizer });
  const signal = AbortSignal.abort(new Error("enough"));
  await assertRejects(() => evaluate(model, [text], { seed: 1, signal }), Error, "enough");
});

Deno.test("sizes are counted from what is stored; full precision takes 16 bits", async () => {
  await using model = await tinyModel();
  assertEquals(sizeOf(model), { bitsPerWeight: 16, storedBytes: 2 * 2 * (4 * 16 * 16 + 3 * 16 * 32) });
  const quantized = await quantize(model, rtn({ bits: 2, group: 16 }));
  const bits = [...quantized.quantized.values()].reduce((s, q) => s + storedBits(q), 0);
  const { bitsPerWeight, storedBytes } = sizeOf(quantized);
  assertEquals([storedBytes, bitsPerWeight], [bits / 8, bits / (2 * (4 * 16 * 16 + 3 * 16 * 32))]);
  assertEquals(bitsPerWeight, 2 + 16 / 16 + 2 / 16);
});

Deno.test("the tasks that ship: seven with choices and the bound, at least 300 items each, answers in range", async () => {
  assertEquals(choiceTasks.length, 7);
  for (const task of choiceTasks) {
    const items = await task.items(nanoWorld);
    assert(items.length >= 300, task.id);
    assertEquals(new Set(items.map((i) => i.id)).size, items.length);
    for (const { choices, answer } of items) {
      assert(answer >= 0 && answer < choices.length && choices.every((c) => c.length > 0), task.id);
    }
  }
  assert((await tasks.elbo.windows(nanoWorld)).every((w) => w.length > 1));
});

Deno.test("NanoWorld's tasks refuse a tokenizer with another vocabulary, whatever it is called", async () => {
  assert(knowsNanoWorld(nanoWorld));
  // Two words that changed places; one token more; a vocabulary of letters, which has no token for the words.
  const swapped = new Map([[VOCABULARY[40], 41], [VOCABULARY[41], 40]]);
  const others = [
    { ...nanoWorld, encode: (text: string) => encode(text).map((id) => swapped.get(VOCABULARY[id]) ?? id) },
    { ...nanoWorld, encode: (text: string) => Int32Array.from([...encode(text), 0]) },
    { ...nanoWorld, encode: (text: string) => (encode(text), encode("unheard-of")) },
    tokenizer,
  ];
  for (const other of others) {
    assertEquals(knowsNanoWorld(other), false);
    await assertRejects(() => tasks.elbo.windows(other), RangeError, "another vocabulary");
    for (const task of choiceTasks) {
      await assertRejects(() => task.items(other), RangeError, `Cannot measure on ${task.id}`);
    }
  }
});

Deno.test("the bound on a corpus is that of its windows", async () => {
  await using model = await tinyModel({ tokenizer });
  const windows = await text.windows(tokenizer);
  const [wanted] = await evaluate(model, [{ ...text, draws: 4 }], { seed: 5 });
  const [row] = await evaluate(model, [boundOn({ windows }, { id: "other", version: "9" })], { seed: 5 });
  assertEquals(row, { ...wanted, task: "other", taskVersion: "9" });
});
