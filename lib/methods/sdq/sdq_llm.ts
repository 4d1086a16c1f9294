/**
 * SDQ-LLM (arXiv 2510.03275): the columns of a block, turned by a Hadamard matrix, as a signal at a higher rate, in codes of -1, 0 and 1 whose errors a
 * sigma-delta loop shapes. The over-sampling ratio is the dial of the bits. Deviations: the scale of a row is the best of a few by the squared error (among
 * them the released .9 · quantile .9) rather than one found on a slice of another layer; the integrator is kept within 2, since with clipping scales it else
 * grows without end (`bound: Infinity` is the released loop). As released, the error of a block is passed on by the diagonal of U alone unless `compensation`
 * says otherwise. Ratios by layer (MultiOSR) are `ratios`, by name of the linear: `sharedRatios` shares them out by the spread of the weights.
 */
import type { Compensation } from "../../quant/block_error.ts";
import { newFactors } from "../../quant/factor.ts";
import { samplesOf, storeSigmaDelta } from "../../quant/dense/sigma_delta.ts";
import { aliveInputs, readHessian, readWeight } from "../../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../../quant/method.ts";
import { type ColumnBlockQuantizer, obs } from "../../quant/obs.ts";
import { rotate, signsOf } from "../../tensor/hadamard.ts";
import { referenceKernels } from "../../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { resampling } from "../../tensor/resample.ts";
import { checkPositive } from "../options.ts";
import { sdqRows } from "./loop.ts";
import { roundHalfEven } from "../../tensor/rounding.ts";

export interface SdqLlmOptions {
  /** The over-sampling ratio, 1 to 8: samples per weight; 1.25 by default, 2.25 bits at 128 columns a block. */
  readonly rate?: number;
  /** Ratios of linears by their names, in place of `rate`. */
  readonly rates?: Readonly<Record<string, number>>;
  /** Codes of -1 and 1, one bit each, instead of three values. */
  readonly binary?: boolean;
  /** Columns of a block; 128 by default. */
  readonly group?: number;
  /** Added to the diagonal of H as a fraction of its mean. */
  readonly damping?: number;
  /** The quantile of sizes below which a code is zero. */
  readonly cut?: number;
  /** The integrator is kept within so many scales. */
  readonly bound?: number;
  /** How the error of a block is passed on; "diagonal", as released. */
  readonly compensation?: Compensation;
  /** Of the signs of the rotation. */
  readonly seed?: number;
}

/** Scales that are tried: factor and quantile of the sizes. The first is the default of the released command, the last never clips. */
const TRIES = [[0.9, 0.9], [0.75, 0.9], [1, 0.95], [0.95, 0.93], [1, 0.99], [1, 1]].flat();

/**
 * A method of 1.6 bits per sample at three values, and a quarter of a bit per weight for scales and means at 128 columns a block. Reads H.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError without H, RangeError for weights that are not finite, and NumericalError when no
 * damping makes H positive definite.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel, quantize, sdqLlm, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, sdqLlm({ rate: 1.25 }), { calibration });
 * ```
 */
export function sdqLlm(options: SdqLlmOptions = {}): Method {
  const { rate = 1.25, rates, binary = false, group = 128, damping = 0.01, cut = 0.5, bound = 2, seed = 1 } = options;
  const { compensation = "diagonal" } = options;
  checkPositive("sdq-llm", { group });
  for (const [what, value] of Object.entries({ rate, ...rates })) {
    if (!(value >= 1 && value <= 8)) {
      throw new RangeError(`Cannot make sdq-llm: ${what} is ${value}, wanted a ratio from 1 to 8`);
    }
  }
  if (!(damping >= 0)) {
    throw new RangeError(`Cannot make sdq-llm: damping is ${damping}, wanted a number of at least 0`);
  }
  if (!(cut >= 0 && cut <= 1)) {
    throw new RangeError(`Cannot make sdq-llm: cut is ${cut}, wanted a quantile from 0 to 1`);
  }
  if (!(bound >= 1)) throw new RangeError(`Cannot make sdq-llm: bound is ${bound}, wanted a number of at least 1`);
  const name = [
    `sdq-llm-r${rate}-g${group}`,
    rates && "rates",
    binary && "binary",
    damping !== 0.01 && `damp${damping}`,
    cut !== 0.5 && `cut${cut}`,
    bound !== 2 && `bound${bound}`,
    compensation !== "diagonal" && compensation,
    seed !== 1 && `seed${seed}`,
  ].filter(Boolean).join("-");
  const full = { rate, binary, group, damping, cut, bound, compensation, seed };
  return {
    name,
    needsHessian: true,
    quantize: (linear) => quantize(linear, { ...full, rate: rates?.[linear.name] ?? rate }),
  };
}

