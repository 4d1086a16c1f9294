/** The tasks of NanoWorld, shaped like the seven of the paper's Table 1, and the likelihood bound on its validation text or on any other. */
import type { Corpus } from "../diffusion/mcs.ts";
import type { TextTokenizer } from "../model/model.ts";
import { VOCABULARY } from "../nanoworld/vocabulary.ts";
import type { ChoiceItem } from "./choice.ts";

export interface ChoiceTask {
  readonly kind: "choice";
  readonly id: string;
  readonly version: string;
  /** Mask draws per choice; exact for choices of one token. */
  readonly draws: number;
  /** The file that the items come from: part of what a measurement is of. */
  readonly data?: URL;
  items(tokenizer: TextTokenizer): Promise<ChoiceItem[]>;
}

export interface ElboTask {
  readonly kind: "elbo";
  readonly id: string;
  readonly version: string;
  /** Mask draws per window. */
  readonly draws: number;
  /** The file that the windows come from. */
  readonly data?: URL;
  windows(tokenizer: TextTokenizer): Promise<Int32Array[]>;
}

/** What a model is measured on: multiple choice, or the likelihood bound on windows of text. */
export type Task = ChoiceTask | ElboTask;

const version = "1";

type ChoiceId =
  | "nano_mmlu"
  | "nano_winogrande"
  | "nano_piqa"
  | "nano_arc_challenge"
  | "nano_arc_easy"
  | "nano_hellaswag"
  | "nano_bbh";

/** The seven multiple-choice tasks by their ids, and the likelihood bound. */
export type WorldTasks = Readonly<Record<ChoiceId, ChoiceTask>> & { readonly elbo: ElboTask };

/**
 * The tasks of a world whose files (`worldFiles`) are in a folder, that of `world.json`.
 *
 * @example
 * ```ts
 * import { evaluate, loadModel } from "quant-dllm";
 * import { worldTasks } from "quant-dllm/testbed";
 *
 * const { nano_mmlu } = worldTasks(new URL("../results/second-world/nanoworld/", import.meta.url));
 * const rows = await evaluate(await loadModel("results/second-world/nano-llada"), [nano_mmlu], { seed: 1 });
 * ```
 */
export function worldTasks(folder: URL): WorldTasks {
  return {
    nano_mmlu: choiceTask(folder, "nano_mmlu"),
    nano_winogrande: choiceTask(folder, "nano_winogrande"),
    nano_piqa: choiceTask(folder, "nano_piqa"),
    nano_arc_challenge: choiceTask(folder, "nano_arc_challenge"),
    nano_arc_easy: choiceTask(folder, "nano_arc_easy"),
    nano_hellaswag: choiceTask(folder, "nano_hellaswag"),
    nano_bbh: choiceTask(folder, "nano_bbh"),
    elbo: {
      kind: "elbo",
      id: "elbo",
      version,
      draws: 4,
      data: new URL("validation.jsonl", folder),
      windows: async (tokenizer) => {
        checkWords(tokenizer, "elbo");
        const lines = await readLines(folder, "validation.jsonl", ["text"]);
        return lines.map(({ text }) => tokenizer.encode(text as string));
      },
    },
  };
}

/**
 * The tasks that ship with the kit. Their items are words of NanoWorld: `RangeError` for a tokenizer that has other ones.
 *
 * @example
 * ```ts
 * import { evaluate, loadModel, tasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const rows = await evaluate(model, [tasks.nano_mmlu, tasks.elbo], { limit: 100, seed: 1 });
 * ```
 */
export const tasks: WorldTasks = worldTasks(new URL("../../data/nanoworld/", import.meta.url));

/**
 * The likelihood bound on windows of a text, as read for the model that is measured. `id` and `version` say which text, and what windows of it.
 *
 * @example
 * ```ts
 * import { boundOn, evaluate, loadCorpus, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 32, length: 64, seed: 1 };
 * const text = await loadCorpus("data/nanoworld/validation.jsonl", draw); // or "wikitext-test", for a model of English
 * const [row] = await evaluate(model, [boundOn(text, { id: "elbo validation", version: "1x64" })], { seed: 1 });
 * ```
 */
