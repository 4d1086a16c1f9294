/**
 * Adaptive mixed precision by what counts (ABMP of Quant-dLLM, whose scores are layer-wise): planes are shared out among groups by the divergence of the
 * quantised model from full precision on text that is held out.
 */
import type { MarkedText } from "../diffusion/text.ts";
import { type Allotment, allotment } from "../methods/allotment.ts";
import type { Model } from "../model/model.ts";
import { quantize, type QuantizeOptions } from "../pipeline/quantize.ts";
import type { Method } from "../quant/method.ts";
import { checkOrders, judgeOf, measureSingles, unitsOf } from "./measure.ts";
import { searchOrders, type SearchStep, startOf } from "./search.ts";

/** What planes are shared out for, and what decides. */
export interface AllocateOptions extends Pick<QuantizeOptions, "calibration" | "kernels" | "batch" | "signal"> {
  /** The method with these planes: `(bits) => levels({ bits, group: 128 })`. One that is tuned has joint losses measured after it. */
  readonly method: (bits: number | Allotment) => Method;
  /** Mean planes of a weight: 2, or 2.25, or 1.5. */
  readonly average: number;
  /** The windows that decide, masked in both ways: none that calibrates, tunes or judges later. */
  readonly text: MarkedText;
  /** Of the masks, and of tunings. */
  readonly seed: number;
  /** What changes its planes as one: a group of columns, or all of a linear where there are very many groups. */
  readonly unit?: "group" | "linear";
  /** Fewest and most planes of a group; 1 and 3 by default. */
  readonly least?: number;
  readonly most?: number;
  /** Swaps that are tried at most, each at the cost of quantising the model; 32 by default. */
  readonly trials?: number;
  readonly onStep?: (step: AllocationStep) => void;
}

/** Changes that were tried together. */
export interface AllocationStep {
  /** All groups of the linear where `group` is absent. */
  readonly moves: readonly {
    readonly linear: string;
    readonly group?: number;
    readonly from: number;
    readonly to: number;
  }[];
  /** Mean planes of a weight after them. */
  readonly average: number;
  /** The divergence before and after, in nats: mean of both kinds of masks. */
  readonly before: number;
  readonly after: number;
  /** Steps towards the average are always taken, swaps at the average only where the divergence falls. */
  readonly accepted: boolean;
}

/** Planes of all groups of a model, and how they came about. Plain data, and a value for `bits`. */
export interface Allocation extends Allotment {
  /** Mean planes of a weight: what was asked for, or less by part of a group. */
  readonly average: number;
  /** The divergence on the windows that decided. */
  readonly divergence: number;
  readonly steps: readonly AllocationStep[];
}

/**
 * Shares planes out among the groups of columns of a model so that its predictions move least. From the same planes everywhere, each group alone is
 * given one less and one more; the best changes per weight are then made towards the average, and swaps at the average as long as the model that is
 * quantised with them has the lower divergence from full precision.
 *
 * @example
 * ```ts
 * import { allocate, levels, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const text = await loadCorpus("data/nanoworld/validation.jsonl", draw);
 * const calibration = simulateMasks(corpus, { maskId: model.maskId, seed: 1 });
 * const method = (bits: Parameters<typeof levels>[0]["bits"]) => levels({ bits, group: 128 });
 * const bits = await allocate(model, { method, average: 1.75, calibration, text, seed: 1 });
 * const small = await quantize(model, method(bits), { calibration });
 * ```
 *
 * @throws RangeError when the average is not within the fewest and most planes, the method makes no such planes, or windows cannot be masked; TypeError when
 *   what the method stores has no planes, or not those that it was asked for.
 */
export async function allocate(model: Model, options: AllocateOptions): Promise<Allocation> {
  const { average, least = 1, most = 3, trials = 32, unit = "group", onStep } = options;
  check({ average, least, most, trials, unit });
  options.method(most); // Refuses now what it would refuse in the midst of the search.
  const { calibration, kernels, batch, signal, seed } = options;
  const made = (method: Method) => quantize(model, method, { calibration, kernels, batch, signal, seed });
  const judge = judgeOf(model, options);
  const start = startOf({ average, least, most });
  const first = await made(options.method(start));
  const units = unitsOf(model, first, unit);
  const ordersOf = (orders: readonly number[]): Allotment["orders"] => {
    const all: Record<string, number[]> = {};
    units.forEach(({ linear, groups }, u) => (all[linear] ??= []).push(...groups.map(() => orders[u])));
    return all;
  };
  const bitsOf = (orders: readonly number[]) => allotment(ordersOf(orders), `kl${average}`);
  const told = ({ moves, ...step }: SearchStep): AllocationStep => ({
    ...step,
    moves: moves.map(({ unit: u, from, to }) => ({
      linear: units[u].linear,
      ...(unit === "group" && { group: units[u].groups[0] }),
      from,
      to,
    })),
  });
  const found = await searchOrders({
    ...{ average, least, most, trials },
    sizes: units.map(({ weights }) => weights),
    async loss(orders) {
      const student = orders.every((k) => k === start) ? first : await made(options.method(bitsOf(orders)));
      checkOrders(student, ordersOf(orders));
      return await judge(student);
    },
    singles: (orders) =>
      measureSingles({ units, orders, least, most, judge, made, method: (k) => options.method(bitsOf(k)) }),
    onStep: onStep && ((step) => onStep(told(step))),
  });
  const final = bitsOf(found.orders), all = units.reduce((sum, { weights }) => sum + weights, 0);
  return {
    ...final,
    average: units.reduce((sum, { weights }, u) => sum + weights * found.orders[u], 0) / all,
    divergence: found.loss,
    steps: found.steps.map(told),
  };
}

function check(
  { average, least, most, trials, unit }: Required<
    Pick<AllocateOptions, "average" | "least" | "most" | "trials" | "unit">
  >,
): void {
  if (!(Number.isInteger(least) && Number.isInteger(most) && least >= 1 && least <= most && most <= 4)) {
    throw new RangeError(`Cannot allocate ${least} to ${most} planes: wanted integers from 1 to 4, the fewest first`);
  }
  if (!(average >= least && average <= most)) {
    throw new RangeError(`Cannot allocate an average of ${average} planes: wanted ${least} to ${most}`);
  }
  if (!(Number.isInteger(trials) && trials >= 0)) {
    throw new RangeError(`Cannot allocate with ${trials} trials: wanted an integer that is not negative`);
  }
  if (unit !== "group" && unit !== "linear") {
    throw new RangeError(`Cannot allocate by "${unit}": wanted group or linear`);
  }
}
