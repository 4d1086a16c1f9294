/** The walk through the blocks that every quantisation is: states in, quantised linears out. */
import { newFactors } from "../quant/factor.ts";
import type { LinearScore, Method, QuantizedLinear } from "../quant/method.ts";
import { dequantize, storedBits } from "../quant/forms/decode.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import { type Architecture, type Linear, linearShape, stages } from "../model/architecture.ts";
import type { BlockTensors } from "../model/engine.ts";
import type { Names } from "../model/families/family.ts";
import type { Model } from "../model/model.ts";
import type { HiddenStates } from "./hidden.ts";
import { type Moment, secondMoments } from "./moments.ts";

/** What happened to one linear. */
export interface LinearReport {
  readonly name: string;
  readonly layer: number;
  readonly linear: Linear;
  readonly method: string;
  /** Counted from the stored bytes. */
  readonly bitsPerWeight: number;
  /** tr((W - Q) H (W - Q)ᵀ) / tr(W H Wᵀ) on the calibration inputs; absent when no second moment was taken. */
  readonly relativeError?: number;
  /** The same on the windows that were held out. */
  readonly heldOutError?: number;
  /** What the quantiser took, where a clock was given. */
  readonly seconds?: number;
  /** What the method says of itself: damping, retries, fallbacks. */
  readonly report: QuantizedLinear["report"];
}

export interface WalkOptions {
  /** Where the states stand: at the input of half `from`. Without, no second moments are taken. */
  readonly states?: HiddenStates;
  /** The half block to begin with (2 · layer, or 2 · layer + 1 behind its attention); 0 by default. */
  readonly from?: number;
  readonly kernels: Kernels;
  readonly signal?: AbortSignal;
  /** A clock in milliseconds, for the reports. */
  readonly now?: () => number;
  /** A linear that is done already: it is taken as it is, and no moment is taken for a group that is done. */
  readonly done?: (name: string, W: Matrix) => Promise<QuantizedLinear | undefined>;
  readonly onLinear: (q: QuantizedLinear, report: LinearReport, W: Matrix) => Promise<void> | void;
}

/** Attention, then feed-forward network: the stages of a block between which only the residual stream goes on. */
const halves = [[0, 1], [2, 3]] as const;

/** Quantises the linears of every block, one stage after another on what the quantised stages before it produce. */
export async function walk(model: Model, method: Method, options: WalkOptions): Promise<void> {
  await eachHalf(model, options, async (layer, half, block) => {
    for (const stage of halves[half]) await quantizeStage(model, method, { layer, stage, block }, options);
  });
}

/** Visits the halves of all blocks in order; the states then pass through the half with the weights as the visit left them. */
async function eachHalf(
  { engine, weights, architecture: { layers } }: Model,
  { states, from = 0, signal }: Pick<WalkOptions, "states" | "from" | "signal">,
  visit: (layer: number, half: 0 | 1, block: Record<string, Float32Array>) => Promise<void>,
): Promise<void> {
  for (let layer = Math.floor(from / 2); layer < layers; layer++) {
    const block = { ...await weights.block(layer) };
    for (const half of [0, 1] as const) {
      if (2 * layer + half < from) continue;
      signal?.throwIfAborted();
      await visit(layer, half, block);
      const last = layer === layers - 1 && half === 1;
      if (!last) {
        await states?.advance((x, into) =>
          half === 0 ? engine.attend(x, block, into) : engine.feedForward(x, block, into)
        );
      }
    }
  }
}

interface Stage {
  readonly layer: number;
  readonly stage: number;
  /** The weights of the block as they are by now: what is quantised takes its place here. */
  readonly block: Record<string, Float32Array>;
}

async function quantizeStage(
  { engine, family, architecture }: Model,
  method: Method,
  { layer, stage, block }: Stage,
  { states, kernels, signal, now, done, onLinear }: WalkOptions,
): Promise<void> {
  const groups = stages(architecture)[stage];
  const finished = new Map<Linear, QuantizedLinear>();
  for (const linear of done ? groups.flat() : []) {
    const { name, W } = place(architecture, family.names, layer, linear, block);
    const q = await done!(name, W);
    if (q) finished.set(linear, q);
  }
  const complete = finished.size === groups.flat().length;
  const moments = states && !complete ? await secondMoments(engine, stage, states, block) : [];
  for (const [g, group] of groups.entries()) {
    const factors = newFactors();
    for (const linear of group) {
      let q = finished.get(linear);
      if (!q) {
        signal?.throwIfAborted();
        const { name, W } = place(architecture, family.names, layer, linear, block);
        const start = now?.();
        const made = await method.quantize({ name, W, H: moments[g]?.H, factors, kernels, signal });
        q = { ...made, report: { ...made.report, ...moments[g]?.report } };
        const time = start === undefined ? {} : { seconds: (now!() - start) / 1000 };
        const Q = dequantize(q);
        const errors = await errorsOf(W, Q, moments[g], kernels);
        const bitsPerWeight = storedBits(q) / W.data.length;
        const report = {
          name,
          layer,
          linear,
          method: method.name,
          bitsPerWeight,
          ...errors,
          ...time,
          report: q.report,
        };
        await onLinear(q, report, W);
        finished.set(linear, q);
        block[linear] = Q.data;
      } else {
        block[linear] = dequantize(q).data;
      }
    }
    delete moments[g]; // A wide second moment takes as much as a block.
  }
}

/** A linear of a block as a method sees it. */
function place(a: Architecture, names: Names, layer: number, linear: Linear, block: BlockTensors) {
  const [rows, cols] = linearShape(a, linear);
  return { name: names.block(layer, linear), W: matrix(rows, cols, block[linear]) };
}

async function errorsOf(W: Matrix, Q: Matrix, moment: Moment | undefined, kernels: Kernels) {
  if (!moment) return {};
  const relativeError = await relativeErrorOf(W, Q, moment.H, kernels);
  return moment.heldOut
    ? { relativeError, heldOutError: await relativeErrorOf(W, Q, moment.heldOut, kernels) }
    : { relativeError };
}

/** Scores every linear on what the full-precision model produces, and binds the method's budget. */
export async function shareBudget(
  model: Model,
  method: Method,
  states: HiddenStates,
  { kernels, signal }: Pick<WalkOptions, "kernels" | "signal">,
): Promise<Method> {
  const { engine, architecture, family: { names } } = model;
  const scores: Record<string, LinearScore> = {};
  await eachHalf(model, { states, signal }, async (layer, half, block) => {
    for (const stage of halves[half]) {
      const moments = await secondMoments(engine, stage, states, block);
      for (const [g, group] of stages(architecture)[stage].entries()) {
        const factors = newFactors();
        for (const linear of group) {
          const { name, W } = place(architecture, names, layer, linear, block);
          scores[name] = await method.across!.score({ name, W, H: moments[g].H, factors, kernels, signal });
        }
      }
    }
  });
  return method.across!.bind(scores);
}

/** tr((W - Q) H (W - Q)ᵀ) / tr(W H Wᵀ), W and Q `[out, in]`, H `[in, in]`. */
export async function relativeErrorOf(W: Matrix, Q: Matrix, H: Matrix, kernels: Kernels): Promise<number> {
  const E = matrix(W.rows, W.cols, W.data.map((w, i) => w - Q.data[i]));
  return await quadratic(E, H, kernels) / await quadratic(W, H, kernels);
}

async function quadratic(A: Matrix, H: Matrix, kernels: Kernels): Promise<number> {
  const AH = await kernels.gemm(A, H);
  let sum = 0;
  for (let i = 0; i < A.data.length; i++) sum += A.data[i] * AH.data[i];
  return sum;
}
