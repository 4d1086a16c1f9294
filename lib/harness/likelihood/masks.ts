/**
 * Log-likelihood of a target after a context by random masks of the target, as the authors of LLaDA (eval_llada.py) and of Dream (eval.py) estimate it. Masks
 * are drawn apart from the losses that they give, so that either can be checked by itself.
 */
import type { Denoiser } from "../../diffusion/denoiser.ts";
import { checkPredicted, logProbabilities, type Query } from "../../evaluate/scoring.ts";
import { concat } from "../../tensor/concat.ts";
import type { Rng } from "../../tensor/rng.ts";
import { roundHalfEven } from "../../tensor/rounding.ts";
import { guided } from "./guidance.ts";
import type { Pair } from "./pairs.ts";

/** Rows of masks over one target. */
export interface TargetMasks {
  /** Per row, the masked positions of the target, rising. */
  readonly positions: readonly Int32Array[];
  /** Per row, what its cross-entropies are divided by: the probability that a position is masked. */
  readonly p: Float64Array;
}

export interface MaskOptions {
  /** Rows in all, `mc_num`. */
  readonly draws: number;
  /** Rows that are stratified together, `batch_size`: b. */
  readonly batch: number;
  /** The generator of repeat r and row i; of what a whole repeat shares, without i. */
  readonly random: (repeat: number, row?: number) => Rng;
}

/**
 * LLaDA's mask counts of one batch: with k uniform in 1..L, round(k + i L / b) half to even, wrapped into 1..L.
 *
 * @param length L, tokens of the target.
 * @param batch b.
 * @param first k.
 * @returns `[b]` int32.
 */
export function lladaCounts(length: number, batch: number, first: number): Int32Array {
  return Int32Array.from(
    { length: batch },
    (_, i) => (roundHalfEven(first + i * (length / batch)) - 1) % length + 1,
  );
}

/**
 * LLaDA's masks: in each of draws / b repeats, row i masks exactly n_i of the L positions (`lladaCounts`), any with equal probability, and p = n_i / L. A target
 * of one token has one mask. Throws `RangeError` unless b divides the draws, as the reference asserts.
 */
export function lladaMasks(length: number, { draws, batch, random }: MaskOptions): TargetMasks {
  checkDraws(draws, batch, draws % batch === 0, `${batch} must divide them`);
  if (length === 1) return { positions: [Int32Array.of(0)], p: Float64Array.of(1) };
  const rows = Array.from({ length: draws / batch }, (_, repeat) => {
    const counts = lladaCounts(length, batch, 1 + random(repeat).int(length));
    return Array.from(counts, (count, i) => random(repeat, i).choose(length, count).sort());
  }).flat();
  return { positions: rows, p: Float64Array.from(rows, (row) => row.length / length) };
}

/** The least time at which Dream masks (`sampling_eps`). */
const dreamEps = 1e-3;

/**
 * Dream's masks: in each of max(floor(draws / b), 1) repeats, row i has t_i = (u + i / b) mod 1 with one u uniform in [0, 1), and masks each position with
 * p_i = (1 - 1e-3) t_i + 1e-3 on its own, but never the last token of the sequence, nor the first: `first` is the first position of the target that may be
 * masked, 1 where no context stands before it.
 */
export function dreamMasks(length: number, first: number, { draws, batch, random }: MaskOptions): TargetMasks {
  checkDraws(draws, batch, true, "");
  const p: number[] = [];
  const positions = Array.from({ length: Math.max(1, Math.floor(draws / batch)) }, (_, repeat) => {
    const u = random(repeat).next();
    return Array.from({ length: batch }, (_, i) => {
      const chance = (1 - dreamEps) * ((u + i / batch) % 1) + dreamEps;
      p.push(chance);
      const row = random(repeat, i);
      const masked = Array.from({ length }, () => row.next() < chance);
      return Int32Array.from(masked.keys()).filter((at) => masked[at] && at >= first && at < length - 1);
    });
  }).flat();
  return { positions, p: Float64Array.from(p) };
}

function checkDraws(draws: number, batch: number, fits: boolean, how: string): void {
  const whole = Number.isInteger(draws) && draws > 0 && Number.isInteger(batch) && batch > 0;
  if (whole && fits) return;
  throw new RangeError(
    `Cannot draw ${draws} masks in batches of ${batch}: ${whole ? how : "wanted positive integers"}`,
  );
}

export interface LossOptions {
  /** w of classifier-free guidance: logits u + (w + 1)(c - u), where u comes from the sequence with its context masked. Default 0: none. */
  readonly guidance?: number;
  /** Sequences in one pass; no part of the estimate. */
  readonly together?: number;
  readonly signal?: AbortSignal;
}

/**
 * The losses of targets under given masks: per target and row, the sum of -log p(token) over the masked positions, divided by the row's p, in nats. The mean
 * over rows, negated, is the log-likelihood. Sequences that are equal run once: options of one token after one context take one pass. Log-probabilities are
 * float64 of float32 logits; the references take them of bf16 ones.
 *
 * @returns one float64 array per target, as long as its rows.
 * @throws RangeError where guidance would mask a position that the model does not predict, and where a mask lies there.
 */
export async function maskedLosses(
  denoiser: Denoiser,
  targets: readonly { readonly pair: Pair; readonly masks: TargetMasks }[],
  { guidance = 0, together, signal }: LossOptions = {},
): Promise<Float64Array[]> {
  const queries = targets.map(({ pair, masks }) => masks.positions.map((row) => queryOf(denoiser, pair, row)));
  const run = async (model: Denoiser, all: readonly Query[][]) => {
    // A row that masks nothing asks nothing.
    const asked = all.flat().filter(({ ids }) => ids.length > 0);
    const answers = (await logProbabilities(model, asked, { batch: together, signal })).values();
    return all.map((rows) => rows.map(({ ids }) => ids.length === 0 ? 0 : -sum(answers.next().value!)));
  };
  const sums: number[][] = [];
  if (guidance === 0) sums.push(...await run(denoiser, queries));
  else {
    // The context's length is part of what a guided pass does, so targets do not run together.
    for (const [i, rows] of queries.entries()) {
      const model = guided(denoiser, { weight: guidance, context: targets[i].pair.context.length });
      sums.push(...await run(model, [rows]));
    }
  }
  return sums.map((rows, t) => Float64Array.from(rows, (loss, i) => loss / targets[t].masks.p[i]));
}

function queryOf(denoiser: Denoiser, { context, target }: Pair, row: Int32Array): Query {
  const tokens = concat([context, target], Int32Array);
  const positions = Array.from(row, (at) => context.length + at);
  for (const at of positions) {
    checkPredicted(denoiser, at, "Cannot score a target");
    tokens[at] = denoiser.maskId;
  }
  return { tokens, positions, ids: Array.from(row, (at) => target[at]) };
}

const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
