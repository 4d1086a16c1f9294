/** A calibration made of others: each of its windows is the window of the same place in one of them. */
import type { Calibration } from "./mcs.ts";

/**
 * Mixes calibrations of the same text, window by window: place p of the mixture holds window p of one part, and each part fills its share of the places.
 * The parts take turns all the way, so that any run of neighbouring windows holds them by their shares: held-out windows, which are the last ones, too.
 * Turns are not a plain alternation, which would meet only every other timestep where the copies of a window stand next to each other.
 *
 * @returns as many windows as each part has, with their timesteps and weights; positions of a part without weights count one.
 * @throws RangeError when there are no parts, their windows differ in number, or the shares are not positive with the sum one; TypeError when a part
 *   weighs positions by what a linear reads or by gradients: mix first, then weigh the mixture.
 *
 * @example
 * ```ts
 * import { gptq, loadCorpus, loadModel, maskResponses, mix, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const masks = { maskId: model.maskId, seed: 1 };
 * const calibration = mix([[0.5, simulateMasks(corpus, masks)], [0.5, maskResponses(corpus, masks)]]);
 * const quantized = await quantize(model, gptq({ bits: 2, group: 128 }), { calibration });
 * ```
 */
export function mix(parts: readonly (readonly [share: number, calibration: Calibration])[]): Calibration {
  if (parts.length === 0) throw new RangeError("Cannot mix calibrations: there are none; give [share, calibration]");
  const count = parts[0][1].windows.length;
  for (const [share, { name, windows, inverseNorm, guide }] of parts) {
    if (!(share > 0)) throw new RangeError(`Cannot mix a share of ${share} of ${name}: wanted a positive number`);
    if (windows.length !== count) {
      throw new RangeError(
        `Cannot mix ${name}, which has ${windows.length} windows, with ${parts[0][1].name}, which has ${count}: ` +
          "wanted the same text under several masks",
      );
    }
    if (inverseNorm || guide) {
      throw new TypeError(`Cannot mix ${name}: its weights belong to linears; mix first, then weigh the mixture`);
    }
  }
  const total = parts.reduce((sum, [share]) => sum + share, 0);
  if (Math.abs(total - 1) > 1e-9) throw new RangeError(`Cannot mix shares with the sum ${total}: wanted a sum of one`);

  const chosen = turns(parts.map(([share]) => share), count).map((k) => parts[k][1]);
  const ones = (window: Int32Array) => new Float32Array(window.length).fill(1);
  return {
    name: `mix(${parts.map(([share, { name }]) => `${share} ${name}`).join(", ")})`,
    windows: chosen.map(({ windows }, p) => windows[p]),
    timesteps: chosen.map(({ timesteps }, p) => timesteps[p]),
    ...parts.some(([, { weights }]) => weights) && {
      weights: chosen.map(({ windows, weights }, p) => weights?.[p] ?? ones(windows[p])),
    },
  };
}

/** Whose turn each place is: the part that is furthest behind its share. Where several are, the binary digits of the place decide (Thue and Morse). */
function turns(shares: readonly number[], count: number): number[] {
  const behind = shares.map(() => 0);
  return Array.from({ length: count }, (_, p) => {
    shares.forEach((share, k) => behind[k] += share);
    const most = Math.max(...behind);
    const tied = [...behind.keys()].filter((k) => behind[k] > most - 1e-9);
    const ones = [...p.toString(2)].filter((digit) => digit === "1").length;
    const turn = tied[ones % tied.length];
    behind[turn] -= 1;
    return turn;
  });
}
