/** Calibration on the model's own way of writing: the states that its sampler visits between a prompt and a finished text. */
import type { Denoiser } from "../denoiser.ts";
import type { Calibration, Corpus } from "../mcs.ts";
import type { Sampler } from "../sampler.ts";
import { lladaSampler } from "./llada.ts";
import { rng } from "../../tensor/rng.ts";

export interface SamplerStatesOptions {
  readonly seed: number;
  /** gamma: the share of each window, from its start, that is the prompt; the model writes the rest anew. */
  readonly prefix?: number;
  readonly sampler?: Sampler;
  /** Steps of the sampler from prompt to finished text. */
  readonly steps?: number;
  /** States taken from each window's text, all on one way. */
  readonly states?: number;
  /** Shares of the states that equal stretches of the way get, from all masks to none; even by default. TMAS of DLLMQuant has .3, .2, .2, .3. */
  readonly quotas?: readonly number[];
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Lets the model continue the prefix of each window with its sampler, and takes what it sees at random steps: the prefix, what it has committed so far,
 * and masks. MCS masks text of the corpus independently; here the visible tokens are the model's own and were committed in its order. The steps are
 * stratified over the way from all masks to none: N · S states in as many strata, and the S states of one window spread over all of it. A window costs
 * as many forward passes as its last state lies steps in.
 *
 * @returns N · S windows as long as those of the corpus, the states of a window next to each other; their timesteps are the masked shares of what the
 *   model writes.
 * @throws RangeError when the corpus is empty, `prefix` leaves nothing to write, `states` or `steps` is no positive integer or does not suit the sampler,
 *   and when the sampler takes fewer steps than it is given.
 *
 * @example
 * ```ts
 * import { gptq, loadCorpus, loadModel, quantize, samplerOf, samplerStates } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 16, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const calibration = await samplerStates(model, corpus, { seed: 1, sampler: samplerOf(model) });
 * const quantized = await quantize(model, gptq({ bits: 2, group: 32 }), { calibration });
 * ```
 */
export async function samplerStates(
  denoiser: Denoiser,
  corpus: Corpus,
  options: SamplerStatesOptions,
): Promise<Calibration> {
  const { seed, prefix = 0.25, sampler = lladaSampler(), steps = 32, states = 1, quotas = [1] } = options;
  const { onProgress, signal } = options;
  const count = corpus.windows.length;
  if (count === 0) throw new RangeError("Cannot take sampler states: the corpus holds no windows");
  if (!(prefix >= 0 && prefix < 1)) {
    throw new RangeError(`Cannot take sampler states with prefix ${prefix}: wanted a share from 0, below 1`);
  }
  if (!(Number.isInteger(states) && states > 0 && Number.isInteger(steps) && steps > 0)) {
    throw new RangeError(`Cannot take ${states} sampler states of ${steps} steps: wanted positive integers`);
  }
  checkQuotas(quotas);
  const random = rng(seed, "states");
  const order = random.shuffle(Array.from({ length: count }, (_, i) => i));
  const windows: Int32Array[] = [], timesteps: number[] = [];
  for (const [i, window] of corpus.windows.entries()) {
    const kept = Math.floor(prefix * window.length);
    const length = window.length - kept;
    // State s of this window lies in stratum s · N + order[i] of N · S, so windows share out every S-th part of the way.
    const taken = Array.from(
      { length: states },
      (_, s) => Math.floor(progressOf((s * count + order[i] + random.next()) / (count * states), quotas) * steps),
    );
    const way = sampler.walk(denoiser, window.slice(0, kept), { length, steps, seed: `${seed} states ${i}`, signal });
    for await (const { tokens, masked, done } of way) {
      for (const _ of taken.filter((step) => step === done)) {
        windows.push(tokens);
        timesteps.push(masked / length);
      }
      if (done === taken.at(-1)) break;
    }
    if (windows.length < states * (i + 1)) {
      throw new RangeError(
        `Cannot take sampler states by ${sampler.name}: it was done before step ${taken.at(-1)} of ${steps}; ` +
          "wanted a sampler that takes as many steps as it is given",
      );
    }
    onProgress?.(i + 1, count);
  }
  const name = ["states", sampler.name, `s${steps}`, states === 1 ? "" : `n${states}`, `g${prefix}`];
  if (quotas.length > 1) name.push(`q${quotas.join("_")}`);
  return { name: name.filter(Boolean).join("-"), windows, timesteps };
}

function checkQuotas(quotas: readonly number[]): void {
  const sum = quotas.reduce((a, b) => a + b, 0);
  if (quotas.length > 0 && quotas.every((quota) => quota >= 0) && Math.abs(sum - 1) < 1e-9) return;
  throw new RangeError(
    `Cannot take sampler states by quotas [${quotas}]: wanted shares of at least 0 with the sum one`,
  );
}

/** How far on the way, 0 to 1, the state is that `share` of all states lie before: each stretch holds its quota of them. */
function progressOf(share: number, quotas: readonly number[]): number {
  let before = 0;
  for (const [stretch, quota] of quotas.entries()) {
    if (share < before + quota) return (stretch + (share - before) / quota) / quotas.length;
    before += quota;
  }
  return 1 - 1e-9;
}