export function boundOn(corpus: Corpus, { id, version }: Pick<ElboTask, "id" | "version">): ElboTask {
  return { kind: "elbo", id, version, draws: tasks.elbo.draws, windows: () => Promise.resolve([...corpus.windows]) };
}

/**
 * Whether the tokenizer has NanoWorld's vocabulary: each of its words is one token, and has the same id.
 *
 * @example
 * ```ts
 * import { boundOn, knowsNanoWorld, loadCorpus, loadModel, tasks } from "quant-dllm";
 *
 * const { tokenizer } = await loadModel("data/nano-llada");
 * const draw = { tokenizer, count: 32, length: 128, seed: 1 };
 * const task = knowsNanoWorld(tokenizer)
 *   ? tasks.elbo
 *   : boundOn(await loadCorpus("wikitext-test", draw), { id: "elbo wikitext", version: "1x128" });
 * ```
 */
export function knowsNanoWorld(tokenizer: TextTokenizer): boolean {
  let ids: Int32Array;
  try {
    ids = tokenizer.encode(VOCABULARY.join(" "));
  } catch (error) {
    if (error instanceof RangeError) return false; // a word that it has no token for
    throw error;
  }
  return ids.length === VOCABULARY.length && ids.every((token, id) => token === id);
}

/**
 * The seven multiple-choice tasks, in the paper's order.
 *
 * @example
 * ```ts
 * import { choiceTasks, evaluate, loadModel, table } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const rows = await evaluate(model, choiceTasks, { limit: 50, seed: 1 });
 * console.log(table(rows, { row: "method", column: "task", scale: 100, average: "mean" }).toText());
 * ```
 */
export const choiceTasks: readonly ChoiceTask[] = Object.values(tasks).filter((t) => t.kind === "choice");

function choiceTask(folder: URL, id: string): ChoiceTask {
  return {
    kind: "choice",
    id,
    version,
    draws: 4,
    data: new URL(`tasks/${id}.jsonl`, folder),
    items: async (tokenizer) => {
      checkWords(tokenizer, id);
      return (await readLines(folder, `tasks/${id}.jsonl`, ["id", "context", "choices", "answer"])).map((
        line,
      ): ChoiceItem => ({
        id: line.id as string,
        prefix: tokenizer.encode(line.context as string),
        choices: (line.choices as string[]).map((choice) => tokenizer.encode(choice)),
        suffix: line.suffix === undefined ? new Int32Array() : tokenizer.encode(line.suffix as string),
        answer: line.answer as number,
      }));
    },
  };
}

function checkWords(tokenizer: TextTokenizer, id: string): void {
  if (knowsNanoWorld(tokenizer)) return;
  throw new RangeError(
    `Cannot measure on ${id}: it is made of NanoWorld's ${VOCABULARY.length} words, and the model's tokenizer has another vocabulary; ` +
      "measure the likelihood bound on a text of the model's language",
  );
}

/** Reads JSON lines of the data folder. Throws `SyntaxError` that names the file, the line and the missing field. */
async function readLines(folder: URL, path: string, fields: readonly string[]): Promise<Record<string, unknown>[]> {
  const text = await readText(new URL(path, folder));
  return text.split("\n").flatMap((line, i) => {
    if (line.trim() === "") return [];
    let value: Record<string, unknown> | undefined;
    try {
      value = JSON.parse(line);
    } catch {
      // Reported below, with the line.
    }
    const missing = fields.find((f) => value?.[f] === undefined);
    if (missing !== undefined) {
      throw new SyntaxError(`Cannot read ${path}, line ${i + 1}: wanted a JSON object with "${missing}"`);
    }
    return [value!];
  });
}

/** A text beside this code: in a folder, or where a published package is fetched from. */
async function readText(url: URL): Promise<string> {
  if (url.protocol === "file:") return await Deno.readTextFile(url);
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`Cannot read ${url}: the answer is ${answer.status} ${answer.statusText}`);
  return await answer.text();
}