async function quantize(
  linear: LinearInput,
  options: Required<Omit<SdqLlmOptions, "rates">>,
): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, signal, factors = newFactors(), name } = linear;
  const original = readWeight(linear), { rows, cols } = original;
  const { rate, binary, damping, cut, bound, compensation, seed } = options, group = Math.min(options.group, cols);
  const alive = aliveInputs(original, readHessian(linear, cols));
  const signs = signsOf(cols, seed);
  // W x = (W R)(Rᵀ x) for the rotation R: the loop runs on W R and Rᵀ H R.
  const reorder = { name: `hadamard ${seed}`, apply: (H: Matrix | Matrix64) => rotatedBoth(H, signs) };
  const { U, damping: used, retries } = await factors.of(alive.H, { damping, reorder, kernels, signal });
  const blocks: Uint8Array[] = [], count = Math.ceil(cols / group), scales = new Float32Array(2 * count * rows);
  const matrices = new Map<number, { up: Float64Array; down: Float64Array }>();
  const quantizer: ColumnBlockQuantizer = async ({ X }) => {
    const width = X.cols, samples = samplesOf(width, rate), b = blocks.length;
    const made = { up: resampling(width, samples).data, down: resampling(samples, width).data };
    const { up, down } = matrices.get(width) ?? made;
    matrices.set(width, { up, down });
    const args = {
      ...{ x: X.data, width, samples, up, down, tries: Float64Array.from(TRIES), cut, bound, binary },
      codes: new Uint8Array(rows * samples),
      scales: scales.subarray(b * rows, (b + 1) * rows),
      means: scales.subarray((count + b) * rows, (count + b + 1) * rows),
      q: new Float32Array(rows * width),
    };
    await kernels.rows(sdqRows, rows, args, { costPerRow: TRIES.length * width * samples });
    blocks.push(args.codes);
    return { Q: matrix(rows, width, args.q) };
  };
  const { loss } = await obs(rotated(alive.W, signs), quantizer, {
    U,
    blockSize: group,
    compensation,
    kernels,
    signal,
  });
  const report = { damping: used, dampingRetries: retries, deadInputs: alive.dead, loss };
  return storeSigmaDelta(name, { rows, cols, group, rate, binary, seed, blocks, scales }, report);
}

function rotated({ rows, cols, data }: Matrix, signs: Float64Array): Matrix {
  const out = matrix(rows, cols), row = new Float64Array(cols);
  for (let i = 0; i < rows; i++) {
    row.set(data.subarray(i * cols, (i + 1) * cols));
    rotate(row, signs);
    out.data.set(row, i * cols);
  }
  return out;
}

/** Rᵀ H R: rows turned, then columns. */
function rotatedBoth(H: Matrix | Matrix64, signs: Float64Array): Matrix64 {
  const n = H.cols, out = matrix64(n, n, new Float64Array(H.data)), line = new Float64Array(n);
  for (let i = 0; i < n; i++) rotate(out.data.subarray(i * n, (i + 1) * n), signs);
  for (let j = 0; j < n; j++) {
    for (let i = 0; i < n; i++) line[i] = out.data[i * n + j];
    rotate(line, signs);
    for (let i = 0; i < n; i++) out.data[i * n + j] = line[i];
  }
  return out;
}

/** A linear whose weights spread by `deviation`, with so many of them. */
export interface RatioShare {
  readonly name: string;
  readonly deviation: number;
  readonly weights: number;
}

/**
 * Ratios by the spread of the weights (MultiOSR): 1 for each, and what is left of the mean shared out by deviation^-a, in quarters, then brought to the mean
 * again; weighted by the size of the linears.
 *
 * @throws RangeError when the mean is below 1.
 *
 * @example
 * ```ts
 * import { loadModel, sdqLlm, sharedRatios } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const linears = await Promise.all(model.linearNames().map(async ({ name, layer, linear }) => {
 *   const { data } = await model.weight(layer, linear);
 *   const deviation = Math.sqrt(data.reduce((sum, w) => sum + w * w, 0) / data.length);
 *   return { name, deviation, weights: data.length };
 * }));
 * const method = sdqLlm({ rates: sharedRatios(linears, { mean: 1.25 }) });
 * console.log(method.name);
 * ```
 */
export function sharedRatios(
  linears: readonly RatioShare[],
  { mean, power = 1.5 }: { mean: number; power?: number },
): Record<string, number> {
  if (!(mean >= 1)) throw new RangeError(`Cannot share ratios of a mean of ${mean} out: wanted at least 1`);
  const total = linears.reduce((sum, { weights }) => sum + weights, 0);
  const pull = linears.map(({ deviation }) => deviation ** -power);
  const meanPull = linears.reduce((sum, { weights }, i) => sum + weights * pull[i], 0) / total;
  const ratios = pull.map((p) => Math.max(1, roundHalfEven(4 * (1 + (mean - 1) * p / meanPull)) / 4));
  // Quarters moved the mean: what is above 1 is scaled so that it is met.
  const above = linears.reduce((sum, { weights }, i) => sum + weights * (ratios[i] - 1), 0) / total;
  const factor = above > 0 ? (mean - 1) / above : 0;
  return Object.fromEntries(linears.map(({ name }, i) => [name, Math.min(8, 1 + factor * (ratios[i] - 1))]));
}
