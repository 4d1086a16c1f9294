import { assert, assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { gunzip } from "../../lib/format/text_gzip.ts";
import { textLines } from "../../lib/format/text_lines.ts";
import { type CorpusOptions, loadCorpus } from "../../lib/corpus/corpus.ts";
import { articlesOf, documentsOf } from "../../lib/corpus/documents.ts";
import { inFolder } from "../model/tiny.ts";

/** A token per word: its number, or its first letter. */
const tokenizer = {
  encode: (text: string) => Int32Array.from(text.split(" ").filter(Boolean), (w) => +w || w.codePointAt(0)!),
  decode: (tokens: ArrayLike<number>) => Array.from(tokens).join(" "),
};
const options = (rest: Partial<CorpusOptions> = {}) => ({ tokenizer, count: 6, length: 10, seed: 3, ...rest });

/** Document d of `lengths` holds 1000 d, 1000 d + 1, ... */
const texts = (lengths: readonly number[]) =>
  lengths.map((n, d) => Array.from({ length: n }, (_, i) => 1000 * (d + 1) + i).join(" "));
const jsonl = (documents: readonly string[]) =>
  documents.map((text) => JSON.stringify({ text, url: "" }) + "\n").join("");
const mixed = texts([3, 40, 7, 25, 12, 9, 8, 31, 2, 60, 11, 5]);

async function gzip(text: string): Promise<Uint8Array> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
const joined = (...parts: Uint8Array[]) => new Uint8Array(parts.flatMap((part) => Array.from(part)));
const chunks = async function* (bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.slice(at, at + size));
};
const allOf = async (path: string | URL) => (await Array.fromAsync(documentsOf(path)())).flat();
const sample = new URL("sample.parquet", import.meta.url);

Deno.test("lines do not depend on the chunks they come in", async () => {
  const text = "\uFEFFa\n\nné🙂\nlast";
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 2, 3, 5, 100]) {
    const lines = (await Array.fromAsync(textLines(chunks(bytes, size), "x"))).flat();
    assertEquals(lines, ["a", "", "né🙂", "last"]);
  }
  const endless = async function* () {
    for (;;) yield await Promise.resolve(new Uint8Array(2 ** 22).fill(97));
  };
  await assertRejects(() => Array.fromAsync(textLines(endless(), "one.json")), SyntaxError, "one.json, line 1");
});

Deno.test("a gzipped file gives the windows of the plain one, also in several members", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/a.jsonl`, jsonl(mixed));
    const { windows } = await loadCorpus(`${folder}/a.jsonl`, options());
    assertEquals(windows.length, 6);
    await Deno.writeFile(`${folder}/a.json.gz`, await gzip(jsonl(mixed)));
    const members = joined(await gzip(jsonl(mixed.slice(0, 5))), await gzip(jsonl(mixed.slice(5))));
    await Deno.writeFile(`${folder}/a.jsonl.gz`, members);
    await Deno.writeFile(`${folder}/a.txt.gz`, await gzip(mixed.join("\n")));
    for (const name of ["a.json.gz", "a.jsonl.gz", "a.txt.gz"]) {
      assertEquals((await loadCorpus(`${folder}/${name}`, options())).windows, windows, name);
    }
    assertEquals((await loadCorpus(new URL(`file://${folder}/a.json.gz`), options())).windows, windows);
  }));

Deno.test("gzip that is damaged, cut short or none is named, and an error of its source stays what it is", async () => {
  const whole = await gzip("some text\n".repeat(2000));
  const damaged = whole.slice();
  damaged[40] ^= 255;
  for (const bytes of [whole.slice(0, -3), whole.slice(0, 30), damaged, new TextEncoder().encode("plain text")]) {
    await assertRejects(() => Array.fromAsync(gunzip(chunks(bytes, 16), "c4.json.gz")), SyntaxError, "c4.json.gz");
  }
  const failing = async function* () {
    yield await Promise.resolve(whole.slice(0, 30));
    throw new Deno.errors.PermissionDenied("no");
  };
  await assertRejects(() => Array.fromAsync(gunzip(failing(), "c4.json.gz")), Deno.errors.PermissionDenied);
});

Deno.test("leaving a gzipped file early closes it", () =>
  inFolder(async (folder) => {
    await Deno.writeFile(`${folder}/a.json.gz`, await gzip(jsonl(mixed).repeat(3000)));
    for await (const batch of documentsOf(`${folder}/a.json.gz`)()) {
      assert(batch.length > 0);
      break; // the test's resource check sees a file left open
    }
  }));

