/** Files of documents: lines of text or JSON, plain or gzipped, and Parquet. Read as streams, so that a file may be far larger than the memory. */
import { fromFileUrl } from "@std/path";
import { type AsyncBuffer, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { gunzip } from "../format/text_gzip.ts";
import { type Document, documentOf, documentOfJson, textLines } from "../format/text_lines.ts";
import { fileSource } from "../checkpoint/files/file_source.ts";

/** All documents of a file, in its order and in batches. Each call reads the file anew and gives the same. */
export type Documents = () => AsyncGenerator<readonly Document[]>;

/** Kinds that hold text and are not read, and what to do about them. */
const refused: readonly (readonly [pattern: RegExp, remedy: string])[] = [
  [/\.(csv|tsv)$/, 'write it as .jsonl, one {"text": ...} per line'],
  [/\.(zst|zstd|bz2|xz|7z|zip|tar|tgz|tar\.gz)$/, "unpack it first, or pack it with gzip"],
  [/\.(arrow|feather|h5|npy|npz|pkl|pt|bin|safetensors)$/, "write its texts as .jsonl or .parquet"],
  [/\.(pdf|docx?|odt|rtf|epub|html?|xml|ya?ml|xlsx?)$/, "save its text as .txt"],
];

/**
 * The documents of a file, by its name, in any case: `.jsonl` and `.ndjson` hold a JSON object per line, with a string "text" (C4's shards
 * do) or a chat (`documentOfJson`); `.json` a list of those or of strings, or lines as before; `.parquet` a column "text"; anything else one document per line; `.gz`
 * gzipped. Empty lines are no documents. Throws `RangeError` for a kind that is not read. Errors while reading: Deno's own for a file that cannot be opened,
 * `SyntaxError` for a malformed one, with the line or row.
 */
export function documentsOf(path: string | URL): Documents {
  const name = String(path), lower = name.toLowerCase();
  // What is packed is of its kind too: a.csv.gz is no text.
  for (const kind of [lower, lower.replace(/\.gz$/, "")]) {
    const other = refused.find(([pattern]) => pattern.test(kind));
    if (other) {
      throw new RangeError(
        `Cannot read ${name}: files of the kind ${other[0].exec(kind)![0]} are not read; ${other[1]}`,
      );
    }
  }
  if (lower.endsWith(".parquet")) return () => parquetTexts(path);
  const zipped = lower.endsWith(".gz");
  const lines = async function* () {
    const bytes = (await Deno.open(path)).readable;
    yield* textLines(zipped ? gunzip(bytes, name) : bytes, name);
  };
  if (/\.json(\.gz)?$/.test(lower)) return () => jsonTexts(lines, name);
  return () => lineTexts(lines(), name, /\.(jsonl|ndjson)(\.gz)?$/.test(lower));
}

async function* lineTexts(batches: AsyncIterable<string[]>, name: string, json: boolean): AsyncGenerator<Document[]> {
  let line = 0;
  for await (const lines of batches) {
    const texts: Document[] = [];
    for (const text of lines) {
      line++;
      if (text.trim() !== "") texts.push(json ? documentOfJson(text, name, line) : text);
    }
    yield texts;
  }
}

/** Characters of a file that is one JSON value. */
const longestJson = 2 ** 28;

/** A list of documents, however it is laid out; else a document per line, as C4's shards are. */
async function* jsonTexts(lines: () => AsyncGenerator<string[]>, name: string): AsyncGenerator<Document[]> {
  const reader = lines();
  let start: string | undefined;
  for await (const batch of reader) {
    start = batch.find((line) => line.trim() !== "")?.trim();
    if (start !== undefined) break;
  }
  if (start !== undefined && isJson(start)) return yield* lineTexts(lines(), name, true);
  const parts: string[] = [];
  let size = 0;
  for await (const batch of lines()) {
    for (const line of batch) parts.push(line), size += line.length + 1;
    if (size > longestJson) {
      throw new SyntaxError(
        `Cannot read ${name}: its JSON is longer than ${longestJson} characters; write it as .jsonl`,
      );
    }
  }
  let value: unknown;
  try {
    value = JSON.parse(parts.join("\n"));
  } catch (error) {
    throw new SyntaxError(`Cannot read ${name}: ${(error as Error).message}; wanted JSON, or a JSON object per line`);
  }
  yield [value].flat().map((one, i) => documentOf(one, `${name}, item ${i + 1}`));
}

/** Whether a line is an object or a string by itself. */
function isJson(line: string): boolean {
  try {
    return !Array.isArray(JSON.parse(line));
  } catch {
    return false;
  }
}

/** The column "text", row group by row group. */
async function* parquetTexts(path: string | URL): AsyncGenerator<string[]> {
  const name = String(path);
  const source = await fileSource(path instanceof URL ? fromFileUrl(path) : path);
  const file: AsyncBuffer = {
    byteLength: source.size,
    slice: async (start, end = source.size) => {
      const bytes = await source.read(start, end - start);
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    },
  };
  const parse = async <T>(step: Promise<T>): Promise<T> => {
    try {
      return await step;
    } catch (error) {
      // A parser that trips over what it did not expect says so in words of its own code.
      const reason = error instanceof Error && error.name === "Error" ? error.message : "it is not laid out as Parquet";
      throw new SyntaxError(
        `Cannot read ${name}: ${reason}; fetch it again, or write it with snappy or no compression`,
      );
    }
  };
  const metadata = await parse(parquetMetadataAsync(file));
  const columns = metadata.schema.slice(1).map((column) => column.name);
  if (!columns.includes("text")) {
    throw new SyntaxError(`Cannot read ${name}: its columns are ${columns.join(", ")}, wanted "text"`);
  }
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows);
    const rows = await parse(parquetReadObjects({ file, metadata, columns: ["text"], rowStart, rowEnd }));
    const odd = rows.findIndex((row) => typeof row.text !== "string");
    if (odd >= 0) {
      throw new SyntaxError(`Cannot read ${name}, row ${rowStart + odd + 1}: "text" is no string`);
    }
    yield rows.map((row) => row.text as string);
    rowStart = rowEnd;
  }
}

/** A level-one heading of WikiText, " = Title = "; deeper ones repeat the sign. */
const title = /^ = [^=].* = \n?$/;

/** WikiText's rows are paragraphs; a document is an article, from one level-one heading to the next. */
export async function* articlesOf(rows: AsyncIterable<readonly Document[]>): AsyncGenerator<string[]> {
  let article = "";
  for await (const batch of rows) {
    const whole: string[] = [];
    for (const row of batch) {
      if (typeof row !== "string") continue; // WikiText has no chats
      if (title.test(row) && article.trim() !== "") {
        whole.push(article);
        article = "";
      }
      article += row;
    }
    yield whole;
  }
  if (article.trim() !== "") yield [article];
}
