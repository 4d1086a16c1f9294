/**
 * The data-aware any-order quantiser (DAQ of Quant-dLLM): a weight becomes, per group of columns, a sum of K binary planes with row and column scales
 * (Eq. 3), fitted to the weights (Eq. 6) or to the output error tr((W - Q) H (W - Q)ᵀ) (Eq. 4).
 */
import { NumericalError } from "../../tensor/errors.ts";
import { referenceKernels } from "../../tensor/kernels.ts";
import type { UpperFactor } from "../../tensor/linalg.ts";
import { type Matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { newScratch } from "../../tensor/scratch.ts";
import { dampened, newFactors } from "../../quant/factor.ts";
import { encodeGroups } from "../../quant/forms/grouped.ts";
import { aliveInputs, readHessian, readWeight } from "../../quant/linear.ts";
import type { LinearInput, LinearScore, Method, QuantizedLinear } from "../../quant/method.ts";
import { obs } from "../../quant/obs.ts";
import { allocateAcross, blockScores, mostPlanes } from "../abmp.ts";
import { allotment, checkAllotment, meanOrder } from "../allotment.ts";
import { fitGroup, marginals } from "./fit.ts";
import type { GroupKind } from "./group.ts";
import { type DaqOptions, type DaqSettings, nameOf, profiles, ruleOf, settingsOf } from "./options.ts";
import { ordersFor } from "./orders.ts";
import { planes } from "./planes.ts";
import { type PlacedGroup, refine } from "./refine.ts";

export type { DaqOptions, DaqProfile, DaqSettings } from "./options.ts";

/**
 * DAQ as a method: each group of columns becomes a sum of K binary planes with row and column scales (Eq. 3).
 *
 * @throws RangeError when `bits` is not 1 to 4, `group` not a positive integer or the profile unknown; from `quantize`, TypeError when W and H do not
 * fit, RangeError when an allotment does not know the linear. When no damping makes H positive definite the planes are fitted to the weights alone, and `report.fallback` says so.
 *
 * @example
 * ```ts
 * import { daq, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const calibration = simulateMasks(corpus, { maskId: model.maskId, seed: 1 });
 * const method = daq({ bits: 2, group: 32, profile: "official", dor: false }); // an ablation is a value
 * const quantized = await quantize(model, method, { calibration });
 * ```
 */
export function daq(options: DaqOptions): Method {
  return groupwise(planes, options, { name: nameOf(options) });
}

interface Naming {
  readonly name: string;
  /** Linears that an allotment does not know get this many planes in the mean, instead of a refusal. */
  readonly elsewhere?: number;
}

/**
 * The method `name` for groups of a kind. Throws `RangeError` when `bits` is not 1 to `mostBits` or asks for more, `group` not a positive integer or the
 * profile unknown.
 */
export function groupwise(kind: GroupKind, options: DaqOptions, { name, elsewhere }: Naming): Method {
  const { bits, group } = options, rule = ruleOf(bits);
  const settings = settingsOf(options);
  if (!(Number.isInteger(group) && group >= 1)) {
    throw new RangeError(`Cannot make ${kind.method} with group ${group}: wanted a positive integer`);
  }
  if (typeof bits === "number" && !(Number.isInteger(bits) && bits >= 1 && bits <= kind.mostBits)) {
    throw new RangeError(
      `Cannot make ${kind.method} with ${bits} bits: wanted an integer from 1 to ${kind.mostBits}, or abmp(...)`,
    );
  }
  if (rule && mostPlanes(rule) > kind.mostBits) {
    throw new RangeError(
      `Cannot make ${kind.method} with ${rule.name}: it may give a group ${mostPlanes(rule)} bits, wanted at most ` +
        `${kind.mostBits}; lower its average`,
    );
  }
  if (typeof bits !== "number" && "orders" in bits) checkAllotment(bits, { method: kind.method, most: kind.mostBits });
  const needsHessian = readsHessian(options, settings);
  return {
    name,
    needsHessian,
    quantize: (linear) => quantizeLinear(linear, { kind, options, settings, needsHessian, elsewhere }),
    across: rule?.scope === "model"
      ? {
        score: (linear) => scoreLinear(linear, { group, damping: settings.damping }),
        bind: (scores) => groupwise(kind, { ...options, bits: allotment(allocateAcross(scores, rule)) }, { name }),
      }
      : undefined,
    typical: typeof bits !== "number" && "orders" in bits && elsewhere === undefined
      ? groupwise(kind, options, { name, elsewhere: meanOrder(bits) })
      : undefined,
  };
}

/** Scores of the groups of a linear at full precision, for an allocation across linears. */
async function scoreLinear(
  linear: LinearInput,
  { group, damping }: { readonly group: number; readonly damping: number },
): Promise<LinearScore> {
  const { kernels = referenceKernels, signal, factors = newFactors() } = linear;
  const { W, H } = readLinear(linear, true);
  const { U } = await factors.of(H!, { damping, kernels, signal });
  const scores = blockScores(W, U, { group });
  return { scores, sizes: Array.from(scores, (_, b) => W.rows * Math.min(group, W.cols - b * group)) };
}

/** Whether any choice looks at the data: `plain` and `RSR` without compensation do not. */
function readsHessian({ bits }: DaqOptions, s: DaqSettings): boolean {
  return ruleOf(bits) !== undefined || s.dor !== false || s.compensation !== "none" ||
    s.inside === "sequential" || s.columnWeights || s.refitRounds > 0 || s.refineRounds > 0;
}

interface Job {
  readonly kind: GroupKind;
  readonly options: DaqOptions;
  readonly settings: DaqSettings;
  readonly needsHessian: boolean;
  readonly elsewhere?: number;
}

/**
 * Each group is fitted to its weights compensated for all earlier groups, the whole then refined against the output error (Eq. 4).
 */
async function quantizeLinear(linear: LinearInput, job: Job): Promise<QuantizedLinear> {
  const { kind, options, settings, needsHessian, elsewhere } = job;
  const { name, kernels = referenceKernels, signal, factors = newFactors() } = linear;
  const { group } = options, rule = ruleOf(options.bits);
  const { W, H, dead } = readLinear(linear, needsHessian);
  let factor: UpperFactor = { U: identity(W.cols), damping: 0, retries: 0 };
  try {
    if (H) factor = await factors.of(H, { damping: settings.damping, kernels, signal });
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error;
    return await quantizeWithoutData(linear, job, error.message);
  }
  const { U, damping, retries } = factor;
  const spread = settings.dor && settings.dor.scale === "marginal" ? marginals(U) : undefined;

  const scratch = newScratch();
  const solve = async (orders: readonly number[]) => {
    const placed: PlacedGroup[] = [];
    const { loss } = await obs(W, async ({ start, end, X, U, kernels }) => {
      const order = orders[placed.length];
      const own = { kind, order, settings, spread: spread?.subarray(start, end), kernels, scratch };
      const { group, Q } = await fitGroup(X, U, own);
      placed.push({ start, group });
      return { Q };
    }, { U, blockSize: group, compensation: settings.compensation, kernels, signal });
    // With exact compensation the squared errors of the groups add up to the damped objective; else they are no loss of the whole.
    const before = H && settings.compensation === "exact" ? 2 * loss : undefined;
    const { refineRounds: rounds, refineSweeps: sweeps } = settings;
    if (!H || !(rounds > 0)) return { placed, loss: before };
    const steps = { kind, rounds, sweeps, before: kind.addsLosses ? before : undefined, kernels, signal, scratch };
    return { placed, loss: await refine(W, placed, { H: dampened(H, damping), ...steps }) };
  };

  const orders = await ordersFor({ name, W, U, options, settings, elsewhere, kernels, signal });
  let solution = await solve(orders);
  if (rule?.gate === "measured" && Number.isInteger(rule.average)) {
    // The groups were measured one by one; what counts is the linear as a whole, refinement included.
    if (solution.loss !== undefined && orders.some((k) => k !== rule.average)) {
      const flat = await solve(orders.map(() => rule.average));
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
    tensors: encodeGroups(solution.placed.map(({ group }) => group)),
    report,
  };
}

/** What is left when no damping makes H positive definite: groups fitted to the weights alone, and a report that says so. */
async function quantizeWithoutData(
  linear: LinearInput,
  { kind, options, elsewhere }: Job,
  fallbackReason: string,
): Promise<QuantizedLinear> {
  const rule = ruleOf(options.bits), bits = rule ? Math.floor(rule.average) : options.bits;
  const alone: DaqSettings = { ...profiles.official, dor: false, compensation: "none" };
  const fitted = { kind, options: { ...options, bits }, settings: alone, needsHessian: false, elsewhere };
  const { report, ...quantized } = await quantizeLinear(linear, fitted);
  return { ...quantized, report: { ...report, fallback: `${kind.parts} fitted without data`, fallbackReason } };
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
