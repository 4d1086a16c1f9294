/** Files of text as users have them: every kind is read, or refused by name with what to do. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { checkText, type CorpusOptions, loadCorpus } from "../../lib/corpus/corpus.ts";
import { inFolder } from "../model/tiny.ts";

const tokenizer = {
  encode: (text: string) => Int32Array.from(text.trim().split(/\s+/), Number),
  decode: (tokens: ArrayLike<number>) => Array.from(tokens).join(" "),
};
const options: CorpusOptions = { tokenizer, count: 4, length: 6, seed: 3 };
const texts = Array.from({ length: 9 }, (_, d) => Array.from({ length: 20 }, (_, i) => 100 * (d + 1) + i).join(" "));
const items = texts.map((text) => ({ text }));

Deno.test("the same documents give the same windows, however the file is laid out and whatever its case", () =>
  inFolder(async (folder) => {
    const lines = items.map((item) => JSON.stringify(item));
    const files = {
      "a.txt": texts.join("\n"),
      "crlf.txt": texts.join("\r\n") + "\r\n",
      "BOM.TXT": `\uFEFF${texts.join("\n")}`,
      "a.jsonl": lines.join("\n"),
      "crlf.JSONL": lines.join("\r\n"),
      "a.ndjson": lines.join("\n"),
      "lines.json": lines.join("\n"),
      "list.json": JSON.stringify(items),
      "pretty.json": JSON.stringify(items, null, 2),
      "strings.Json": JSON.stringify(texts, null, 1),
    };
    const wanted: Int32Array[][] = [];
    for (const [name, content] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, content);
      await checkText(`${folder}/${name}`);
      wanted.push([...(await loadCorpus(`${folder}/${name}`, options)).windows]);
      assertEquals(wanted.at(-1), wanted[0], name);
    }
  }));

Deno.test("one long line gives as many windows as it has text for", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/one.txt`, texts.join(" "));
    const { windows } = await loadCorpus(`${folder}/one.txt`, { ...options, count: 30 });
    assertEquals(new Set(windows.flatMap((w) => [...w])).size, 180);
    await assertRejects(() => loadCorpus(`${folder}/one.txt`, { ...options, count: 31 }), RangeError, "give 1");
  }));

Deno.test("other kinds, encodings and folders are refused by name, with what to do", () =>
  inFolder(async (folder) => {
    const utf16 = (text: string, mark: boolean) => {
      const bytes = new Uint8Array(Uint16Array.from(text, (c) => c.charCodeAt(0)).buffer);
      return mark ? new Uint8Array([0xff, 0xfe, ...bytes]) : bytes;
    };
    const encoder = new TextEncoder();
    const files: Record<string, readonly [content: Uint8Array, what: string, remedy: string]> = {
      "a.csv": [encoder.encode("text\nx"), ".csv", ".jsonl"],
      "A.TSV": [encoder.encode("text\nx"), ".tsv", ".jsonl"],
      "a.csv.gz": [encoder.encode("text\nx"), ".csv", ".jsonl"],
      "pointer.jsonl": [
        encoder.encode(`version https://git-lfs.github.com/spec/v1\noid sha256:${"a".repeat(64)}\nsize 9\n`),
        "Git LFS",
        "git lfs pull",
      ],
      "a.jsonl.zst": [new Uint8Array(4), ".zst", "unpack"],
      "a.docx": [new Uint8Array(4), ".docx", ".txt"],
      "mark.txt": [utf16(texts[0], true), "UTF-16", "UTF-8"],
      "bare.txt": [utf16(texts[0], false), "UTF-16", "UTF-8"],
      "latin.txt": [new Uint8Array([49, 10, 0xe9, 10]), "line", "UTF-8"],
      "object.json": [encoder.encode('{"rows": 3}'), "line 1", '"text"'],
      "broken.json": [encoder.encode("[1, 2"), "broken.json", "JSON"],
    };
    for (const [name, [content, what, remedy]] of Object.entries(files)) {
      const path = `${folder}/${name}`;
      await Deno.writeFile(path, content);
      const error = await assertRejects(() => loadCorpus(path, options), Error);
      for (const part of [path, what, remedy]) assertStringIncludes(error.message, part);
    }
    await Deno.writeTextFile(`${folder}/empty.txt`, "");
    await assertRejects(() => loadCorpus(`${folder}/empty.txt`, options), RangeError, "its 0 documents");
    await assertRejects(() => checkText(folder), RangeError, "it is a folder");
    await assertRejects(() => checkText(`${folder}/none.txt`), Deno.errors.NotFound, "no such file");
  }));
