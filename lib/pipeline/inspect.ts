/** What a method sees of a model in full precision: the second moment of every linear's inputs, and how sensitive their groups are. */
import type { Calibration } from "../diffusion/mcs.ts";
import type { Model } from "../model/model.ts";
import type { Method } from "../quant/method.ts";
import { fastKernels } from "../runtime/kernels.ts";
import type { Kernels } from "../tensor/kernels.ts";
import type { Matrix } from "../tensor/matrix.ts";
import { heldStates, slice } from "./hidden.ts";
import { stageMoments, wholeMoment } from "./moments.ts";
import type { Scores } from "./store.ts";
import { eachHalf, scoreAll } from "./walk.ts";

export interface InspectOptions {
  readonly calibration: Calibration;
  /** The arithmetic; by default products on the model's device. */
  readonly kernels?: Kernels;
  /** Windows per forward pass; 32 by default. */
  readonly batch?: number;
  readonly signal?: AbortSignal;
}

/**
 * The second moment H = (2 / N) Σ x xᵀ `[in, in]` over the tokens of N windows (Eq. 4), by name of the linear. Linears that share an input share a matrix.
 * Throws `RangeError` when the windows differ in length.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel, secondMoments, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const H = await secondMoments(model, { calibration: visible(corpus) });
 * console.log(H["model.transformer.blocks.0.ff_proj.weight"].shape);
 * ```
 */
export async function secondMoments(model: Model, options: InspectOptions): Promise<Readonly<Record<string, Matrix>>> {
  const { calibration, signal } = options;
  const states = await heldStates(model, slice(calibration, options));
  const found: Record<string, Matrix> = {};
  await eachHalf(model, { states, signal }, async ({ layer, stages }, block) => {
    for (const stage of stages) {
      for (const moment of await stageMoments(model.engine, states, { layer, stage, block })) {
        for (const linear of moment.linears) found[model.family.names.block(layer, linear)] = wholeMoment(moment);
      }
    }
  });
  return found;
}

/**
 * The scores of the groups of every linear (Eq. 11), by its name, as a method with `abmp({ scope: "model" })` ranks them. Throws `TypeError` for a method
 * that shares no budget among linears.
 *
 * @example
 * ```ts
 * import { abmp, blockScores, daq, loadCorpus, loadModel, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const method = daq({ bits: abmp({ scope: "model" }), group: 32 });
 * const scores = await blockScores(model, method, { calibration: visible(corpus) });
 * ```
 */
export async function blockScores(model: Model, method: Method, options: InspectOptions): Promise<Scores> {
  const { calibration, signal, kernels = fastKernels(model.engine.runtime, { threads: 1 }) } = options;
  if (!method.across) {
    throw new TypeError(`Cannot score with ${method.name}: it shares no budget; wanted abmp({ scope: "model" })`);
  }
  return await scoreAll(model, method, {
    states: await heldStates(model, slice(calibration, options)),
    kernels,
    signal,
  });
}
