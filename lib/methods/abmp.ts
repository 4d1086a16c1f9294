/**
 * Adaptive block-wise mixed precision (ABMP, Eq. 11 of Quant-dLLM): the most sensitive groups of columns get one plane more and as many of the
 * least sensitive one less, so that the mean stays what was asked for. What the paper calls a block is here a group, the columns that share scales.
 */
import type { Matrix, Matrix64 } from "../tensor/matrix.ts";
import type { LinearScore } from "../quant/method.ts";

/** How a swap of one plane between two groups is judged before it is made: by their scores, or by quantising the groups at each order. */
export type Gate = "scores" | "measured";

/** An allocation rule with its options bound. */
export interface Abmp {
  /** Canonical, derived from the options: part of a method's name. */
  readonly name: string;
  readonly average: number;
  readonly ratio: number;
  readonly gate: Gate | false;
  readonly scope: "linear" | "model";
}

export interface AbmpOptions {
  /** Mean planes per weight. A fraction f gives f of the groups one plane more, rounded down to whole groups. */
  readonly average?: number;
  /** rho: the share of the groups that may gain a plane, and that may lose one; at most 0.5. Rounded down to whole groups. */
  readonly ratio?: number;
  /** Make a swap only where it lowers the loss, as predicted from the scores or as measured (`true`: measured). */
  readonly gate?: Gate | boolean;
  /** Rank the groups of each linear, or those of all linears together (`allocateAcross`, whose answer `daq` takes as an allotment). */
  readonly scope?: "linear" | "model";
}

/**
 * ABMP as a value for `bits`: some groups of columns get one plane more and some one less, around a mean (Eq. 11).
 *
 * @throws RangeError when `average` is outside 1 to 4, `ratio` outside 0 to 0.5, or groups would need fewer than 1 or more than 4 planes.
 *
 * @example
 * ```ts
 * import { abmp, daq } from "quant-dllm";
 *
 * const ranked = abmp({ ratio: 0.05, scope: "model" }); // of all groups, 5 % gain a plane and as many lose one
 * const gated = abmp({ gate: "measured" }); // only where a swap lowers the loss
 * const methods = [2, ranked, gated].map((bits) => daq({ bits, group: 128, profile: "official" }));
 * ```
 */
export function abmp(options: AbmpOptions = {}): Abmp {
  const { average = 2, scope = "linear" } = options;
  const gate = options.gate === true ? "measured" : options.gate ?? false;
  const ratio = options.ratio ?? (gate ? 0.5 : 0.05);
  if (!(average >= 1 && average <= 4)) throw new RangeError(`Cannot average ${average} planes: wanted 1 to 4`);
  if (!(ratio >= 0 && ratio <= 0.5)) throw new RangeError(`Cannot swap a share of ${ratio}: wanted 0 to 0.5`);
  if (ratio > 0 && (average < 2 || average > 3)) {
    throw new RangeError(`Cannot swap planes around an average of ${average}: wanted 2 to 3, or ratio 0`);
  }
  const parts = [`abmp${average}`, `r${ratio}`];
  if (gate) parts.push(gate);
  if (scope !== "linear") parts.push(scope);
  return { name: parts.join("-"), average, ratio, gate, scope };
}

/** The most planes that a rule may give a group. */
export function mostPlanes({ average, ratio }: Abmp): number {
  return Math.ceil(average) + Number(ratio > 0);
}

/**
 * The score of each group, s_b = sum over its entries of Z_ij = W_ij² / U_jj² (Eqs. 10 and 11): twice the loss of deleting the group, entry by
 * entry, in the order of compensation. GAP(paper §ABMP): "block" is not defined; as in the official code it is a group of columns times all rows.
 *
 * @param W original weights `[rows, columns]`
 * @param U upper triangular `[columns, columns]` with H⁻¹ = UᵀU
 * @param group columns of a group; the last one may be narrower
 * @returns `[ceil(columns / group)]`
 */
export function blockScores(W: Matrix, U: Matrix64, { group }: { readonly group: number }): Float64Array {
  const { rows, cols, data } = W;
  const squares = new Float64Array(cols);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) squares[j] += data[i * cols + j] ** 2;
  }
  const scores = new Float64Array(Math.ceil(cols / group));
  for (let j = 0; j < cols; j++) scores[Math.floor(j / group)] += squares[j] / U.data[j * cols + j] ** 2;
  return scores;
}

