/** Values of the attention in few bits, by the attention that they get (IA-AQ of DLLMQuant, arXiv 2508.14090). */
import type { Calibration } from "../diffusion/mcs.ts";
import type { Hidden } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import { RoundedValues, type SeenValues, type ValueGrids, valueProbe } from "../model/values.ts";
import { valueScale } from "../quant/value_scale.ts";
import { heldStates, slice } from "./hidden.ts";

export interface ValueOptions {
  /** What grids are fitted to; its weights of tokens are not used. */
  readonly calibration: Calibration;
  /** Bits of a value, 1 to 8; 4 by default. */
  readonly bits?: number;
  /** Ranges that are tried for each feature; 40 by default. */
  readonly tries?: number;
  /** Windows at a time. */
  readonly batch?: number;
}

/**
 * A model whose attention mixes values of few bits, simulated: each feature of the values is rounded to a grid of its own, whose range is that of least error,
 * each token weighed by the attention that it gets (from all heads that share the feature). Grids are fitted block by block, on states that passed through the
 * rounded blocks before. All values of a block are in memory, and each is tried `tries` times: a few windows will do. The new model shares this model's engine
 * and must not outlive it; it runs from float32 weights, which are quantised first where they are to be.
 *
 * @throws RangeError for bits that are no integer from 1 to 8, or a calibration without windows.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel, quantizeValues, visible } from "quant-dllm";
 *
 * await using model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 8, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * await using rounded = await quantizeValues(model, { calibration, bits: 4 });
 * console.log(rounded.provenance); // values: "4 bits, ..."
 * ```
 */
export async function quantizeValues(model: Model, options: ValueOptions): Promise<Model> {
  const { calibration, bits = 4, tries = 40, batch } = options, { engine, weights, architecture: a } = model;
  const slices = slice(calibration, { batch }), states = await heldStates(model, slices);
  await using probe = await valueProbe(engine);
  const grids: ValueGrids[] = [], rounded = new RoundedValues(engine, weights, grids);
  for (let layer = 0; layer < a.layers; layer++) {
    const block = await weights.block(layer), all: (SeenValues & Hidden)[] = [];
    for (let part = 0; part < slices.parts.length; part++) {
      const x = await states.get(part);
      all.push({ ...x, ...await probe.run(x, block) });
    }
    grids.push(fit(all, a, { bits, tries }));
    await states.advance((x) => rounded.block(layer, x));
  }
  return model.run(rounded, { values: `${bits} bits, ${calibration.name}` });
}

/** A grid for each feature, over the tokens of all parts. */
function fit(
  parts: readonly (SeenValues & Hidden)[],
  { heads, kvHeads, headSize }: Model["architecture"],
  options: { readonly bits: number; readonly tries: number },
): ValueGrids {
  const width = kvHeads * headSize, tokens = parts.reduce((sum, { v }) => sum + v.length / width, 0);
  const grids = { bits: options.bits, scales: new Float32Array(width), zeros: new Float32Array(width) };
  const values = new Float32Array(tokens), attention = new Float64Array(tokens);
  for (let head = 0; head < kvHeads; head++) {
    attention.fill(0);
    for (let shared = head * heads / kvHeads; shared < (head + 1) * heads / kvHeads; shared++) {
      let t = 0;
      for (const { batch, time, seen } of parts) {
        for (let b = 0; b < batch; b++) {
          for (let p = 0; p < time; p++, t++) attention[t] += seen[(b * heads + shared) * time + p];
        }
      }
    }
    for (let j = head * headSize; j < (head + 1) * headSize; j++) {
      let t = 0;
      for (const { v } of parts) for (let at = j; at < v.length; at += width) values[t++] = v[at];
      const { scale, zero } = valueScale(values, attention, options);
      grids.scales[j] = scale;
      grids.zeros[j] = zero;
    }
  }
  return grids;
}
