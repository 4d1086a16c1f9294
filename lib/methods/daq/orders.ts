/** How many planes each group of a linear gets. */
import type { Kernels } from "../../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { type Abmp, allocate, allocateByLoss, blockScores } from "../abmp.ts";
import { evenOrders } from "../allotment.ts";
import { fitGroup, marginals } from "./fit.ts";
import type { DaqOptions, DaqSettings } from "./options.ts";
import { planes } from "./planes.ts";
import { blockError } from "../../quant/block_error.ts";

export interface OrdersInput {
  readonly name: string;
  readonly W: Matrix;
  /** Upper triangular `[columns, columns]` with H⁻¹ = UᵀU. */
  readonly U: Matrix64;
  readonly options: DaqOptions;
  readonly settings: DaqSettings;
  /** The mean planes of linears that an allotment does not know. */
  readonly elsewhere?: number;
  readonly kernels: Kernels;
  readonly signal?: AbortSignal;
}

/** Planes of each group, in column order: those given by name, one number for all, or what ABMP makes of this linear. Throws `RangeError` where none fit. */
export async function ordersFor(input: OrdersInput): Promise<number[]> {
  const { name, W, U, options: { bits, group }, elsewhere, signal } = input;
  const count = Math.ceil(W.cols / group);
  if (typeof bits === "number") return new Array(count).fill(bits);
  if ("orders" in bits) {
    const given = bits.orders[name];
    if (!given && elsewhere !== undefined) return evenOrders(count, elsewhere);
    if (given?.length !== count) {
      throw new RangeError(
        `Cannot quantize "${name}": its block orders are ${given ? `[${given}]` : "missing"}, wanted ${count}; ` +
          `allot planes for this model and groups of ${group}`,
      );
    }
    return [...given];
  }
  if (bits.scope === "model") {
    throw new RangeError(`Cannot quantize "${name}": its block orders are missing; bind ${bits.name} to scores first`);
  }

  // A short last group stands alone in its size: swapping with it would move the mean.
  const whole = Math.floor(W.cols / group);
  let answer: number[];
  if (bits.gate === "measured") {
    const losses: number[][] = [];
    for (let b = 0; b < whole; b++) {
      signal?.throwIfAborted();
      losses.push(await measuredLosses(input, { rule: bits, start: b * group, end: (b + 1) * group }));
    }
    answer = allocateByLoss(losses, bits);
  } else answer = allocate(blockScores(W, U, { group }).subarray(0, whole), bits);
  if (whole < count) answer.push(Math.floor(bits.average));
  return answer;
}

/**
 * The loss (W_b - Q) G (W_b - Q)ᵀ, G the conditional second moment, of one group at the numbers of planes that the rule may give it; with exact
 * compensation the losses of groups add up to the loss of the linear. One round of refits is enough to compare.
 */
async function measuredLosses(
  input: OrdersInput,
  { rule, start, end }: { readonly rule: Abmp; readonly start: number; readonly end: number },
): Promise<number[]> {
  const { W, U, settings, kernels } = input;
  const width = end - start;
  const X = matrix(W.rows, width), Ubb = matrix64(width, width);
  for (let i = 0; i < W.rows; i++) X.data.set(W.data.subarray(i * W.cols + start, i * W.cols + end), i * width);
  for (let j = 0; j < width; j++) {
    const at = (start + j) * U.cols;
    Ubb.data.set(U.data.subarray(at + start, at + end), j * width);
  }
  const spread = settings.dor && settings.dor.scale === "marginal" ? marginals(U).subarray(start, end) : undefined;
  const cheap = { ...settings, refitRounds: Math.min(settings.refitRounds, 1) };
  const losses: number[] = [];
  const base = Math.floor(rule.average);
  for (let order = Math.max(1, base - 1); order <= Math.min(4, Math.ceil(rule.average) + 1); order++) {
    const { Q } = await fitGroup(X, Ubb, { kind: planes, order, settings: cheap, spread, kernels });
    losses[order] = blockError(X, Q, { U: Ubb, compensation: "exact" }).data.reduce((sum, e) => sum + e * e, 0);
  }
  return losses;
}
