/** Calibration text from a file of JSON lines with a field "text", or of plain text with one document per line. */
import type { Corpus } from "../diffusion/mcs.ts";
import type { TextTokenizer } from "../model/model.ts";
import { rng } from "../tensor/rng.ts";

export interface CorpusOptions {
  readonly tokenizer: TextTokenizer;
  /** How many windows. */
  readonly count: number;
  /** Tokens per window. */
  readonly length: number;
  readonly seed: number;
}

/**
 * Draws windows: documents in random order; one that is long enough gives a random window of itself, shorter ones are joined until they fill one.
 * No document is used twice. Throws `SyntaxError` for a malformed line and `RangeError` when the file holds too little text.
 */
export async function loadCorpus(
  path: string | URL,
  { tokenizer, count, length, seed }: CorpusOptions,
): Promise<Corpus> {
  if (!(Number.isInteger(count) && count > 0 && Number.isInteger(length) && length > 0)) {
    throw new RangeError(`Cannot load ${path}: count is ${count} and length ${length}, wanted positive integers`);
  }
  const documents = documentsOf(await Deno.readTextFile(path), String(path));
  const r = rng(seed, "corpus");
  const order = r.shuffle(Array.from(documents, (_, i) => i));
  const windows: Int32Array[] = [];
  let joined: number[] = [];
  for (const index of order) {
    if (windows.length === count) break;
    const tokens = tokenizer.encode(documents[index]);
    if (tokens.length >= length) {
      const start = r.int(tokens.length - length + 1);
      windows.push(tokens.slice(start, start + length));
      continue;
    }
    joined.push(...tokens);
    if (joined.length >= length) {
      windows.push(Int32Array.from(joined.slice(0, length)));
      joined = [];
    }
  }
  if (windows.length === count) return { windows };
  throw new RangeError(
    `Cannot draw ${count} windows of ${length} tokens from ${path}: its ${documents.length} documents give ${windows.length}`,
  );
}

function documentsOf(text: string, path: string): string[] {
  const json = path.endsWith(".jsonl");
  return text.split("\n").flatMap((line, i) => {
    if (line.trim() === "") return [];
    if (!json) return [line];
    let value: unknown;
    try {
      value = (JSON.parse(line) as { text?: unknown }).text;
    } catch {
      // Reported below, with the line.
    }
    if (typeof value === "string") return [value];
    throw new SyntaxError(`Cannot read ${path}, line ${i + 1}: wanted a JSON object with a string "text"`);
  });
}
