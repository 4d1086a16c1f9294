/** Answers that are generated: the prompt through the sampler, the text cut as the authors cut it, and its score by each filter. */
import { isChatTokenizer } from "../checkpoint/tokenizer/tokenizer.ts";
import type { Sampler } from "../diffusion/sampler.ts";
import { generate } from "../pipeline/generate.ts";
import type { Model } from "../model/model.ts";
import { runPython, type SandboxOptions } from "./sandbox.ts";
import type { Doc, GeneratedDefinition } from "./tasks/definition.ts";

/** What is asked of a model that answers. */
export type AnsweringModel = Pick<
  Model,
  "name" | "architecture" | "tokenizer" | "maskId" | "vocabSize" | "logits" | "firstPredicted"
>;

/** How answers are generated; what is not given is the task's or the sampler's own. */
export interface GenerationSettings {
  /** Tokens of an answer. */
  readonly length?: number;
  /** Denoising steps; as many as tokens by default. */
  readonly steps?: number;
  readonly sampler?: Sampler;
  /** Whether the prompt goes through the chat template. Default false: the tables of the papers have none. */
  readonly chat?: boolean;
}

/**
 * The answer to a prompt. For LLaDA (eval_llada.py) the text with its special tokens is cut at each stop, and what is left loses them; where logits are shifted
 * (Dream's eval.py) it ends at the first end token, then at each stop.
 */
export async function answerTo(
  model: AnsweringModel,
  prompt: string,
  { stops, length, seed, generation, signal }: {
    readonly stops: readonly string[];
    readonly length: number;
    readonly seed: string;
    readonly generation: GenerationSettings;
    readonly signal?: AbortSignal;
  },
): Promise<string> {
  const size = generation.length ?? length;
  const { steps = size, sampler, chat = false } = generation;
  const result = await generate(model, prompt, { length: size, steps, seed, sampler, chat, signal });
  const { tokenizer } = model;
  const cut = (text: string) => stops.reduce((rest, stop) => rest.split(stop)[0], text);
  if (model.architecture.logitShift || !isChatTokenizer(tokenizer)) return cut(result.text);
  const kept = cut(tokenizer.decode(result.tokens));
  return tokenizer.decode(tokenizer.encode(kept), { skipSpecial: true });
}

/** An answer as one filter finds it. */
export interface Judged {
  readonly filter: string;
  readonly found: string;
  readonly right: boolean;
  /** How its program ended, for code. */
  readonly outcome?: string;
}

/** The answer by each filter of the task; code is run in the sandbox. */
export async function judge(
  task: GeneratedDefinition,
  doc: Doc,
  answer: string,
  sandbox: SandboxOptions,
): Promise<Judged[]> {
  const judged: Judged[] = [];
  for (const [filter, find] of Object.entries(task.filters)) {
    const found = find(answer, doc);
    if (task.program) {
      const { passed, outcome } = await runPython(task.program(found, doc), sandbox);
      judged.push({ filter, found, right: passed, outcome });
    } else {
      judged.push({ filter, found, right: task.right(found, task.target(doc)) });
    }
  }
  return judged;
}
