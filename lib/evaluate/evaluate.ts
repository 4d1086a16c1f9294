/** Models and tasks make rows. */
import type { Row } from "../report/rows.ts";
import type { Model } from "../model/model.ts";
import { scoreChoices } from "./choice.ts";
import { elbo } from "./elbo.ts";
import type { Task } from "./tasks.ts";
import { version } from "../version.ts";

export interface EvaluateOptions {
  /** Of the masks: models evaluated with one seed see the same, so that their differences are paired. */
  readonly seed: number;
  /** At most this many items per task, from the start; all by default. */
  readonly limit?: number;
  /** Mask draws per choice or window; the task's own number by default. */
  readonly draws?: number;
  readonly batch?: number;
  readonly onProgress?: (done: number, total: number, task: string) => void;
  /** Gets the numbers behind each row, one per item: 1 for right and 0 for wrong, or nats per token of a window. For paired comparisons. */
  readonly onItems?: (task: string, values: ArrayLike<number>) => void;
  readonly signal?: AbortSignal;
}

/**
 * Evaluates a model on tasks. One row per task: `accuracy` for choices; for the likelihood bound `nats per token` and, in the field `perplexity`, its
 * exponential (a bound on the perplexity). `standardError` comes from the choice of items, `mcStandardError` from the random masks.
 *
 * @example
 * ```ts
 * import { evaluate, loadModel, quantize, rtn, table, tasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const arms = [model, await quantize(model, rtn({ bits: 2, group: 32 }))];
 * const rows = [];
 * for (const arm of arms) rows.push(...await evaluate(arm, [tasks.nano_mmlu, tasks.elbo], { limit: 100, seed: 1 }));
 * console.log(table(rows, { row: ["method", "bitsPerWeight"], column: "task" }).toText());
 * ```
 */
export async function evaluate(model: Model, tasks: readonly Task[], options: EvaluateOptions): Promise<Row[]> {
  const { seed, limit = Infinity, batch, signal } = options;
  if (!(limit >= 2)) {
    throw new RangeError(`Cannot evaluate: limit is ${limit}, wanted at least 2 items for a standard error`);
  }
  const rows: Row[] = [];
  for (const task of tasks) {
    const common = {
      seed,
      draws: options.draws ?? task.draws,
      batch,
      signal,
      onProgress: (done: number, total: number) => options.onProgress?.(done, total, task.id),
    };
    const identity = rowIdentity(model, { id: task.id, version: task.version, seed });
    if (task.kind === "choice") {
      const items = (await task.items(model.tokenizer)).slice(0, limit);
      const { accuracy, n, standardError, mcStandardError, chance, right } = await scoreChoices(model, items, common);
      options.onItems?.(task.id, right);
      rows.push({ ...identity, metric: "accuracy", value: accuracy, n, standardError, mcStandardError, chance });
    } else {
      const windows = (await task.windows(model.tokenizer)).slice(0, limit);
      const { nats, n, standardError, mcStandardError, perWindow } = await elbo(model, windows, common);
      options.onItems?.(task.id, perWindow);
      const perplexity = Math.exp(nats);
      rows.push({ ...identity, metric: "nats per token", value: nats, n, standardError, mcStandardError, perplexity });
    }
  }
  return rows;
}

/** The fields of a row that say what was measured, on what: of the task its id and version. */
export function rowIdentity(
  model: Model,
  { id, version: taskVersion, seed }: { readonly id: string; readonly version: string; readonly seed: number },
) {
  const { method = "fp", calibration } = model.provenance, { platform } = model.engine.runtime;
  return {
    method: String(method),
    ...(calibration === undefined ? {} : { calibration: String(calibration) }),
    task: id,
    ...sizeOf(model),
    seed,
    taskVersion,
    codeVersion: version,
    ...(platform === undefined ? {} : { platform }),
  };
}

/**
 * Bits per weight of the linears of the blocks, and the bytes that they take; 16 bits for what is not quantised.
 *
 * @example
 * ```ts
 * import { loadModel, quantize, rtn, sizeOf } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const { storedBytes } = sizeOf(model);
 * const quantized = sizeOf(await quantize(model, rtn({ bits: 2, group: 32 })));
 * console.log(quantized.bitsPerWeight, storedBytes / quantized.storedBytes); // and how many times smaller
 * ```
 */
export function sizeOf(model: Model): { readonly bitsPerWeight: number; readonly storedBytes: number } {
  let bits = 0;
  let weights = 0;
  for (const { name, shape: [rows, cols] } of model.linearNames()) {
    const count = rows * cols;
    bits += 8 * (model.storedBytes.get(name) ?? 2 * count);
    weights += count;
  }
  return { bitsPerWeight: bits / weights, storedBytes: bits / 8 };
}
