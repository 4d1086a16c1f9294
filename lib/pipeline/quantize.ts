/** A model and a method make a new model: block by block in natural order, each stage calibrated on what the already quantised part produces. */
import type { Calibration } from "../diffusion/mcs.ts";
import type { LinearScore, Method, QuantizedLinear } from "../quant/method.ts";
import { dequantize, storedBits } from "../quant/stored.ts";
import { fastKernels } from "../model/kernels.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import { type Linear, stages } from "../model/block.ts";
import type { BlockTensors, Hidden } from "../model/engine.ts";
import type { Model } from "../model/model.ts";

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
  /** What the method says of itself: damping, retries, fallbacks. */
  readonly report: QuantizedLinear["report"];
}

export interface QuantizeOptions {
  /** The inputs to calibrate on. A method that needs no data may go without. */
  readonly calibration?: Calibration;
  /** The arithmetic; by default the products of the model's device and row loops on the calling thread. `fastKernels` adds worker threads. */
  readonly kernels?: Kernels;
  readonly onProgress?: (done: number, total: number, linear: LinearReport) => void;
  readonly signal?: AbortSignal;
  /** Windows per forward pass. */
  readonly batch?: number;
  /** Take the second moments, and with them the relative errors, also for a method that needs no data. */
  readonly measure?: boolean;
}

/**
 * Quantises the seven linears of every block. The model is left as it was; the new one shares its engine and must not outlive it. Linears with the same
 * input share one second moment H = (2 / N) Σ x xᵀ (N windows). Memory holds the hidden states of the calibration windows and one block's work.
 * Throws `TypeError` when the method needs data and there is no calibration, `RangeError` when its windows differ in length.
 */
export async function quantize(model: Model, method: Method, options: QuantizeOptions = {}): Promise<Model> {
  const bound = method.across ? await shareBudget(model, method, options) : method;
  const { calibration, kernels = kernelsOf(model), onProgress, signal, batch = 32, measure = false } = options;
  if (method.needsHessian && !calibration) {
    throw new TypeError(
      `Cannot quantize with ${method.name}: it needs data; pass { calibration: simulateMasks(corpus, ...) }`,
    );
  }
  const moments = calibration !== undefined && (method.needsHessian || measure);
  const quantized = new Map<string, QuantizedLinear>();
  const total = model.weights.blocks.length * stages.flat().length;
  let hidden = moments ? await embedWindows(model, calibration, batch) : [];
  for (const [layer, tensors] of model.weights.blocks.entries()) {
    const current: Record<string, Float32Array> = { ...tensors };
    for (const [stage, members] of stages.entries()) {
      signal?.throwIfAborted();
      const inputs = model.weight(layer, members[0]).cols;
      const H = moments
        ? await secondMoment(model, stage, hidden, current as unknown as BlockTensors, inputs)
        : undefined;
      for (const linear of members) {
        signal?.throwIfAborted();
        const name = model.family.names.block(layer, linear);
        const W = model.weight(layer, linear);
        const q = await bound.quantize({ name, W, H, kernels, signal });
        const Q = dequantize(q);
        current[linear] = Q.data;
        quantized.set(name, q);
        const bitsPerWeight = storedBits(q) / W.data.length;
        const relativeError = H && await relativeErrorOf(W, Q, H, kernels);
        onProgress?.(quantized.size, total, {
          name,
          layer,
          linear,
          method: method.name,
          bitsPerWeight,
          relativeError,
          report: q.report,
        });
      }
    }
    for (const [i, part] of hidden.entries()) {
      const next = await model.engine.block(part.x, current as unknown as BlockTensors);
      hidden[i] = { ...part, x: next };
    }
  }
  hidden = [];
  const provenance: Record<string, string> = { method: method.name };
  if (calibration) provenance.calibration = calibration.name;
  return model.with(quantized, provenance);
}

/** One thread for row loops: there are no workers to dispose of. */
const kernelsOf = (model: Model): Kernels => fastKernels(model.engine.runtime, { threads: 1 });

/** Scores every linear on what the full-precision model produces, and binds the method's budget. */
async function shareBudget(model: Model, method: Method, options: QuantizeOptions): Promise<Method> {
  const { calibration, kernels = kernelsOf(model), signal, batch = 32 } = options;
  if (!calibration) throw new TypeError(`Cannot quantize with ${method.name}: it needs data; pass { calibration }`);
  const scores: Record<string, LinearScore> = {};
  const hidden = await embedWindows(model, calibration, batch);
  for (const [layer, tensors] of model.weights.blocks.entries()) {
    for (const [stage, members] of stages.entries()) {
      signal?.throwIfAborted();
      const H = await secondMoment(model, stage, hidden, tensors, model.weight(layer, members[0]).cols);
      for (const linear of members) {
        const name = model.family.names.block(layer, linear);
        scores[name] = await method.across!.score({ name, W: model.weight(layer, linear), H, kernels, signal });
      }
    }
    for (const [i, part] of hidden.entries()) hidden[i] = { ...part, x: await model.engine.block(part.x, tensors) };
  }
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

/** Hidden states of some windows, and the weights of their tokens in the second moments. */
interface Part {
  readonly x: Hidden;
  readonly weights?: Float32Array;
}

async function embedWindows(model: Model, { windows, weights }: Calibration, batch: number): Promise<Part[]> {
  if (windows.length === 0) throw new RangeError("Cannot calibrate: there are no windows");
  const length = windows[0].length;
  const odd = windows.findIndex((w) => w.length !== length);
  if (odd >= 0) {
    throw new RangeError(`Cannot calibrate: window ${odd} has ${windows[odd].length} tokens, window 0 has ${length}`);
  }
  if (weights && (weights.length !== windows.length || weights.some((w) => w.length !== length))) {
    throw new RangeError(`Cannot calibrate: wanted ${windows.length} x ${length} token weights, one per token`);
  }
  const parts: Part[] = [];
  for (let start = 0; start < windows.length; start += batch) {
    const some = windows.slice(start, start + batch);
    const x = await model.embed(concat(some, Int32Array), some.length);
    parts.push({ x, weights: weights && concat(weights.slice(start, start + batch), Float32Array) });
  }
  return parts;
}

async function secondMoment(
  model: Model,
  stage: number,
  parts: readonly Part[],
  w: BlockTensors,
  inputs: number,
): Promise<Matrix> {
  const H = matrix(inputs, inputs);
  const count = parts.reduce((sum, { x }) => sum + x.batch, 0);
  for (const { x, weights } of parts) await model.engine.addSecondMoment(stage, x, w, H, 2 / count, weights);
  return H;
}

function concat<T extends Int32Array | Float32Array>(arrays: readonly T[], type: new (length: number) => T): T {
  const out = new type(arrays.reduce((sum, a) => sum + a.length, 0));
  let at = 0;
  for (const a of arrays) {
    out.set(a, at);
    at += a.length;
  }
  return out;
}
