/**
 * The data-aware any-order quantiser (DAQ of Quant-dLLM): a weight becomes, per column block, a sum of K binary planes with row and column scales
 * (Eq. 3), fitted to the weights (Eq. 6) or to the output error tr((W - Q) H (W - Q)ᵀ) (Eq. 4).
 */
import { referenceKernels } from "../tensor/kernels.ts";
import { NumericalError } from "../tensor/errors.ts";
import type { UpperFactor } from "../tensor/linalg.ts";
import { type Matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import { newScratch } from "../tensor/scratch.ts";
import { allocateAcross, blockScores } from "./abmp.ts";
import { encodeBinary } from "./binary.ts";
import { fitBlock, marginals } from "./daq_fit.ts";
import { type DaqOptions, type DaqSettings, nameOf, profiles, settingsOf } from "./daq_options.ts";
import { blockOrdersFor } from "./daq_orders.ts";
import { planeSteps } from "./daq_refine.ts";
import { dampened, sharedFactor } from "./factor.ts";
import { aliveInputs, readHessian, readWeight } from "./linear.ts";
import type { LinearInput, LinearScore, Method, QuantizedLinear } from "./method.ts";
import { obs } from "./obs.ts";
import { type PlacedBlock, refine } from "./refine.ts";

export type { DaqOptions, DaqProfile, DaqSettings } from "./daq_options.ts";

/**
 * DAQ as a method.
 *
 * @throws RangeError when `bits` is not 1 to 4, `group` not a positive integer or the profile unknown; from `quantize`, TypeError when W and H do not
 * fit. When no damping makes H positive definite the planes are fitted to the weights alone, and `report.fallback` says so.
 */
export function daq(options: DaqOptions): Method {
  const { bits, group } = options;
  const settings = settingsOf(options);
  if (!(Number.isInteger(group) && group >= 1)) {
    throw new RangeError(`Cannot make daq with group ${group}: wanted a positive integer`);
  }
  if (typeof bits === "number" && !(Number.isInteger(bits) && bits >= 1 && bits <= 4)) {
    throw new RangeError(`Cannot make daq with ${bits} bits: wanted an integer from 1 to 4, or abmp(...)`);
  }
  const needsHessian = readsHessian(options, settings);
  return {
    name: nameOf(options),
    needsHessian,
    quantize: (linear) => quantizeLinear(linear, options, settings, needsHessian),
    across: typeof bits !== "number" && bits.scope === "model" && !options.orders
      ? {
        score: (linear) => scoreLinear(linear, group, settings.damping),
        bind: (scores) => ({ ...daq({ ...options, orders: allocateAcross(scores, bits) }), name: nameOf(options) }),
      }
      : undefined,
  };
}

/** Scores of the column blocks of a linear at full precision, for an allocation across linears. */
async function scoreLinear(linear: LinearInput, group: number, damping: number): Promise<LinearScore> {
  const { kernels = referenceKernels, signal } = linear;
  const { W, H } = readLinear(linear, true);
  const { U } = await sharedFactor(linear, H!, { damping, kernels, signal });
  const scores = blockScores(W, U, group);
  return { scores, sizes: Array.from(scores, (_, b) => W.rows * Math.min(group, W.cols - b * group)) };
}

/** Whether any choice looks at the data: `plain` and `RSR` without compensation do not. */
function readsHessian({ bits, orders }: DaqOptions, s: DaqSettings): boolean {
  return (typeof bits !== "number" && !orders) || s.dor !== false || s.compensation !== "none" ||
    s.inside === "sequential" || s.columnWeights || s.refitRounds > 0 || s.refineRounds > 0;
}

async function quantizeLinear(
  linear: LinearInput,
  options: DaqOptions,
  settings: DaqSettings,
  needsHessian: boolean,
): Promise<QuantizedLinear> {
  const { name, kernels = referenceKernels, signal } = linear;
  const { group } = options;
  const { W, H, dead } = readLinear(linear, needsHessian);
  const { rows, cols } = W;
  let factor: UpperFactor = { U: identity(cols), damping: 0, retries: 0 };
  try {
    if (H) factor = await sharedFactor(linear, H, { damping: settings.damping, kernels, signal });
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error;
    return await quantizeWithoutData(linear, options, error.message);
  }
  const { U, damping, retries } = factor;
  const spread = settings.dor && settings.dor.scale === "marginal" ? marginals(U) : undefined;

  const scratch = newScratch();
  const solve = async (orders: readonly number[]) => {
    const placed: PlacedBlock[] = [];
    const { loss } = await obs(W, async ({ start, end, X, U, kernels }) => {
      const order = orders[placed.length];
      const { block, Q } = await fitBlock(X, U, order, settings, spread?.subarray(start, end), kernels, scratch);
      placed.push({ start, block });
      return { Q };
    }, { U, blockSize: group, compensation: settings.compensation, kernels, signal });
    // With exact compensation the squared errors of the blocks add up to the damped objective; else they are no loss of the whole.
    const before = H && settings.compensation === "exact" ? 2 * loss : undefined;
    const { refineRounds: rounds, refineSweeps: sweeps } = settings;
    if (H && rounds > 0) {
      const options = { rounds, sweeps, before, kernels, signal, scratch };
      return { placed, loss: await refine(W, dampened(H, damping), placed, planeSteps, options) };
    }
    return { placed, loss: before };
  };

  const orders = await blockOrdersFor({ name, W, U, options, settings, kernels, signal });
  let solution = await solve(orders);
  const flat = Math.floor(typeof options.bits === "number" ? options.bits : options.bits.average);
  if (typeof options.bits !== "number" && options.bits.gate === "measured" && Number.isInteger(options.bits.average)) {
    // The blocks were measured one by one; what counts is the linear as a whole, refinement included.
    if (solution.loss !== undefined && orders.some((k) => k !== flat)) {
      const level = await solve(orders.map(() => flat));
      if (level.loss! <= solution.loss) solution = level;
    }
  }
  const report: Record<string, number | string | boolean> = { damping, retries, deadInputs: dead };
  if (solution.loss !== undefined) report.loss = solution.loss;
  return {
    name,
    format: "binary",
    shape: [rows, cols],
    config: { group },
    tensors: encodeBinary(solution.placed.map(({ block }) => block)),
    report,
  };
}

/** What is left when no damping makes H positive definite: planes fitted to the weights alone, and a report that says so. */
async function quantizeWithoutData(linear: LinearInput, options: DaqOptions, reason: string): Promise<QuantizedLinear> {
  const bits = Math.floor(typeof options.bits === "number" ? options.bits : options.bits.average);
  const alone: DaqSettings = { ...profiles.official, dor: false, compensation: "none" };
  const quantized = await quantizeLinear(linear, { ...options, bits, orders: undefined }, alone, false);
  return {
    ...quantized,
    report: { ...quantized.report, fallback: "planes fitted without data", fallbackReason: reason },
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
