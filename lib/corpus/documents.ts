/** Files of documents: lines of text or JSON, plain or gzipped, and Parquet. Read as streams, so that a file may be far larger than the memory. */
import { fromFileUrl } from "@std/path";
import { type AsyncBuffer, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { gunzip } from "../format/text_gzip.ts";
import { type Document, documentOfJson, textLines } from "../format/text_lines.ts";
import { fileSource } from "../checkpoint/files/file_source.ts";

/** All documents of a file, in its order and in batches. Each call reads the file anew and gives the same. */
export type Documents = () => AsyncGenerator<readonly Document[]>;

/**
 * The documents of a file, by its name: `.jsonl`, `.json.gz` and `.jsonl.gz` hold a JSON object per line, with a string "text" (C4's shards do) or
 * a chat (`documentOfJson`), `.parquet` a column "text", anything else one document per line, `.gz` gzipped. Empty lines are no documents. Errors while reading: Deno's own for a
 * file that cannot be opened, `SyntaxError` for a malformed one, with the line or row.
 */
export function documentsOf(path: string | URL): Documents {
  const name = String(path);
  if (name.endsWith(".parquet")) return () => parquetTexts(path);
  const zipped = name.endsWith(".gz");
  const json = /\.(jsonl|json\.gz|jsonl\.gz)$/.test(name);
  return async function* () {
    const bytes = (await Deno.open(path)).readable;
    let line = 0;
    for await (const lines of textLines(zipped ? gunzip(bytes, name) : bytes, name)) {
      const texts: Document[] = [];
      for (const text of lines) {
        line++;
        if (text.trim() !== "") texts.push(json ? documentOfJson(text, name, line) : text);
      }
      yield texts;
    }
  };
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
      const reason = error instanceof Error ? error.message : String(error);
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
