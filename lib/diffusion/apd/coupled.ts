/** Draws that share their noise, so that distributions which are nearly alike give nearly always the same token. */
import type { Rng } from "../../tensor/rng.ts";
import { gumbel, restrict, unusable } from "../sampler_choice.ts";

export interface CoupledOptions {
  /** Never chosen. */
  readonly maskId: number;
  /** T. */
  readonly temperature: number;
  /** Of softmax(l / T) over all tokens but the mask, the most probable ones that together pass it; counts where T is above 0. */
  readonly topP: number;
  /** The factor of the noise: T by default. */
  readonly noise?: number;
  /** Where the noise comes from, one number for every token; the same stream again gives the same noise. */
  readonly random: Rng;
}

/**
 * The token of greatest l + s g over the nucleus, with Gumbel noise g: a draw from softmax(l / s) restricted to it, the greatest l when s is 0. Two rows
 * of logits that draw with the same g differ with probability at most 2 TV / (1 + TV), TV being their distance in total variation.
 *
 * @param logits l, `[vocab]`. Ties go to the lowest id.
 * @throws NumericalError when logits are not finite or no token is left.
 */
export function coupledChoice(
  logits: Float32Array | Float64Array,
  { maskId, temperature, topP, noise = temperature, random }: CoupledOptions,
): number {
  let max = -Infinity;
  for (let id = 0; id < logits.length; id++) if (id !== maskId) max = Math.max(max, logits[id]); // NaN stays
  if (!Number.isFinite(max)) throw unusable(logits);
  const inside = temperature > 0 && topP < 1 ? nucleus(logits, { maskId, max, temperature, topP }) : undefined;
  let token = -1, best = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    const score = noise > 0 ? logits[id] + noise * gumbel(random) : logits[id];
    if (id === maskId || inside?.[id] === 0) continue;
    if (score > best) [token, best] = [id, score];
  }
  if (token < 0) throw unusable(logits);
  return token;
}

/** softmax(l / T) over all tokens but the mask, restricted to its nucleus, `[vocab]`: 0 outside. */
function nucleus(
  logits: Float32Array | Float64Array,
  { maskId, max, temperature, topP }: Omit<CoupledOptions, "random"> & { readonly max: number },
): Float64Array {
  const p = Float64Array.from(logits, (l, id) => id === maskId ? 0 : Math.exp((l - max) / temperature));
  const sum = p.reduce((a, b) => a + b, 0);
  for (let id = 0; id < p.length; id++) p[id] /= sum;
  restrict(p, topP);
  return p;
}
