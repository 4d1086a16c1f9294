/** Multiple choice by likelihood, as the official LLaDA evaluation estimates it (eval_llada.py). */
import type { Denoiser } from "../diffusion/denoiser.ts";
import { stratifiedCounts } from "../diffusion/forward.ts";
import { rng } from "../tensor/rng.ts";
import { checkPredicted, type DrawOptions, logProbabilities, type Query } from "./scoring.ts";

/** A tokenised item: the scored text is prefix + choice + suffix, and only the choice is masked and scored. */
export interface ChoiceItem {
  readonly id: string;
  readonly prefix: Int32Array;
  readonly choices: readonly Int32Array[];
  readonly suffix: Int32Array;
  /** Index of the right choice. */
  readonly answer: number;
}

export interface ChoiceResult {
  /** Accuracy over the items: the choice of highest estimated log-likelihood, ties to the lowest index. */
  readonly accuracy: number;
  readonly n: number;
  /** Of the accuracy over items: sqrt(p (1 - p) / (n - 1)). */
  readonly standardError: number;
  /** Of the accuracy over mask draws, by leaving one draw out at a time; 0 where the likelihood needs no draws. */
  readonly mcStandardError: number;
  /** 1 where item i was answered right: for paired comparisons. */
  readonly right: Uint8Array;
  /** Mean over the items of 1 / number of choices. */
  readonly chance: number;
}

/**
 * Scores items. Per choice of L tokens, b = `draws` masks of exactly n_i of its tokens, the n_i stratified over 1..L; the estimate is the mean of
 * (L / n_i) · Σ log p over the masked tokens. Counts and positions depend on (seed, item, draw) only: all models, and all choices of one length, see
 * the same masks, so that differences are paired. A choice of one token has one mask: a single pass serves all such choices, exactly.
 * Throws `RangeError` for draws that are no positive integer, an empty choice, and a choice at a position that the denoiser does not predict.
 */
export async function scoreChoices(
  denoiser: Denoiser,
  items: readonly ChoiceItem[],
  { draws, seed, batch, signal, onProgress }: DrawOptions,
): Promise<ChoiceResult> {
  if (!(Number.isInteger(draws) && draws > 0)) {
    throw new RangeError(`Cannot score choices with ${draws} mask draws: wanted a positive integer`);
  }
  for (const { id, prefix } of items) checkPredicted(denoiser, prefix.length, `Cannot score the choices of "${id}"`);
  const right = new Uint8Array(items.length);
  const rightWithout = new Float64Array(draws);
  const chunk = 64;
  for (let start = 0; start < items.length; start += chunk) {
    const part = items.slice(start, start + chunk);
    const queries: Query[] = [];
    const weights: number[] = [];
    for (const item of part) {
      for (const choice of item.choices) {
        for (let d = 0; d < draws; d++) {
          const { positions, weight } = maskOf(choice.length, d, draws, seed, item.id);
          queries.push(masked(item, choice, positions, denoiser.maskId));
          weights.push(weight);
        }
      }
    }
    const answers = await logProbabilities(denoiser, queries, { batch, signal });
    let at = 0;
    part.forEach((item, i) => {
      // estimates[c][d]: the estimate of choice c by draw d alone.
      const estimates = item.choices.map(() =>
        Float64Array.from({ length: draws }, () => {
          const sum = answers[at].reduce((x, y) => x + y, 0);
          return weights[at++] * sum;
        })
      );
      right[start + i] = Number(best(estimates) === item.answer);
      for (let d = 0; d < draws; d++) {
        rightWithout[d] += draws === 1 ? right[start + i] : Number(best(estimates, d) === item.answer);
      }
    });
    onProgress?.(start + part.length, items.length);
  }
  const n = items.length;
  const accuracy = right.reduce((x, y) => x + y, 0) / n;
  // In counts, so that draws that agree have no spread at all.
  const mean = rightWithout.reduce((x, y) => x + y, 0) / draws;
  const spread = rightWithout.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return {
    accuracy,
    n,
    standardError: n > 1 ? Math.sqrt(accuracy * (1 - accuracy) / (n - 1)) : NaN,
    mcStandardError: Math.sqrt((draws - 1) / draws * spread) / n,
    right,
    chance: items.reduce((sum, item) => sum + 1 / item.choices.length, 0) / n,
  };
}

/** The masked positions within a choice of `length` tokens for one draw, and its weight length / count. */
function maskOf(length: number, draw: number, draws: number, seed: number, id: string) {
  const count = stratifiedCounts(length, draws, rng(seed, "choice-counts", id, length))[draw];
  const positions = count === length
    ? Int32Array.from({ length }, (_, i) => i)
    : rng(seed, "choice-mask", id, length, draw).choose(length, count).sort();
  return { positions, weight: length / count };
}

function masked({ prefix, suffix }: ChoiceItem, choice: Int32Array, positions: Int32Array, maskId: number): Query {
  const tokens = new Int32Array(prefix.length + choice.length + suffix.length);
  tokens.set(prefix);
  tokens.set(choice, prefix.length);
  tokens.set(suffix, prefix.length + choice.length);
  const at = Array.from(positions, (p) => prefix.length + p);
  for (const p of at) tokens[p] = maskId;
  return { tokens, positions: at, ids: Array.from(positions, (p) => choice[p]) };
}

/** The choice with the highest mean estimate, over all draws or all but one. */
function best(estimates: readonly Float64Array[], without = -1): number {
  let index = 0;
  let highest = -Infinity;
  estimates.forEach((values, c) => {
    let sum = 0;
    for (let d = 0; d < values.length; d++) if (d !== without) sum += values[d];
    if (sum > highest) [index, highest] = [c, sum];
  });
  return index;
}
