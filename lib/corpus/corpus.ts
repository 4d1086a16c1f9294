/** Text to calibrate and to measure on: windows of tokens from a local file, or from C4 and WikiText of the Hugging Face Hub. */
import type { Corpus } from "../diffusion/mcs.ts";
import type { MarkedText } from "../diffusion/text.ts";
import { type Document, lengthOf } from "../format/text_lines.ts";
import { checkNoPointer, LFS_AT_MOST } from "../checkpoint/files/file_source.ts";
import { openHubFile } from "../checkpoint/hub/hub.ts";
import type { TextTokenizer } from "../model/model.ts";
import { concat } from "../tensor/concat.ts";
import { rng } from "../tensor/rng.ts";
import { articlesOf, type Documents, documentsOf } from "./documents.ts";

export interface CorpusOptions {
  readonly tokenizer: TextTokenizer;
  /** How many windows. */
  readonly count: number;
  /** Tokens per window. */
  readonly length: number;
  readonly seed: number;
  /**
   * What becomes of documents shorter than a window: they are joined in the order drawn, or skipped, as in the papers that draw C4. When they are
   * skipped, a document of fewer characters than `length` counts as short without being encoded. Default "join", and "skip" for `c4`.
   */
  readonly short?: "join" | "skip";
  /** After each window, with the number there are. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
  /** Brings a file of a dataset here and gives its path; by default from the Hub, through its cache. */
  readonly open?: (
    repo: string,
    path: string,
    options: { readonly type: "dataset"; readonly revision: string; readonly signal?: AbortSignal },
  ) => Promise<string>;
}

interface Dataset {
  readonly repo: string;
  readonly path: string;
  readonly revision: string;
  readonly short: "join" | "skip";
  /** Puts together what the rows of the file are parts of. */
  readonly group?: (rows: AsyncIterable<readonly Document[]>) => AsyncGenerator<readonly Document[]>;
}

const wikitext = {
  repo: "Salesforce/wikitext",
  revision: "b08601e04326c79dfdd32d625aee71d232d685c3",
  short: "join",
  group: articlesOf,
} as const;

/**
 * Texts of the papers, at fixed revisions. To calibrate: the first shard of C4 (320 MB) and the training split of WikiText-2 (6 MB); to measure, what
 * nothing is calibrated on: its test split (60 articles).
 */
const datasets: Readonly<Record<string, Dataset>> = {
  c4: {
    repo: "allenai/c4",
    path: "en/c4-train.00000-of-01024.json.gz",
    revision: "1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
    short: "skip",
  },
  "wikitext": { ...wikitext, path: "wikitext-2-raw-v1/train-00000-of-00001.parquet" },
  "wikitext-test": { ...wikitext, path: "wikitext-2-raw-v1/test-00000-of-00001.parquet" },
};

/**
 * Checks that `loadCorpus` can begin on a text: that it is a dataset by name, or a file of a kind that is read. Rejects with what is wrong otherwise: before
 * a model is fetched for it.
 *
 * @example
 * ```ts
 * import { checkText } from "quant-dllm";
 *
 * await checkText("data/nanoworld/calibration.jsonl");
 * ```
 */
export async function checkText(path: string | URL): Promise<void> {
  if (typeof path === "string" && Object.hasOwn(datasets, path)) return;
  const { isDirectory, size } = await Deno.stat(path).catch((error) => refuseMissing(error, path));
  if (isDirectory) throw new RangeError(`Cannot read ${path}: it is a folder; name a file of text in it`);
  if (size < LFS_AT_MOST) checkNoPointer(String(path), new TextDecoder().decode(await Deno.readFile(path)));
  documentsOf(path);
}

/** Characters of documents that are held at a time. */
const heldCharacters = 2 ** 25;

/**
 * Draws windows from a file (see `documentsOf` for the kinds) or from the dataset `c4`, `wikitext` or `wikitext-test`: documents in random order; one that is long
 * enough gives a random window of itself, shorter ones are joined until they fill one, or skipped. No text is used twice; where documents are fewer than
 * windows but long, they are cut into windows one after another. Where documents are chats,
 * `answers` marks the tokens of the answers. The windows follow from
 * the documents, the tokenizer and the seed alone: a gzipped file gives what the plain one does. The file is read more than once (first to count its
 * documents), and at most 2^25 characters of it are held. Throws `SyntaxError` for a malformed line and `RangeError` when the file holds too little text.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel } from "quant-dllm";
 *
 * const { tokenizer } = await loadModel("data/nano-llada");
 * const draw = { tokenizer, count: 64, length: 64, seed: 1 };
 * const { windows } = await loadCorpus("data/nanoworld/calibration.jsonl", draw); // or "wikitext", "c4"
 * console.log(tokenizer.decode(windows[0]));
 * ```
 */
