import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { loadCorpus } from "../../lib/corpus/corpus.ts";
import { inFolder } from "../model/tiny.ts";

/** A tokenizer of numbers separated by spaces. */
const tokenizer = {
  encode: (text: string) => Int32Array.from(text.split(" ").filter(Boolean), Number),
  decode: (tokens: ArrayLike<number>) => Array.from(tokens).join(" "),
};

/** Documents of these lengths: document d holds 1000 d, 1000 d + 1, ... */
const documents = (lengths: readonly number[]) =>
  lengths.map((n, d) => Array.from({ length: n }, (_, i) => 1000 * d + i).join(" "));
const jsonl = (texts: readonly string[]) => texts.map((text) => JSON.stringify({ text }) + "\n").join("");

Deno.test("windows are drawn from the seed, whole, and no token of the file is used twice", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 4 }),
        async (lengths, length, count) => {
          await Deno.writeTextFile(path, jsonl(documents(lengths)));
          const options = { tokenizer, count, length, seed: 1 };
          const load = () => loadCorpus(path, options);
          // Enough long documents suffice, too few tokens never do; in between it depends on the order.
          if (lengths.filter((n) => n >= length).length < count) {
            if (lengths.reduce((a, b) => a + b, 0) < count * length) await assertRejects(load, RangeError, path);
            return;
          }
          const { windows } = await load();
          assertEquals(windows.map((w) => w.length), new Array(count).fill(length));
          const all = windows.flatMap((w) => Array.from(w));
          assertEquals(new Set(all).size, all.length);
          for (const w of windows) {
            for (let p = 1; p < length; p++) assert(w[p] === w[p - 1] + 1 || w[p] % 1000 === 0, `${w} skips tokens`);
          }
          assertEquals((await load()).windows, windows);
        },
      ),
      { seed: 1, numRuns: 60 },
    );
  }));

Deno.test("a document gives one window; where documents are too few for that, they are cut into windows that do not overlap", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.txt`;
    await Deno.writeTextFile(path, documents([500, 500, 500]).join("\n"));
    const { windows } = await loadCorpus(path, { tokenizer, count: 3, length: 10, seed: 4 });
    assertEquals(windows.map((w) => Math.floor(w[0] / 1000)).sort(), [0, 1, 2]);
    assertEquals(windows.map((w) => w[9] - w[0]), [9, 9, 9]);
    const other = await loadCorpus(path, { tokenizer, count: 3, length: 10, seed: 5 });
    assertNotEquals(other.windows, windows);
    const { windows: all } = await loadCorpus(path, { tokenizer, count: 150, length: 10, seed: 4 });
    assertEquals(new Set(all.flatMap((window) => Array.from(window))).size, 1500);
    const more = loadCorpus(path, { tokenizer, count: 151, length: 10, seed: 4 });
    await assertRejects(() => more, RangeError, `Cannot draw 151 windows of 10 tokens from ${path}`);
  }));

Deno.test("short documents are joined in the order drawn", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    await Deno.writeTextFile(path, jsonl(documents([4, 4, 4, 4])));
    const { windows: [first] } = await loadCorpus(path, { tokenizer, count: 1, length: 10, seed: 1 });
    const drawn = [first[0], first[4], first[8]];
    assertEquals(drawn.map((t) => t % 1000), [0, 0, 0]);
    assertEquals(new Set(drawn).size, 3);
    await assertRejects(() => loadCorpus(path, { tokenizer, count: 2, length: 10, seed: 1 }), RangeError, "give 1");
  }));

Deno.test("a malformed line is named by its place in the file, empty lines counted", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    for (const line of ["{", '{"text": 3}', '"text"', "null", '{"txt": "1 2 3"}']) {
      await Deno.writeTextFile(path, `{"text": "1 2 3"}\n\n  \n${line}\n`);
      const load = loadCorpus(path, { tokenizer, count: 1, length: 2, seed: 1 });
      await assertRejects(() => load, SyntaxError, `${path}, line 4`);
    }
  }));

Deno.test("counts and lengths out of range, and a missing file, are refused", async () => {
  for (const [count, length] of [[0, 4], [1.5, 4], [2, 0], [2, NaN]]) {
    await assertRejects(
      () => loadCorpus("none.jsonl", { tokenizer, count, length, seed: 1 }),
      RangeError,
      "none.jsonl",
    );
  }
  const missing = () => loadCorpus("tests/none.jsonl", { tokenizer, count: 1, length: 1, seed: 1 });
  await assertRejects(missing, Deno.errors.NotFound);
});

Deno.test("chats mark their answers, whichever way they are written; plain text marks none", () =>
  inFolder(async (folder) => {
    const path = `${folder}/chat.jsonl`, load = () => loadCorpus(path, { tokenizer, count: 1, length: 6, seed: 1 });
    const chat = [{ role: "user", content: "1 2" }, { role: "assistant", content: "3 4 5" }, {
      role: "user",
      content: "6",
    }];
    await Deno.writeTextFile(path, JSON.stringify({ messages: chat }) + "\n");
    assertEquals(await load(), {
      windows: [Int32Array.of(1, 2, 3, 4, 5, 6)],
      answers: [Uint8Array.of(0, 0, 1, 1, 1, 0)],
    });
    await Deno.writeTextFile(path, JSON.stringify({ prompt: "1 2 3 4", response: "5 6" }) + "\n");
    assertEquals(await load(), {
      windows: [Int32Array.of(1, 2, 3, 4, 5, 6)],
      answers: [Uint8Array.of(0, 0, 0, 0, 1, 1)],
    });
    await Deno.writeTextFile(path, jsonl(["1 2 3 4 5 6"]));
    assertEquals(await load(), { windows: [Int32Array.of(1, 2, 3, 4, 5, 6)] });
    for (const line of ['{"messages": [{"role": "user"}]}', '{"prompt": "1"}', "null", "[1]"]) {
      await Deno.writeTextFile(path, line + "\n");
      await assertRejects(load, SyntaxError, "chat.jsonl, line 1: wanted a JSON object");
    }
  }));
