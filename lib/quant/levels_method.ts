/**
 * The data-aware quantiser on uniform levels: DAQ of Quant-dLLM under the constraint a^1 = 2 a^2 = 4 a^3 with one column scale (Eq. 3), which the
 * kernels for uniform codes run at full speed and which stores half the scales. Fitted as DAQ is, to the weights (Eq. 6) or to the output error (Eq. 4).
 */
import { referenceKernels } from "../tensor/kernels.ts";
import { NumericalError } from "../tensor/errors.ts";
import type { UpperFactor } from "../tensor/linalg.ts";
import { type Matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import { allocateAcross, blockScores } from "./abmp.ts";
import { marginals } from "./daq_fit.ts";
import { type DaqOptions, type DaqSettings, nameOf, profiles, settingsOf } from "./daq_options.ts";
import { blockOrdersFor } from "./daq_orders.ts";
import { dampened, sharedFactor } from "./factor.ts";
import { encodeLevels } from "./levels.ts";
import { fitLevelBlock } from "./levels_fit.ts";
import { levelSteps } from "./levels_refine.ts";
import { aliveInputs, readHessian, readWeight } from "./linear.ts";
import type { LinearInput, LinearScore, Method, QuantizedLinear } from "./method.ts";
import { obs } from "./obs.ts";
import { type PlacedBlock, refine } from "./refine.ts";

/** DAQ's options. Codes have no signs to choose plane by plane: the profile `paper` and `signs` have no meaning here. */
export interface LevelsOptions extends Omit<DaqOptions, "signs" | "profile"> {
  /** Bits of a code, 1 to 3, or an allocation to blocks. An allocation gated by measurement measures blocks of binary planes. */
  readonly bits: DaqOptions["bits"];
  readonly profile?: "official" | "plus";
}

const MOST_BITS = 3;

/**
 * DAQ on uniform levels as a method.
 *
 * @throws RangeError when `bits` is not 1 to 3, `group` not a positive integer or the profile unknown; from `quantize`, TypeError when W and H do not
 * fit, RangeError when an allocation asks for more than 3 bits. When no damping makes H positive definite the codes are fitted to the weights alone, and
 * `report.fallback` says so.
 */
export function levels(options: LevelsOptions): Method {
  const { bits, group, profile = "plus" } = options;
  if (profile !== "plus" && profile !== "official") {
    throw new RangeError(`Cannot make levels with profile ${JSON.stringify(profile)}: wanted plus or official`);
  }
  if (!(Number.isInteger(group) && group >= 1)) {
    throw new RangeError(`Cannot make levels with group ${group}: wanted a positive integer`);
  }
  if (typeof bits === "number" && !(Number.isInteger(bits) && bits >= 1 && bits <= MOST_BITS)) {
    throw new RangeError(`Cannot make levels with ${bits} bits: wanted an integer from 1 to 3, or abmp(...)`);
  }
  const settings = settingsOf(options);
  const name = nameOf(options).replace(`daq-${profile}-`, `daq-${profile}-levels-`);
  const needsHessian = readsHessian(options, settings);
  return {
    name,
    needsHessian,
    quantize: (linear) => quantizeLinear(linear, options, settings, needsHessian),
    across: typeof bits !== "number" && bits.scope === "model" && !options.orders
      ? {
        score: (linear) => scoreLinear(linear, group, settings.damping),
        bind: (scores) => ({ ...levels({ ...options, orders: allocateAcross(scores, bits) }), name }),
      }
      : undefined,
  };
}

async function scoreLinear(linear: LinearInput, group: number, damping: number): Promise<LinearScore> {
  const { kernels = referenceKernels, signal } = linear;
  const { W, H } = readLinear(linear, true);
  const { U } = await sharedFactor(linear, H!, { damping, kernels, signal });
  const scores = blockScores(W, U, group);
  return { scores, sizes: Array.from(scores, (_, b) => W.rows * Math.min(group, W.cols - b * group)) };
}

function readsHessian({ bits, orders }: LevelsOptions, s: DaqSettings): boolean {
  return (typeof bits !== "number" && !orders) || s.dor !== false || s.compensation !== "none" ||
    s.inside === "sequential" || s.columnWeights || s.refitRounds > 0 || s.refineRounds > 0;
}

async function quantizeLinear(
  linear: LinearInput,
  options: LevelsOptions,
  settings: DaqSettings,
  needsHessian: boolean,
): Promise<QuantizedLinear> {
  const { name, kernels = referenceKernels, signal } = linear;
  const { group, bits } = options;
  const { W, H, dead } = readLinear(linear, needsHessian);
  let factor: UpperFactor = { U: identity(W.cols), damping: 0, retries: 0 };
  try {
    if (H) factor = await sharedFactor(linear, H, { damping: settings.damping, kernels, signal });
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error;
    return await quantizeWithoutData(linear, options, error.message);
  }
  const { U, damping, retries } = factor;
  const spread = settings.dor && settings.dor.scale === "marginal" ? marginals(U) : undefined;

  const solve = async (orders: readonly number[]) => {
    const placed: PlacedBlock[] = [];
    const { loss } = await obs(W, async ({ start, end, X, U, kernels }) => {
      const order = orders[placed.length];
      const { block, Q } = await fitLevelBlock(X, U, order, settings, spread?.subarray(start, end), kernels);
      placed.push({ start, block });
      return { Q };
    }, { U, blockSize: group, compensation: settings.compensation, kernels, signal });
    const { refineRounds: rounds, refineSweeps: sweeps } = settings;
    if (H && rounds > 0) {
      return {
        placed,
        loss: await refine(W, dampened(H, damping), placed, levelSteps, { rounds, sweeps, kernels, signal }),
      };
    }
    // With exact compensation the squared errors of the blocks add up to the damped objective; else they are no loss of the whole.
    return { placed, loss: H && settings.compensation === "exact" ? 2 * loss : undefined };
  };

  const orders = await blockOrdersFor({ name, W, U, options, settings, kernels, signal });
  const over = orders.findIndex((k) => k > MOST_BITS);
  if (over >= 0) {
    throw new RangeError(`Cannot quantize "${name}": block ${over} is given ${orders[over]} bits, wanted at most 3`);
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
    format: "levels",
    shape: [W.rows, W.cols],
    config: { group },
    tensors: encodeLevels(solution.placed.map(({ block }) => block)),
    report,
  };
}

/** What is left when no damping makes H positive definite: codes fitted to the weights alone, and a report that says so. */
async function quantizeWithoutData(linear: LinearInput, options: LevelsOptions, why: string): Promise<QuantizedLinear> {
  const bits = Math.floor(typeof options.bits === "number" ? options.bits : options.bits.average);
  const alone: DaqSettings = { ...profiles.official, dor: false, compensation: "none" };
  const quantized = await quantizeLinear(linear, { ...options, bits, orders: undefined }, alone, false);
  const fallback = { fallback: "levels fitted without data", fallbackReason: why };
  return { ...quantized, report: { ...quantized.report, ...fallback } };
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
