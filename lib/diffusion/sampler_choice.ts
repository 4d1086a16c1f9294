/** What a sampler makes of one row of logits: a token for its position, and how sure of it the model is. */
import { NumericalError } from "../tensor/errors.ts";
import type { Rng } from "../tensor/rng.ts";

export interface Choice {
  readonly token: number;
  /** Greater is surer; comparable between the positions of one pass. */
  readonly confidence: number;
}

/** A draw from the standard Gumbel distribution, in float64: -ln(-ln u) with u inside (0, 1). */
export const gumbel = (random: Rng): number => -Math.log(-Math.log(random.next() || 2 ** -54));

/**
 * LLaDA's choice (generate.py): the token of greatest l + T g with Gumbel noise g, which is a draw from softmax(l / T); the greatest l when T is 0. Its
 * confidence is its probability softmax(l) without noise and temperature.
 *
 * @param logits l, `[vocab]` float32. Ties go to the lowest id.
 * @param maskId never chosen.
 * @param forbid never chosen either, and without probability.
 * @param defer may be chosen, but has no probability: such a token is committed after all others.
 * @throws NumericalError when logits are not finite or no token is left.
 */
export function gumbelChoice(
  logits: Float32Array,
  { maskId, forbid, defer, temperature, random }: {
    readonly maskId: number;
    readonly forbid: ReadonlySet<number>;
    readonly defer: ReadonlySet<number>;
    readonly temperature: number;
    readonly random: Rng;
  },
): Choice {
  const forbids = forbid.size > 0, defers = defer.size > 0;
  let token = -1, best = -Infinity, max = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    const score = temperature > 0 ? logits[id] + temperature * gumbel(random) : logits[id];
    if (forbids && forbid.has(id)) continue;
    if (!defers || !defer.has(id)) max = Math.max(max, logits[id]); // NaN stays
    if (id !== maskId && score > best) {
      best = score;
      token = id;
    }
  }
  let sum = 0;
  for (let id = 0; id < logits.length; id++) {
    if (!(forbids && forbid.has(id)) && !(defers && defer.has(id))) sum += Math.exp(logits[id] - max);
  }
  if (token < 0 || !(sum > 0)) throw unusable(logits);
  return { token, confidence: defer.has(token) ? 0 : Math.exp(logits[token] - max) / sum };
}

/** How Dream measures confidence: the token's probability, its lead over the next, or the negative entropy of the whole row. */
export type Confidence = "probability" | "margin" | "entropy";

/**
 * Dream's choice (sample_tokens of generation_utils.py): softmax(l / T) restricted to the most probable tokens that together pass `topP`, and one of
 * them by its probability; the most probable when T is 0. Confidence is measured on those restricted probabilities.
 *
 * @param logits l, `[vocab]` float32. Ties go to the lowest id.
 * @param maskId never chosen.
 * @throws NumericalError when logits are not finite.
 */
export function nucleusChoice(
  logits: Float32Array,
  { maskId, temperature, topP, confidence, random }: {
    readonly maskId: number;
    readonly temperature: number;
    readonly topP: number;
    readonly confidence: Confidence;
    readonly random: Rng;
  },
): Choice {
  const scale = temperature > 0 ? temperature : 1;
  let max = -Infinity;
  for (let id = 0; id < logits.length; id++) max = Math.max(max, logits[id]); // NaN stays
  if (!Number.isFinite(max)) throw unusable(logits);
  const p = new Float64Array(logits.length);
  let sum = 0;
  for (let id = 0; id < p.length; id++) sum += p[id] = Math.exp((logits[id] - max) / scale);
  for (let id = 0; id < p.length; id++) p[id] /= sum;
  restrict(p, topP);

  let token = -1, first = 0, second = 0, eligible = 0;
  for (let id = 0; id < p.length; id++) {
    if (p[id] > first) [first, second] = [p[id], first];
    else if (p[id] > second) second = p[id];
    if (id === maskId) continue;
    eligible += p[id];
    if (token < 0 || p[id] > p[token] || (p[id] === p[token] && logits[id] > logits[token])) token = id;
  }
  if (temperature > 0 && eligible > 0) {
    let rest = random.next() * eligible;
    for (let id = 0; id < p.length; id++) {
      if (id === maskId || p[id] === 0) continue;
      token = id; // the last one stands when rounding leaves a rest
      rest -= p[id];
      if (rest < 0) break;
    }
  }
  switch (confidence) {
    case "probability":
      return { token, confidence: p[token] };
    case "margin":
      return { token, confidence: first - second };
    case "entropy":
      return { token, confidence: negativeEntropy(p) };
  }
}

/** Σ p ln(p + 1e-10). */
function negativeEntropy(p: Float64Array): number {
  let total = 0;
  for (let id = 0; id < p.length; id++) if (p[id] > 0) total += p[id] * Math.log(p[id] + 1e-10);
  return total;
}

/** Keeps of p, in place, the most probable entries up to the one with which their sum passes `topP`, and makes their sum 1. */
export function restrict(p: Float64Array, topP: number): void {
  if (topP >= 1) return;
  // Sorting a vocabulary takes long; nearly always a few entries above some bound already pass topP.
  for (let bound = 1e-2;; bound = bound > 1e-12 ? bound / 100 : 0) {
    const top = p.filter((x) => x >= bound).sort();
    let next = top.length, sum = 0;
    while (next > 0 && sum <= topP) sum += top[--next];
    if (sum <= topP && bound > 0) continue;
    const least = top[next];
    let ties = 0; // of several entries as small as the least one kept, those of the lowest ids
    while (top[next + ties] === least) ties++;
    for (let id = 0; id < p.length; id++) p[id] = p[id] > least || (p[id] === least && ties-- > 0) ? p[id] / sum : 0;
    return;
  }
}

/** What is wrong with logits of which no token can be chosen. */
export function unusable(logits: Float32Array | Float64Array): NumericalError {
  const nan = logits.findIndex(Number.isNaN);
  const found = nan >= 0 ? `the logit of token ${nan} is NaN` : "the logits are not finite";
  return new NumericalError(`Cannot choose a token: ${found}; check the model's weights`);
}
