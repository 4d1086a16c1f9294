/** Rows of data sets: from a local folder of .jsonl or .parquet files, or from the Hub. */
import { join } from "@std/path";
import { type AsyncBuffer, parquetReadObjects } from "hyparquet";
import { fileSource, ifThere } from "../checkpoint/files/file_source.ts";
import { openHubFile } from "../checkpoint/hub/hub.ts";
import { textLines } from "../format/text_lines.ts";
import type { DataSource, Doc } from "./tasks/definition.ts";

/** The rows of a split, and where they came from. */
export interface Split {
  readonly docs: readonly Doc[];
  /** The commit, for what comes from the Hub. */
  readonly revision?: string;
}

/** Reads splits of data sets. */
export type RowReader = (data: DataSource, split: string, signal?: AbortSignal) => Promise<Split>;

/**
 * Reads from a folder that has one folder per data set, named as `DataSource.folder` says ("piqa", "ai2_arc/ARC-Easy", "mmlu/anatomy"), and in it SPLIT.jsonl,
 * SPLIT.parquet, or SPLIT-00000-of-00002.parquet and so on, as the Hub has them. Rejects with `RangeError` that names what was looked for, and with
 * `SyntaxError` for a malformed file.
 *
 * @example
 * ```ts
 * import { harnessTasks, localRows } from "quant-dllm";
 *
 * const [piqa] = harnessTasks(["piqa"]);
 * const { docs } = await localRows("datasets")(piqa.data, piqa.split); // datasets/piqa/validation.jsonl
 * ```
 */
export function localRows(folder: string): RowReader {
  return async (data, split) => {
    const place = join(folder, data.folder);
    const names: string[] = [];
    if ((await ifThere(Deno.stat(place)))?.isDirectory) {
      for await (const { name } of Deno.readDir(place)) names.push(name);
    }
    const single = [`${split}.jsonl`, `${split}.parquet`].find((name) => names.includes(name));
    const shards = names.filter((name) => name.startsWith(`${split}-`) && /-\d+-of-\d+\.parquet$/.test(name)).sort();
    const files = single ? [single] : shards;
    if (files.length === 0) {
      throw new RangeError(
        `Cannot read ${split} of ${data.repo}: wanted ${join(place, split)}.jsonl or .parquet; ` +
          `put the files of ${data.repo}${
            data.config === "default" ? "" : ` (${data.config})`
          } there, or read from the Hub`,
      );
    }
    const announced = Number(/-of-(\d+)\.parquet$/.exec(files[0])?.[1] ?? 1);
    if (announced !== files.length) {
      throw new RangeError(
        `Cannot read ${split} of ${place}: it has ${files.length} of ${announced} files; fetch the rest`,
      );
    }
    return { docs: (await Promise.all(files.map((name) => readRows(join(place, name))))).flat() };
  };
}

export interface HubRowsOptions {
  /** Commits of the Hub's Parquet branch by data set id; what is not named is taken as it is now, and the results say which commit that was. */
  readonly revisions?: Readonly<Record<string, string>>;
  /** Brings a file here; by default from the Hub, through its cache. */
  readonly open?: typeof openHubFile;
}

/** The branch on which the Hub keeps every data set as Parquet, in one layout: CONFIG/SPLIT/0000.parquet. The splits read here are one file each. */
const parquetBranch = "refs/convert/parquet";

/**
 * Reads from the Hub, through its cache. Rejects with `RangeError` for a data set or file that is not there or not open to you, `Error` where the Hub is not
 * reached and the cache lacks the file.
 *
 * @example
 * ```ts
 * import { harnessTasks, hubRows } from "quant-dllm";
 *
 * const [piqa] = harnessTasks(["piqa"]);
 * const { docs, revision } = await hubRows()(piqa.data, piqa.split);
 * const again = hubRows({ revisions: { [piqa.data.repo]: revision! } }); // pinned from now on
 * console.log(docs.length, again.length);
 * ```
 */
export function hubRows({ revisions = {}, open = openHubFile }: HubRowsOptions = {}): RowReader {
  return async ({ repo, config }, split, signal) => {
    const revision = revisions[repo] ?? parquetBranch;
    const path = await open(repo, `${config}/${split}/0000.parquet`, { type: "dataset", revision, signal });
    const commit = /[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]/.exec(path)?.[1];
    return { docs: await readRows(path), ...(commit === undefined ? {} : { revision: commit }) };
  };
}

/** All rows of a file. */
export async function readRows(path: string): Promise<Doc[]> {
  return path.endsWith(".parquet") ? await parquetRows(path) : await jsonRows(path);
}

async function jsonRows(path: string): Promise<Doc[]> {
  const docs: Doc[] = [];
  let number = 0;
  for await (const lines of textLines((await Deno.open(path)).readable, path)) {
    for (const line of lines) {
      number++;
      if (line.trim() !== "") docs.push(objectOf(line, `${path}, line ${number}`));
    }
  }
  return docs;
}

function objectOf(line: string, where: string): Doc {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // Reported below.
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Doc;
  throw new SyntaxError(`Cannot read ${where}: wanted a JSON object`);
}

async function parquetRows(path: string): Promise<Doc[]> {
  const source = await fileSource(path);
  const file: AsyncBuffer = {
    byteLength: source.size,
    slice: async (start, end = source.size) => {
      const bytes = await source.read(start, end - start);
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    },
  };
  try {
    return (await parquetReadObjects({ file })).map((row) => plain(row) as Doc);
  } catch (error) {
    const reason = error instanceof Error && error.name === "Error" ? error.message : "it is not laid out as Parquet";
    throw new SyntaxError(`Cannot read ${path}: ${reason}; fetch it again, or write it with snappy or no compression`);
  }
}

/** 64-bit integers as numbers: labels and indices, which JSON has no other way to say. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === undefined) return null;
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, x]) => [key, plain(x)]));
}