Deno.test("a malformed line of a gzipped file is named by its place", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.json.gz`;
    await Deno.writeFile(path, await gzip(`${jsonl(mixed)}\n[{"text": "a list"}]\n`));
    await assertRejects(() => loadCorpus(path, options()), SyntaxError, `${path}, line 14`);
  }));

Deno.test("a file is drawn from in parts when it is large, with the same windows for the same seed", () =>
  inFolder(async (folder) => {
    // Twelve documents of 2^22 characters: a part of eight and one of four. The padding gives no tokens.
    const padding = " ".repeat(2 ** 22);
    await Deno.writeTextFile(`${folder}/large.txt`, mixed.map((text) => text + padding).join("\n"));
    await Deno.writeTextFile(`${folder}/small.txt`, mixed.join("\n"));
    let held = 0;
    const encode = (text: string) => (held++, tokenizer.encode(text.slice(0, 400)));
    const large = await loadCorpus(`${folder}/large.txt`, {
      ...options({ count: 8 }),
      tokenizer: { ...tokenizer, encode },
    });
    assertEquals(large.windows, (await loadCorpus(`${folder}/small.txt`, options({ count: 8 }))).windows);
    assert(held > 8, "one part was enough: this tests nothing");
  }));

Deno.test("short documents can be skipped: every window is then a piece of one document", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    await Deno.writeTextFile(path, jsonl(mixed));
    const { windows } = await loadCorpus(path, options({ short: "skip" }));
    for (const w of windows) assertEquals(w, Int32Array.from(w, (_, i) => w[0] + i));
    assertEquals(new Set(windows.map((w) => Math.floor(w[0] / 1000))).size, 6);
    // Documents 2, 4, 5, 8, 10, 11 have ten words and more; every word has more than one letter, so no other is encoded in vain.
    const seven = loadCorpus(path, options({ short: "skip", count: 7 }));
    await assertRejects(() => seven, RangeError, "its 12 documents give 6; ask for fewer or shorter windows");
    let encoded = 0;
    const counting = { ...tokenizer, encode: (text: string) => (encoded++, tokenizer.encode(text)) };
    await loadCorpus(path, { ...options({ short: "skip", length: 100, count: 1 }), tokenizer: counting }).catch(
      () => {},
    );
    assertEquals(encoded, mixed.filter((text) => text.length >= 100).length);
  }));

Deno.test("the text column of Parquet is read over row groups and pages, as pyarrow 25 wrote it", async () => {
  const rows = await allOf(sample);
  assertEquals(rows.length, 12);
  assertEquals([rows[0], rows[1], rows[11]], ["", " = First article = \n", " ten é 🙂 \n"]);
  assertEquals(await allOf(fromFileUrl(sample)), rows);
  const path = fromFileUrl(sample);
  const { windows } = await loadCorpus(path, options({ count: 2, length: 4 }));
  assertEquals(windows.map((w) => w.length), [4, 4]);
});

Deno.test("Parquet without texts and no Parquet at all are named", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.parquet`;
    await Deno.writeTextFile(path, "no parquet file, however long it may be");
    await assertRejects(() => allOf(path), SyntaxError, path);
    const bytes = await Deno.readFile(sample);
    await Deno.writeFile(path, bytes.slice(0, 900));
    await assertRejects(() => allOf(path), SyntaxError, path);
    // The name of the column stands in the footer, in plain bytes, wherever the schema and the chunks have it.
    const name = Array.from(bytes.keys()).filter((at) => new TextDecoder().decode(bytes.slice(at, at + 4)) === "text");
    for (const at of name) bytes.set(new TextEncoder().encode("body"), at);
    await Deno.writeFile(path, bytes);
    await assertRejects(() => allOf(path), SyntaxError, "its columns are body, n");
  }));

Deno.test("WikiText's rows make articles, and its splits come from the Hub at their revision", async () => {
  const articles = (await Array.fromAsync(articlesOf(documentsOf(sample)()))).flat();
  assertEquals(articles.map((a) => a.split("\n")[0]), [" = First article = ", " = Second article = "]);
  assertEquals(articles.join(""), (await allOf(sample)).join(""));
  const asked: unknown[] = [];
  const open: CorpusOptions["open"] = (...request) => {
    asked.push(request);
    return Promise.resolve(fromFileUrl(sample));
  };
  for (const [name, split] of [["wikitext", "train"], ["wikitext-test", "test"]]) {
    const { windows } = await loadCorpus(name, options({ count: 1, length: 30, open }));
    assertEquals(windows[0].length, 30);
    const [repo, path, { type, revision }] = asked.pop() as [string, string, { type: string; revision: string }];
    assertEquals([repo, path, type], [
      "Salesforce/wikitext",
      `wikitext-2-raw-v1/${split}-00000-of-00001.parquet`,
      "dataset",
    ]);
    assert(/^[0-9a-f]{40}$/.test(revision));
  }
});

Deno.test("`c4` comes from the Hub and skips short documents; its order follows the seed", () =>
  inFolder(async (folder) => {
    await Deno.writeFile(`${folder}/shard.json.gz`, await gzip(jsonl(mixed)));
    const asked: string[] = [];
    const open: CorpusOptions["open"] = (repo, path, { type }) => {
      asked.push(`${type} ${repo}/${path}`);
      return Promise.resolve(`${folder}/shard.json.gz`);
    };
    const done: number[] = [];
    const load = (seed: number) =>
      loadCorpus("c4", options({ open, seed, count: 4, onProgress: (n) => void done.push(n) }));
    const { windows } = await load(1);
    assertEquals(asked, ["dataset allenai/c4/en/c4-train.00000-of-01024.json.gz"]);
    assertEquals(done, [1, 2, 3, 4]);
    const plain = await loadCorpus(`${folder}/shard.json.gz`, options({ seed: 1, count: 4, short: "skip" }));
    assertEquals(windows, plain.windows);
    assert(`${(await load(2)).windows}` !== `${windows}`);
  }));

Deno.test("drawing stops when it is told to", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    await Deno.writeTextFile(path, jsonl(mixed));
    const stop = new AbortController();
    const onProgress = () => stop.abort(new Error("enough"));
    await assertRejects(() => loadCorpus(path, options({ signal: stop.signal, onProgress })), Error, "enough");
  }));
