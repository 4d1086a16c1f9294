/** The walk through the blocks that every quantisation is: states in, quantised linears out, kept in a store. */
import type { LinearInput, LinearScore, Method, QuantizedLinear } from "../quant/method.ts";
import { newFactors } from "../quant/factor.ts";
import { dequantize, storedBits } from "../quant/forms/decode.ts";
import { quantizeRowGroups, rowGroup } from "../quant/forms/row_groups.ts";
import { ScaleOverflow } from "../tensor/errors.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { inner, type Matrix, matrix } from "../tensor/matrix.ts";
import { type HalfBlock, halfBlocks, type Linear, linearShape, type Stage } from "../model/architecture.ts";
import type { BlockTensors } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import type { HiddenStates } from "./hidden.ts";
import { type GroupMoment, stageMoments, wholeMoment } from "./moments.ts";
import { outsideParts, quantizeOutside } from "./outside.ts";
import type { LinearReport, Scores, Store } from "./store.ts";

export interface WalkOptions<Result> {
  readonly store: Store<Result>;
  readonly kernels: Kernels;
  /** Take second moments, and with them relative errors, also for a method that needs no data. */
  readonly measure?: boolean;
  readonly signal?: AbortSignal;
  /** A clock in milliseconds, for the reports. */
  readonly now?: () => number;
  /** After each linear of a block; `resumed` when the store had it. */
  readonly onProgress?: (done: number, total: number, report: LinearReport, resumed: boolean) => void;
}

/** Quantises the linears of every block, one stage after another on what the quantised stages before it produce; then embedding and head. */
export async function walk<Result>(model: Model, method: Method, options: WalkOptions<Result>): Promise<Result> {
  const { store, kernels, measure = false, signal, onProgress } = options;
  const { across } = method;
  const bound = across
    ? across.bind(await store.scores((states) => scoreAll(model, method, { states, kernels, signal })))
    : method;
  const states = method.needsHessian || measure ? await store.states() : undefined;
  checkGuide(method, states);
  const reference = method.wants?.drift ? await store.reference() : undefined;
  const total = model.linearNames().length;
  let done = 0;
  const told = (report: LinearReport, resumed: boolean) => {
    onProgress?.(++done, total, report, resumed);
    signal?.throwIfAborted();
  };
  for (const { layer, stages } of halfBlocks(model.architecture).slice(0, states?.passed ?? 0)) {
    for (const linear of stages.flatMap(({ sets }) => sets.flat())) {
      told((await store.finished(model.family.names.block(layer, linear)))!.report, true);
    }
  }
  await eachHalf(model, { states, reference, signal }, async ({ layer, stages }, block, original) => {
    const place = { layer, block, original, states, reference };
    for (const stage of stages) await quantizeStage(model, bound, { ...options, ...place, stage, told });
  });
  for (const part of outsideParts) {
    const own = method.outside?.[part];
    if (!own || await store.finished(model.family.names[part])) continue;
    signal?.throwIfAborted();
    const { W, ...finished } = await quantizeOutside(model, own, { part, kernels, signal: breaking(store, signal) });
    await store.put(finished, W);
  }
  return await store.close();
}

/** Throws `TypeError` for a guide of several groups of rows and a method whose rows share what it stores. */
function checkGuide({ name, rowwise }: Method, states?: HiddenStates): void {
  const most = Math.max(1, ...Object.values(states?.guide ?? {}).map(({ length }) => length));
  if (most === 1 || rowwise) return;
  throw new TypeError(
    `Cannot quantize with ${name} on a guide of ${most} groups of rows: its rows share column scales, an order of columns ` +
      "or a budget, for which there is no stored form by groups; guide with one group",
  );
}

/** The signal, where a stop need not wait for the linear at work. */
const breaking = (store: Store<unknown>, signal?: AbortSignal) => store.lasting ? undefined : signal;

/**
 * Visits the halves of the blocks in order, from where the states stand; the states then pass through the half with the weights as the visit left
 * them, and after them those of a reference with the weights as they were.
 */
