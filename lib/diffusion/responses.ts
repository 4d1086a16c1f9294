/** Calibration on whole answers: windows in the states in which a model that answers is asked. */
import { rng } from "../tensor/rng.ts";
import { drawMasks } from "./masks.ts";
import type { Calibration } from "./mcs.ts";
import type { MarkedText } from "./text.ts";

export interface MaskResponsesOptions {
  /** The id that stands for a masked token. */
  readonly maskId: number;
  readonly seed: number;
  /** Positions before this one stay visible: 1 where logits are shifted. */
  readonly firstPredicted?: number;
}

/**
 * Masks answers as a whole and nothing else, each with probability 3/4 and at least one of a window: how a model learns to respond, and how its tasks ask
 * it. MCS masks tokens one by one, and hardly ever a whole answer alone. Where the text marks no answers, one random span of each window is masked.
 *
 * @returns as many windows; their timesteps are the masked shares of them.
 * @throws RangeError when there are no windows, they differ in length, or they are too short to mask.
 *
 * @example
 * ```ts
 * import { levels, loadModel, maskResponses, quantize } from "quant-dllm";
 * import { createWorld, rng, WORLD_SEED } from "quant-dllm/testbed";
 *
 * const model = await loadModel("data/nano-llada");
 * const world = createWorld({ seed: WORLD_SEED });
 * const drawn = Array.from({ length: 64 }, (_, i) => world.sequence(rng(1, i), "train", 64));
 * const text = { windows: drawn.map(({ tokens }) => tokens), answers: drawn.map(({ answers }) => answers) };
 * const calibration = maskResponses(text, { maskId: model.maskId, seed: 1 });
 * const quantized = await quantize(model, levels({ bits: 2, group: 128 }), { calibration });
 * ```
 */
export function maskResponses(text: MarkedText, options: MaskResponsesOptions): Calibration {
  const { maskId, seed, firstPredicted } = options;
  if (text.windows.length === 0) throw new RangeError("Cannot mask responses: the text holds no windows");
  const shares = { forward: 0, answers: 1 };
  const masks = drawMasks(text, { shares, random: rng(seed, "responses"), firstPredicted });
  return {
    name: text.answers ? "responses" : "spans",
    windows: text.windows.map((tokens, w) => tokens.map((token, p) => masks[w][p] === 1 ? maskId : token)),
    timesteps: masks.map((mask) => mask.reduce((sum, m) => sum + m, 0) / mask.length),
  };
}
