/** A model of ASCII text that runs without weights: likelihoods of a formula, or answers that a script gives. */
import type { ChatTokenizer } from "../../lib/checkpoint/tokenizer/tokenizer.ts";
import type { AnsweringModel } from "../../lib/harness/answer.ts";
import type { RowReader } from "../../lib/harness/rows.ts";
import type { Doc } from "../../lib/harness/tasks/definition.ts";

const [maskId, eosId, vocabSize] = [256, 3, 257];

const idOf = (token: string) => token.length === 2 ? 128 + token.charCodeAt(1) : token.charCodeAt(0);
const textOf = (id: number) =>
  id === maskId ? "\u0100" : id >= 128 ? ` ${String.fromCharCode(id - 128)}` : String.fromCharCode(id);

/** A token per character, which takes a space before it along. */
export const ascii: ChatTokenizer = {
  maskId,
  eosIds: [eosId],
  hasChatTemplate: false,
  tokenId: () => undefined,
  encode: (text) => Int32Array.from(text.match(/ ?[^ ]| /g) ?? [], idOf),
  decode: (tokens, { skipSpecial = false } = {}) =>
    Array.from(tokens).filter((id) => !(skipSpecial && id === eosId)).map(textOf).join(""),
  applyChatTemplate: () => {
    throw new Error("no template");
  },
};

/**
 * `script` gives the answer after a prompt, which the model then predicts wherever it is masked; without one, logits come from a formula of what is visible.
 * `passes` counts sequences.
 */
export function asciiModel({ name = "org/fake", script, sharpness = 1, maxLength = 4096 }: {
  readonly name?: string;
  readonly script?: (prompt: string) => string;
  readonly sharpness?: number;
  readonly maxLength?: number;
} = {}) {
  const count = { passes: 0 };
  const model = {
    name,
    maskId,
    vocabSize,
    firstPredicted: 0,
    tokenizer: ascii,
    architecture: { maxLength, logitShift: false, vocabSize, maskId },
    logits(tokens: Int32Array, { batch = 1, rows = Int32Array.from(tokens.keys()) } = {}) {
      count.passes += batch;
      const length = tokens.length / batch;
      const data = new Float32Array(rows.length * vocabSize);
      rows.forEach((row, r) => {
        const sequence = tokens.subarray(Math.floor(row / length) * length, (Math.floor(row / length) + 1) * length);
        const at = row % length;
        if (script) {
          const start = sequence.findIndex((token) => token === maskId);
          // What is visible before the first mask is a prompt that the script has seen, and what it has said so far.
          const { prompt, answer } = remembered(ascii.decode(sequence.subarray(0, start < 0 ? length : start)));
          data[r * vocabSize + (ascii.encode(answer)[at - ascii.encode(prompt).length] ?? eosId)] = 20;
          return;
        }
        const seen = sequence.reduce(
          (sum, token, p) => sum + (token === maskId ? 0 : (token + 1) * ((p * 7) % 5 + 1)),
          at,
        );
        for (let id = 0; id < vocabSize; id++) {
          data[r * vocabSize + id] = sharpness * Math.sin(id * 12.9898 + seen * 0.37);
        }
      });
      return Promise.resolve({ shape: [rows.length, vocabSize] as const, data });
    },
  };
  const prompts = new Map<string, string>();
  /** The longest known prompt that a text begins with, or the text itself as a new one, and its answer. */
  function remembered(visible: string) {
    const known = [...prompts.keys()].filter((p) => visible.startsWith(p)).sort((a, b) => b.length - a.length)[0];
    const prompt = known ?? visible;
    if (known === undefined) prompts.set(visible, script!(visible));
    return { prompt, answer: prompts.get(prompt)! };
  }
  return { model: model as unknown as AnsweringModel, count };
}

/** Rows by folder and split: "piqa/validation". */
export function given(splits: Readonly<Record<string, readonly Doc[]>>): RowReader {
  return ({ folder }, split) => {
    const docs = splits[`${folder}/${split}`];
    return docs ? Promise.resolve({ docs }) : Promise.reject(new RangeError(`no rows ${folder}/${split}`));
  };
}

export async function inTempFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    return await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export const readJson = async (path: string) => JSON.parse(await Deno.readTextFile(path));
export const readLines = async (path: string) =>
  (await Deno.readTextFile(path)).split("\n").filter(Boolean).map((line) => JSON.parse(line));