export async function eachHalf(
  { engine, weights, architecture }: Model,
  { states, reference, signal }: {
    readonly states?: HiddenStates;
    readonly reference?: HiddenStates;
    readonly signal?: AbortSignal;
  },
  visit: (half: HalfBlock, block: Record<string, Float32Array>, original: BlockTensors) => Promise<void>,
): Promise<void> {
  const all = halfBlocks(architecture);
  const through = (states: HiddenStates | undefined, { half }: HalfBlock, block: BlockTensors) =>
    states?.advance((x, into) =>
      half === "attention" ? engine.attend(x, block, { into }) : engine.feedForward(x, block, { into })
    );
  // A run that was stopped between the two left the reference one half behind.
  for (const half of all.slice(reference?.passed ?? 0, reference ? states?.passed : 0)) {
    await through(reference, half, await weights.block(half.layer));
  }
  for (const [layer, halves] of Map.groupBy(all.slice(states?.passed ?? 0), ({ layer }) => layer)) {
    const original = await weights.block(layer), block = { ...original };
    for (const half of halves) {
      signal?.throwIfAborted();
      await visit(half, block, original);
      if (half === all.at(-1)) return;
      await through(states, half, block);
      await through(reference, half, original);
    }
  }
}

interface StageOptions extends WalkOptions<unknown> {
  readonly layer: number;
  readonly stage: Stage;
  /** The weights of the block as they are by now: what is quantised takes its place here. */
  readonly block: Record<string, Float32Array>;
  /** As they were. */
  readonly original: BlockTensors;
  readonly states?: HiddenStates;
  /** The states of the full-precision model, for a method that wants the drift from them. */
  readonly reference?: HiddenStates;
  readonly told: (report: LinearReport, resumed: boolean) => void;
}

async function quantizeStage(model: Model, method: Method, options: StageOptions): Promise<void> {
  const { layer, stage, block, original, states, reference, store, kernels, signal, now, told } = options;
  const all = stage.sets.flat();
  const finished = new Map<Linear, QuantizedLinear>();
  for (const linear of all) {
    signal?.throwIfAborted();
    const { name, W } = place(model, block, { layer, linear });
    const found = await store.finished(name, W);
    if (!found) continue;
    finished.set(linear, found.q);
    told(found.report, true);
  }
  // No moment is taken for a stage that is done.
  const extra = {
    inputs: method.wants?.inputs,
    reference: reference && { states: reference, block: original, kernels },
  };
  const moments = states && finished.size < all.length
    ? await stageMoments(model.engine, states, { layer, stage, block, extra })
    : [];
  const sets = moments.length > 0 ? moments.map(({ linears }) => linears) : stage.sets;
  for (const [s, set] of sets.entries()) {
    const moment = moments[s], groups = moment?.groups ?? [], factors = newFactors();
    const { H, D, X } = groups[0] ?? {}, shared = { H, D, X, factors, kernels, signal: breaking(store, signal) };
    // Of all linears of the set as they were, those that are finished too: what they share does not depend on where a run was stopped.
    const own = method.together && set.some((linear) => !finished.has(linear))
      ? await method.together(set.map((linear) => ({ ...place(model, original, { layer, linear }), ...shared })))
      : method;
    for (const linear of set) {
      const before = finished.get(linear);
      if (before) {
        block[linear] = dequantize(before).data;
        continue;
      }
      signal?.throwIfAborted();
      const { name, W } = place(model, block, { layer, linear });
      const start = now?.();
      const made = await quantizeOne(own, { name, W, ...shared }, groups.map(({ H }) => H));
      const q = { ...made, report: { ...made.report, ...moment?.report } };
      const time = start === undefined ? {} : { seconds: (now!() - start) / 1000 };
      const Q = decoded(q);
      const report = {
        name,
        layer,
        linear,
        method: method.name,
        bitsPerWeight: storedBits(q) / W.data.length,
        ...await errorsOf(W, Q, { groups, kernels }),
        ...time,
        report: q.report,
      };
      await store.put({ q, report }, W);
      block[linear] = Q.data;
      told(report, false);
    }
    delete moments[s]; // A wide second moment takes as much as a block.
  }
}

/** One linear; a scale that cannot be stored is told with its name, whatever the method. */
async function quantizeOne(method: Method, given: LinearInput, moments: readonly Matrix[]): Promise<QuantizedLinear> {
  try {
    return moments.length > 1 ? await quantizeRowGroups(method, given, moments) : await method.quantize(given);
  } catch (error) {
    if (!(error instanceof ScaleOverflow)) throw error;
    throw new RangeError(`Cannot store the scales of "${given.name}": ${error.message}`, { cause: error });
  }
}

