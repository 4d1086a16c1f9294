/** A model and a method make a new model: block by block in natural order, each stage calibrated on what the already quantised part produces. */
import type { Calibration } from "../diffusion/mcs.ts";
import type { Method, QuantizedLinear } from "../quant/method.ts";
import { fastKernels } from "../runtime/kernels.ts";
import type { Kernels } from "../tensor/kernels.ts";
import type { Model } from "../model/model.ts";
import { heldStates, slice } from "./hidden.ts";
import { outsideParts, quantizeOutside } from "./outside.ts";
import { type LinearReport, shareBudget, walk } from "./walk.ts";

export type { LinearReport } from "./walk.ts";
export { relativeErrorOf } from "./walk.ts";

export interface QuantizeOptions {
  /** The inputs to calibrate on. A method that needs no data may go without. */
  readonly calibration?: Calibration;
  /** The arithmetic; by default the products of the model's device and row loops on the calling thread. `fastKernels` adds worker threads. */
  readonly kernels?: Kernels;
  readonly onProgress?: (done: number, total: number, linear: LinearReport) => void;
  readonly signal?: AbortSignal;
  /** Windows per forward pass. */
  readonly batch?: number;
  /** So many windows, the last ones, are kept out of the calibration: reports then hold the error on them too. */
  readonly heldOut?: number;
  /** Take the second moments, and with them the relative errors, also for a method that needs no data. */
  readonly measure?: boolean;
}

/**
 * Quantises the linears of every block. The model is left as it was; the new one shares its engine and must not outlive it. Linears with the same
 * input share one second moment. Memory holds the hidden states of the calibration windows and one block's work.
 * Throws `TypeError` when the method needs data and there is no calibration, `RangeError` when its windows differ in length.
 */
export async function quantize(model: Model, method: Method, options: QuantizeOptions = {}): Promise<Model> {
  // One thread for row loops by default: then there are no workers to dispose of.
  const kernels = options.kernels ?? fastKernels(model.engine.runtime, { threads: 1 });
  const { calibration, onProgress, signal, measure = false } = options;
  if (method.needsHessian) wanted(method, calibration);
  const states = async () => await heldStates(model, slice(wanted(method, calibration), options));
  const bound = method.across ? await shareBudget(model, method, await states(), { kernels, signal }) : method;
  const quantized = new Map<string, QuantizedLinear>();
  const total = model.linearNames().length;
  await walk(model, bound, {
    states: calibration !== undefined && (method.needsHessian || measure) ? await states() : undefined,
    kernels,
    signal,
    onLinear(q, report) {
      quantized.set(q.name, q);
      onProgress?.(quantized.size, total, report);
    },
  });
  for (const part of outsideParts) {
    const own = method.outside?.[part];
    if (!own) continue;
    const { q } = await quantizeOutside(model, part, own, { kernels, signal });
    quantized.set(q.name, q);
  }
  const provenance: Record<string, string> = { method: method.name };
  if (calibration) provenance.calibration = calibration.name;
  return model.with(quantized, provenance);
}

/** The calibration of a method that needs one. */
export function wanted(method: Method, calibration: Calibration | undefined): Calibration {
  if (calibration) return calibration;
  throw new TypeError(
    `Cannot quantize with ${method.name}: it needs data; pass { calibration: simulateMasks(corpus, ...) }`,
  );
}
