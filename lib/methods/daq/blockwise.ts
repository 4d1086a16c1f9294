/**
 * Quantising a linear by column blocks, each fitted to its weights compensated for all earlier blocks, the whole then refined against the output error
 * (Eq. 4). What blocks are made of, binary planes or uniform levels, is a `BlockKind`.
 */
import { NumericalError } from "../../tensor/errors.ts";
import { referenceKernels } from "../../tensor/kernels.ts";
import type { UpperFactor } from "../../tensor/linalg.ts";
import { type Matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { newScratch } from "../../tensor/scratch.ts";
import { allocateAcross, blockScores } from "../abmp.ts";
import { encodeGroups } from "../../quant/forms/grouped.ts";
import { type fitBlock, marginals } from "./fit.ts";
import { type DaqOptions, type DaqSettings, profiles, settingsOf } from "./options.ts";
import { blockOrdersFor } from "./orders.ts";
import { dampened, newFactors } from "../../quant/factor.ts";
import { aliveInputs, readHessian, readWeight } from "../../quant/linear.ts";
import type { LinearInput, LinearScore, Method, QuantizedLinear } from "../../quant/method.ts";
import { obs } from "../../quant/obs.ts";
import { type BlockSteps, type PlacedBlock, refine } from "./refine.ts";

/** What the blocks of a method are made of. */
export interface BlockKind {
  /** The method, as errors name it. */
  readonly method: string;
  /** What is fitted, as `report.fallback` names it. */
  readonly parts: string;
  readonly format: QuantizedLinear["format"];
  readonly mostBits: number;
  /** Fits one block. */
  readonly fit: typeof fitBlock;
  readonly steps: BlockSteps;
  /** Whether refinement starts from the loss that the blocks add up to, or measures it; the two differ in the last digits. */
  readonly addsLosses: boolean;
}

/** The method `name` for blocks of a kind. Throws `RangeError` when `bits` is not 1 to `mostBits`, `group` not a positive integer or the profile unknown. */
export function blockwise(kind: BlockKind, options: DaqOptions, name: string): Method {
  const { bits, group } = options;
  const settings = settingsOf(options);
  if (!(Number.isInteger(group) && group >= 1)) {
    throw new RangeError(`Cannot make ${kind.method} with group ${group}: wanted a positive integer`);
  }
  if (typeof bits === "number" && !(Number.isInteger(bits) && bits >= 1 && bits <= kind.mostBits)) {
    throw new RangeError(
      `Cannot make ${kind.method} with ${bits} bits: wanted an integer from 1 to ${kind.mostBits}, or abmp(...)`,
    );
  }
  const needsHessian = readsHessian(options, settings);
  return {
    name,
    needsHessian,
    quantize: (linear) => quantizeLinear(linear, kind, options, settings, needsHessian),
    across: typeof bits !== "number" && bits.scope === "model" && !options.orders
      ? {
        score: (linear) => scoreLinear(linear, group, settings.damping),
        bind: (scores) => blockwise(kind, { ...options, orders: allocateAcross(scores, bits) }, name),
      }
      : undefined,
  };
}

/** Scores of the column blocks of a linear at full precision, for an allocation across linears. */
async function scoreLinear(linear: LinearInput, group: number, damping: number): Promise<LinearScore> {
  const { kernels = referenceKernels, signal, factors = newFactors() } = linear;
  const { W, H } = readLinear(linear, true);
  const { U } = await factors.of(H!, { damping, kernels, signal });
  const scores = blockScores(W, U, { group });
  return { scores, sizes: Array.from(scores, (_, b) => W.rows * Math.min(group, W.cols - b * group)) };
}

/** Whether any choice looks at the data: `plain` and `RSR` without compensation do not. */
function readsHessian({ bits, orders }: DaqOptions, s: DaqSettings): boolean {
  return (typeof bits !== "number" && !orders) || s.dor !== false || s.compensation !== "none" ||
    s.inside === "sequential" || s.columnWeights || s.refitRounds > 0 || s.refineRounds > 0;
}

async function quantizeLinear(
  linear: LinearInput,
  kind: BlockKind,
  options: DaqOptions,
  settings: DaqSettings,
  needsHessian: boolean,
): Promise<QuantizedLinear> {
  const { name, kernels = referenceKernels, signal, factors = newFactors() } = linear;
  const { group, bits } = options;
  const { W, H, dead } = readLinear(linear, needsHessian);
  let factor: UpperFactor = { U: identity(W.cols), damping: 0, retries: 0 };
  try {
    if (H) factor = await factors.of(H, { damping: settings.damping, kernels, signal });
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error;
    return await quantizeWithoutData(linear, kind, options, error.message);
  }
  const { U, damping, retries } = factor;
  const spread = settings.dor && settings.dor.scale === "marginal" ? marginals(U) : undefined;

  const scratch = newScratch();
  const solve = async (orders: readonly number[]) => {
    const placed: PlacedBlock[] = [];
    const { loss } = await obs(W, async ({ start, end, X, U, kernels }) => {
      const order = orders[placed.length];
      const { block, Q } = await kind.fit(X, U, order, settings, spread?.subarray(start, end), kernels, scratch);
      placed.push({ start, block });
      return { Q };
    }, { U, blockSize: group, compensation: settings.compensation, kernels, signal });
    // With exact compensation the squared errors of the blocks add up to the damped objective; else they are no loss of the whole.
    const before = H && settings.compensation === "exact" ? 2 * loss : undefined;
    const { refineRounds: rounds, refineSweeps: sweeps } = settings;
    if (H && rounds > 0) {
      const options = { rounds, sweeps, before: kind.addsLosses ? before : undefined, kernels, signal, scratch };
      return { placed, loss: await refine(W, dampened(H, damping), placed, kind.steps, options) };
    }
    return { placed, loss: before };
  };

  const orders = await blockOrdersFor({ name, W, U, options, settings, kernels, signal });
  const over = orders.findIndex((k) => k > kind.mostBits);
  if (over >= 0) {
    throw new RangeError(
      `Cannot quantize "${name}": block ${over} is given ${orders[over]} bits, wanted at most ${kind.mostBits}`,
    );
  }
  let solution = await solve(orders);
  if (typeof bits !== "number" && bits.gate === "measured" && Number.isInteger(bits.average)) {
    // The blocks were measured one by one; what counts is the linear as a whole, refinement included.
    if (solution.loss !== undefined && orders.some((k) => k !== bits.average)) {
      const flat = await solve(orders.map(() => bits.average));
      if (flat.loss! <= solution.loss) solution = flat;
    }
  }
  const report: Record<string, number | string | boolean> = { damping, retries, deadInputs: dead };
  if (solution.loss !== undefined) report.loss = solution.loss;
  return {
    name,
    format: kind.format,
    shape: [W.rows, W.cols],
    config: { group },
    tensors: encodeGroups(solution.placed.map(({ block }) => block)),
    report,
  };
}

/** What is left when no damping makes H positive definite: blocks fitted to the weights alone, and a report that says so. */
async function quantizeWithoutData(
  linear: LinearInput,
  kind: BlockKind,
  options: DaqOptions,
  reason: string,
): Promise<QuantizedLinear> {
  const bits = Math.floor(typeof options.bits === "number" ? options.bits : options.bits.average);
  const alone: DaqSettings = { ...profiles.official, dor: false, compensation: "none" };
  const quantized = await quantizeLinear(linear, kind, { ...options, bits, orders: undefined }, alone, false);
  return {
    ...quantized,
    report: { ...quantized.report, fallback: `${kind.parts} fitted without data`, fallbackReason: reason },
  };
}

/** W and H without dead inputs, columns that no token excites; H only where the method reads it. */
function readLinear(linear: LinearInput, needsHessian: boolean): { W: Matrix; H?: Matrix | Matrix64; dead: number } {
  const W = readWeight(linear);
  return needsHessian ? aliveInputs(W, readHessian(linear, W.cols)) : { W, dead: 0 };
}

function identity(n: number): Matrix64 {
  const out = matrix64(n, n);
  for (let j = 0; j < n; j++) out.data[j * n + j] = 1;
  return out;
}