export async function loadCorpus(path: string | URL, options: CorpusOptions): Promise<Corpus & MarkedText> {
  const { tokenizer, count, length, seed, onProgress, signal } = options;
  if (!(Number.isInteger(count) && count > 0 && Number.isInteger(length) && length > 0)) {
    throw new RangeError(`Cannot load ${path}: count is ${count} and length ${length}, wanted positive integers`);
  }
  const dataset = typeof path === "string" && Object.hasOwn(datasets, path) ? datasets[path] : undefined;
  const short = options.short ?? dataset?.short ?? "join";
  await checkText(path);
  const documents = dataset ? await openDataset(dataset, options) : documentsOf(path);

  const sizes: number[] = [];
  for await (const batch of documents()) {
    signal?.throwIfAborted();
    for (const document of batch) sizes.push(lengthOf(document));
  }
  const r = rng(seed, "corpus");
  const order = r.shuffle(Array.from(sizes, (_, i) => i));
  const windows: Int32Array[] = [], answers: Uint8Array[] = [];
  const add = ({ tokens, marks }: Encoded, start: number) => {
    windows.push(Int32Array.from(tokens.slice(start, start + length)));
    answers.push(Uint8Array.from(marks.slice(start, start + length)));
    onProgress?.(windows.length, count);
  };
  const joined = { tokens: [] as number[], marks: [] as number[] };
  for (let at = 0; at < order.length && windows.length < count;) {
    const drawn: number[] = [];
    for (let held = 0; at < order.length && held < heldCharacters; at++) {
      const size = sizes[order[at]];
      if (short === "skip" && size < length) continue;
      drawn.push(order[at]);
      held += size;
    }
    const texts = await textsOf(documents, drawn, signal);
    for (const index of drawn) {
      if (windows.length === count) break;
      signal?.throwIfAborted();
      const { tokens, marks } = encoded(texts.get(index)!, tokenizer);
      if (tokens.length >= length) {
        add({ tokens, marks }, r.int(tokens.length - length + 1));
      } else if (short === "join") {
        for (const token of tokens) joined.tokens.push(token);
        for (const mark of marks) joined.marks.push(mark);
        if (joined.tokens.length < length) continue;
        add(joined, 0);
        joined.tokens.length = joined.marks.length = 0;
      }
    }
  }
  if (windows.length < count && short === "join") {
    // Few documents, but long ones: all text joined, and cut into windows that do not overlap.
    const all = await joinedText(documents, tokenizer, signal);
    const places = r.shuffle(Array.from({ length: Math.floor(all.tokens.length / length) }, (_, i) => i * length));
    if (places.length >= count) {
      windows.length = answers.length = 0;
      for (const start of places.slice(0, count)) add(all, start);
    }
  }
  if (windows.length === count) {
    return answers.some((marks) => marks.includes(1)) ? { windows, answers } : { windows };
  }
  throw new RangeError(
    `Cannot draw ${count} windows of ${length} tokens from ${path}: its ${sizes.length} documents give ` +
      `${windows.length}; ask for fewer or shorter windows, or give more text`,
  );
}

async function joinedText(documents: Documents, tokenizer: TextTokenizer, signal?: AbortSignal) {
  const tokens: Int32Array[] = [], marks: Uint8Array[] = [];
  for await (const batch of documents()) {
    for (const document of batch) {
      signal?.throwIfAborted();
      const own = encoded(document, tokenizer);
      tokens.push(own.tokens);
      marks.push(own.marks);
    }
  }
  return { tokens: concat(tokens, Int32Array), marks: concat(marks, Uint8Array) };
}

/** Tokens of a document, and 1 for those of answers. */
interface Encoded {
  readonly tokens: ArrayLike<number> & { slice(from: number, to: number): ArrayLike<number> };
  readonly marks: ArrayLike<number> & { slice(from: number, to: number): ArrayLike<number> };
}

function encoded(document: Document, tokenizer: TextTokenizer): { tokens: Int32Array; marks: Uint8Array } {
  const pieces = typeof document === "string" ? [{ text: document, answer: false }] : document;
  const all = pieces.map(({ text, answer }) => ({ tokens: tokenizer.encode(text), answer }));
  const tokens = concat(all.map(({ tokens }) => tokens), Int32Array), marks = new Uint8Array(tokens.length);
  let at = 0;
  for (const { tokens: { length }, answer } of all) {
    if (answer) marks.fill(1, at, at + length);
    at += length;
  }
  return { tokens, marks };
}

function refuseMissing(error: unknown, path: string | URL): never {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
  const known = Object.keys(datasets).join(", ");
  throw new Deno.errors.NotFound(
    `Cannot load text from ${path}: there is no such file; wanted a path, or ${known}`,
  );
}

async function openDataset(dataset: Dataset, { open = openHubFile, signal }: CorpusOptions): Promise<Documents> {
  const { repo, path, revision, group } = dataset;
  const documents = documentsOf(await open(repo, path, { type: "dataset", revision, signal }));
  return group ? () => group(documents()) : documents;
}

/** The documents with these indices, in one pass over the file. Throws `Error` when the file has become shorter meanwhile. */
async function textsOf(
  documents: Documents,
  indices: readonly number[],
  signal?: AbortSignal,
): Promise<Map<number, Document>> {
  const wanted = new Set(indices);
  const texts = new Map<number, Document>();
  let index = 0;
  for await (const batch of documents()) {
    signal?.throwIfAborted();
    for (const text of batch) {
      if (wanted.has(index)) texts.set(index, text);
      index++;
    }
    if (texts.size === wanted.size) return texts;
  }
  if (texts.size === wanted.size) return texts;
  throw new Error(`Cannot draw documents: the file held ${Math.max(...indices) + 1} or more, and now ${index}`);
}