/** What a stored form decodes to; throws `RangeError` where that is not finite: its scales went beyond the type that stores them. */
function decoded(q: QuantizedLinear): Matrix {
  const Q = dequantize(q);
  if (Q.data.every(Number.isFinite)) return Q;
  throw new RangeError(
    `Cannot store the scales of "${q.name}": what is stored does not decode to finite numbers, so a scale is beyond fp16 ` +
      "(at most 65504); are these weights damaged, or scaled?",
  );
}

/** A linear of a block as a method sees it. */
function place(
  { architecture, family: { names } }: Model,
  block: BlockTensors,
  { layer, linear }: { readonly layer: number; readonly linear: Linear },
): { readonly name: string; readonly W: Matrix } {
  const [rows, cols] = linearShape(architecture, linear);
  return { name: names.block(layer, linear), W: matrix(rows, cols, block[linear]) };
}

/** Scores every linear on what the full-precision model produces; by name of the linear. The method's budget is bound to them. */
export async function scoreAll(
  model: Model,
  method: Method,
  { states, kernels, signal }: {
    readonly states: HiddenStates;
    readonly kernels: Kernels;
    readonly signal?: AbortSignal;
  },
): Promise<Scores> {
  const scores: Record<string, LinearScore> = {};
  await eachHalf(model, { states, signal }, async ({ layer, stages }, block) => {
    for (const stage of stages) {
      for (const moment of await stageMoments(model.engine, states, { layer, stage, block })) {
        const factors = newFactors(), H = wholeMoment(moment);
        for (const linear of moment.linears) {
          const { name, W } = place(model, block, { layer, linear });
          scores[name] = await method.across!.score({ name, W, H, factors, kernels, signal });
        }
      }
    }
  });
  return scores;
}

async function errorsOf(
  W: Matrix,
  Q: Matrix,
  { groups, kernels }: { readonly groups: readonly GroupMoment[]; readonly kernels: Kernels },
): Promise<Pick<LinearReport, "relativeError" | "heldOutError">> {
  if (groups.length === 0) return {};
  const ratio = async (moments: readonly Matrix[]) => {
    let lost = 0, whole = 0;
    for (const [k, H] of moments.entries()) {
      const [w, q] = [W, Q].map((A) => rowGroup(A, k, moments.length));
      lost += await quadratic(difference(w, q), H, kernels);
      whole += await quadratic(w, H, kernels);
    }
    return lost / whole;
  };
  const relativeError = await ratio(groups.map(({ H }) => H));
  const heldOut = groups.flatMap(({ heldOut }) => heldOut ?? []);
  return heldOut.length > 0 ? { relativeError, heldOutError: await ratio(heldOut) } : { relativeError };
}

/**
 * The relative output error of Q for W: tr((W - Q) H (W - Q)ᵀ) / tr(W H Wᵀ) (Eq. 4), W and Q `[out, in]`, H `[in, in]`.
 *
 * @example
 * ```ts
 * import { dequantize, fastKernels, loadCorpus, loadModel, relativeErrorOf, rtn, secondMoments, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const { name, layer, linear } = model.linearNames()[0];
 * const { [name]: H } = await secondMoments(model, { calibration });
 * const W = await model.weight(layer, linear);
 * const Q = dequantize(await rtn({ bits: 2, group: 32 }).quantize({ name, W }));
 * console.log(await relativeErrorOf(W, Q, { H, kernels: fastKernels(model.engine.runtime, { threads: 1 }) }));
 * ```
 */
export async function relativeErrorOf(
  W: Matrix,
  Q: Matrix,
  { H, kernels }: { readonly H: Matrix; readonly kernels: Kernels },
): Promise<number> {
  return await quadratic(difference(W, Q), H, kernels) / await quadratic(W, H, kernels);
}

const difference = (W: Matrix, Q: Matrix) => matrix(W.rows, W.cols, W.data.map((w, i) => w - Q.data[i]));

const quadratic = async (A: Matrix, H: Matrix, kernels: Kernels): Promise<number> => inner(A, await kernels.gemm(A, H));
