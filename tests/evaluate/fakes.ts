/** Denoisers with known distributions: all that likelihoods and tasks see of a model. */
import type { Denoiser } from "../../lib/diffusion/denoiser.ts";

export interface Call {
  readonly sequences: readonly (readonly number[])[];
  readonly rows: readonly number[] | undefined;
}

/**
 * A denoiser with mask id 9 over ten tokens. `logit` gives the logit of token `id` at `position` of a sequence; `calls` records what was asked.
 */
export function fake(logit: (sequence: readonly number[], position: number, id: number) => number) {
  const calls: Call[] = [];
  const denoiser: Denoiser = {
    maskId: 9,
    vocabSize: 10,
    logits(tokens, { batch = 1, rows } = {}) {
      const length = tokens.length / batch;
      const sequences = Array.from({ length: batch }, (_, s) => Array.from(tokens.slice(s * length, (s + 1) * length)));
      calls.push({ sequences, rows: rows && Array.from(rows) });
      const flat = Array.from(rows ?? tokens.keys());
      const data = Float32Array.from(
        flat.flatMap((row) =>
          Array.from({ length: 10 }, (_, id) => logit(sequences[Math.floor(row / length)], row % length, id))
        ),
      );
      return Promise.resolve({ shape: [flat.length, 10] as const, data });
    },
  };
  return { denoiser, calls };
}

/** The same as a family with shifted logits gives it: its row at position 0 is the raw one, which predicts position 1. */
export function shiftedFake(logit: Parameters<typeof fake>[0]) {
  const { denoiser, calls } = fake((sequence, position, id) => logit(sequence, Math.max(position, 1), id));
  return { denoiser: { ...denoiser, firstPredicted: 1 }, calls };
}

export const uniform = () => 0;

/** Every token by its own odds, whatever stands around it. */
export const odds = [5, 1, 2, 1, 3, 1, 1, 4, 1, 1];
export const marginals = (_sequence: readonly number[], _position: number, id: number) => Math.log(odds[id]) + 1;
/** log p of a token under `marginals`. */
export const logOdds = (id: number): number => Math.log(odds[id] / odds.reduce((a, b) => a + b, 0));

/** What is known of a token depends on what is visible around it, and on where it stands. */
export const contextual = (sequence: readonly number[], position: number, id: number) =>
  Math.sin(1 + id * 2.3 + sequence.reduce((s, t, p) => s + (t + 1) * (Math.abs(p - position) + 0.7), 0) + position);

/** log p under a logit function, in float64. */
export function logProbability(
  logit: typeof contextual,
  sequence: readonly number[],
  position: number,
  id: number,
): number {
  const all = Array.from({ length: 10 }, (_, v) => Math.fround(logit(sequence, position, v)));
  return all[id] - Math.log(all.reduce((s, x) => s + Math.exp(x), 0));
}

/** What is known of a token depends on how many are masked, not on which: masks of one count are alike. */
export const counting = (sequence: readonly number[], _position: number, id: number) =>
  Math.sin(id * 2.3 + 5 * sequence.filter((t) => t === 9).length);

/** All subsets of 0..n-1 with `count` members. */
export function subsets(n: number, count: number): number[][] {
  return Array.from(
    { length: 2 ** n },
    (_, bits) => Array.from({ length: n }, (_, i) => i).filter((i) => bits >> i & 1),
  )
    .filter((s) => s.length === count);
}
