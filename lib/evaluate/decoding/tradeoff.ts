/** What a model gains in speed and loses in accuracy as a sampler's dial is turned. */
import type { Sampler } from "../../diffusion/sampler.ts";
import type { Model } from "../../model/model.ts";
import type { Row } from "../../report/rows.ts";
import { decodingOf, type DecodingOptions, type PromptSet } from "./decoding.ts";

/** One option of a sampler, and what it is set to. */
export interface Dial {
  /** What rows call it: "R", "threshold", "tokens per step". */
  readonly name: string;
  readonly values: readonly number[];
  readonly sampler: (value: number) => Sampler;
  /** Steps for an answer of so many tokens; as many as tokens by default. */
  readonly steps?: (value: number, length: number) => number;
}

/** How a trade-off is measured: as `decodingOf` does, with dials in place of a sampler. */
export interface TradeoffOptions extends Omit<DecodingOptions, "sampler" | "steps" | "onProgress" | "onDecoded"> {
  readonly dials: readonly Dial[];
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * `decodingOf` for every model at every setting of every dial, with the same prompts and seeds, so that differences are paired. Rows also bear `dial` and
 * `setting`, and `passesPerToken`, so that those of accuracy alone draw the trade-off.
 *
 * @example
 * ```ts
 * import { apdSampler, type Dial, lladaSampler, loadModel, promptsOf, quantize, rtn, tasks, tradeoff } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const models = [model, await quantize(model, rtn({ bits: 3, group: 32 }))];
 * const dials: Dial[] = [
 *   { name: "R", values: [0, 0.5, 0.9, 1], sampler: (mix) => apdSampler({ mix }) },
 *   { name: "tokens per step", values: [1, 2, 4], sampler: () => lladaSampler(), steps: (k, length) => Math.ceil(length / k) },
 * ];
 * const rows = await tradeoff(models, await promptsOf(tasks.nano_bbh, model.tokenizer), { dials, limit: 100, seed: 1 });
 * for (const { method, dial, setting, passesPerToken, value } of rows.filter(({ metric }) => metric === "accuracy")) {
 *   console.log(method, dial, setting, passesPerToken, value);
 * }
 * ```
 */
export async function tradeoff(
  models: readonly Model[],
  prompts: PromptSet,
  { dials, onProgress, ...options }: TradeoffOptions,
): Promise<Row[]> {
  const settings = models.flatMap((model) =>
    dials.flatMap((dial) => dial.values.map((setting) => ({ model, dial, setting })))
  );
  const rows: Row[] = [];
  for (const [i, { model, dial, setting }] of settings.entries()) {
    const measured = await decodingOf(model, prompts, {
      ...options,
      sampler: dial.sampler(setting),
      steps: (length) => dial.steps?.(setting, length) ?? length,
      onProgress: (done, total) => onProgress?.(i + done / total, settings.length),
    });
    const passesPerToken = measured.find(({ metric }) => metric === "passes per token")!.value;
    rows.push(...measured.map((row) => ({ ...row, dial: dial.name, setting, passesPerToken })));
  }
  return rows;
}