/**
 * Planes of each group of equal size from its scores.
 *
 * Ungated, as the official code: with k = floor(ratio · n), the k lowest scores lose a plane and the k highest gain one; the later of two equal scores
 * counts as the higher. Gated, swaps are made only where the scores predict a gain (`expectedLosses`).
 */
export function allocate(scores: ArrayLike<number>, rule: Abmp): number[] {
  if (rule.gate) return allocateByLoss(expectedLosses(scores), rule);
  const n = scores.length;
  const { base, extra, swaps } = budget(n, rule);
  const orders = new Array<number>(n).fill(base);
  const ascending = [...orders.keys()].sort((a, b) => scores[a] - scores[b] || a - b);
  ascending.forEach((group, rank) => {
    if (rank >= n - extra) orders[group]++;
    if (rank >= n - swaps) orders[group]++;
    if (rank < swaps) orders[group]--;
  });
  return orders;
}

// Mean squared error of the best 2^K levels for a Gaussian of variance 1 (Max 1960; Lloyd 1982), K = 0 to 4.
const GAUSSIAN_ERROR = [1, 0.3634, 0.1175, 0.03454, 0.009497];

/** The loss of each group at K = 0 to 4 planes that its score predicts. A swap pays where the scores' ratio exceeds (.363 - .118) / (.118 - .035) = 3. */
export function expectedLosses(scores: ArrayLike<number>): number[][] {
  return Array.from(scores, (s) => GAUSSIAN_ERROR.map((e) => e * s));
}

/**
 * Planes of each group of equal size from its losses: starting from the same number everywhere, the swap with the largest gain is made as long as
 * one lowers the sum and `ratio` allows it. No group moves by more than one plane.
 *
 * @param losses `losses[b][K]`: the loss of group b with K planes, falling in K.
 */
export function allocateByLoss(losses: readonly (readonly number[])[], rule: Abmp): number[] {
  const n = losses.length;
  const { base, extra, swaps } = budget(n, rule);
  const orders = new Array<number>(n).fill(base);
  const moved = new Array<boolean>(n).fill(false);
  const gain = (b: number) => losses[b][orders[b]] - losses[b][orders[b] + 1];
  const cost = (b: number) => losses[b][orders[b] - 1] - losses[b][orders[b]];
  const best = (value: (b: number) => number) => {
    let found = -1;
    for (let b = 0; b < n; b++) if (!moved[b] && (found < 0 || value(b) > value(found))) found = b;
    return found;
  };
  for (let e = 0; e < extra; e++) {
    const b = best((b) => orders[b] > base ? -Infinity : gain(b));
    orders[b]++;
  }
  for (let s = 0; s < swaps; s++) {
    const up = best(gain);
    if (up < 0) break;
    moved[up] = true;
    const down = best((b) => -cost(b));
    if (down < 0 || !(gain(up) > cost(down))) break;
    moved[down] = true;
    orders[up]++;
    orders[down]--;
  }
  return orders;
}

/**
 * Planes of each group of several linears, ranked together; by name of the linear. Planes are swapped between groups of one size only, so that the
 * mean over all weights is exact.
 */
export function allocateAcross(linears: Readonly<Record<string, LinearScore>>, rule: Abmp): Record<string, number[]> {
  const classes = new Map<number, { name: string; group: number; score: number }[]>();
  const orders: Record<string, number[]> = {};
  for (const [name, { scores, sizes }] of Object.entries(linears)) {
    orders[name] = new Array(scores.length).fill(0);
    for (let group = 0; group < scores.length; group++) {
      const members = classes.get(sizes[group]) ?? [];
      members.push({ name, group, score: scores[group] });
      classes.set(sizes[group], members);
    }
  }
  for (const members of classes.values()) {
    const answer = allocate(members.map((m) => m.score), rule);
    members.forEach(({ name, group }, at) => orders[name][group] = answer[at]);
  }
  return orders;
}

/** Whole groups: `base` planes everywhere, `extra` groups with one more, and at most `swaps` swaps. */
function budget(n: number, { average, ratio }: Abmp): { base: number; extra: number; swaps: number } {
  const base = Math.floor(average);
  // A share that is a whole number of groups must not fall short of it by a rounding error: 0.15 · 20 is 3.
  const whole = (share: number) => Math.floor(share * n + 1e-9);
  return { base, extra: whole(average - base), swaps: whole(ratio) };
}
