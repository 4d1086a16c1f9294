/**
 * AWQ (arXiv 2306.00978): columns that see large inputs are scaled up before rounding to nearest, by one exponent for all linears that share an input, and
 * ranges are then clipped. Deviations: the loss of an exponent is the output error of those linears themselves, from the second moment of all calibration
 * tokens, where the code runs the module that they belong to on them; factors are stored with the linear (16 bits a column) unless `fold` asks for
 * them to go into what comes before; they are searched on inputs that passed through what is quantised already.
 */
import { fitRows, roundRows } from "../quant/grids.ts";
import { readHessian, readWeight } from "../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../quant/method.ts";
import { storeUniform } from "../quant/forms/uniform.ts";
import { type Kernels, referenceKernels } from "../tensor/kernels.ts";
import { asMatrix, type Matrix, matrix, type Matrix64 } from "../tensor/matrix.ts";
import { clippedErrors, scaledErrors } from "./awq_rows.ts";
import { checkPositive, checkUniform, methodName } from "./options.ts";
import { quadraticForm } from "./quadratic.ts";

export interface AwqOptions {
  /** Bits per code, 1 to 8. */
  readonly bits: number;
  /** Columns that share a scale and a zero point. */
  readonly group: number;
  /** Search ranges that are smaller, down to half; linears of queries and keys are left out. True by default. */
  readonly clip?: boolean;
  /** Tokens, evenly from the sample, that judge ranges: 512 by default, as released; Infinity takes the second moment of all. */
  readonly clipTokens?: number;
  /** Fold the factors of columns into the norm or the linear before, where there is one; they then take no bits. Not by default. */
  readonly fold?: boolean;
  /** Exponents that are tried: ρ = i / ratios for i = 0 .. ratios - 1. */
  readonly ratios?: number;
}

/** Tokens whose magnitudes are averaged. */
const TOKENS = 4096;
const SHRINKS = 10, SHRINK = 1 / 20;
/** Linears that are not clipped, as the code tells them by name. */
const unclipped = /(^|[^a-z])(q_|k_|query|key|wqkv)/i;

/**
 * A method that rounds W diag(s) to nearest on asymmetric grids, s_c = (mean |x_c|)^ρ for the exponent ρ of least output error. Reads H and a sample of the inputs.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError without H or inputs and RangeError for weights or inputs that are not finite.
 *
 * @example
 * ```ts
 * import { awq, loadCorpus, loadModel, quantize, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, awq({ bits: 4, group: 128 }), { calibration });
 * ```
 */
export function awq(options: AwqOptions): Method {
  const { ratios = 20, clip = true, clipTokens = 512, fold = false } = options;
  checkUniform("awq", options);
  checkPositive("awq", { group: options.group, ratios, ...(clipTokens === Infinity ? {} : { clipTokens }) });
  const name = methodName(
    "awq",
    { bits: options.bits, group: options.group },
    fold && "fold",
    !clip && "noclip",
    ratios !== 20 && `ratios${ratios}`,
    clipTokens !== 512 && `clip${clipTokens}`,
  );
  const method: Method = {
    name,
    needsHessian: true,
    ...(fold ? { folds: true } : {}),
    wants: { inputs: TOKENS },
    quantize: async (linear) => await (await together([linear])).quantize(linear),
    together,
  };
  return method;

  async function together(set: readonly LinearInput[]): Promise<Method> {
    const found = await searchScale(set, { ...options, ratios });
    return {
      ...method,
      together: undefined,
      quantize: (linear) => quantizeScaled(linear, { ...options, clip, clipTokens, ...found }),
    };
  }
}

interface Found {
  /** Factors of the columns, float32; fp16 once they are stored. */
  readonly scale: Float32Array;
  readonly ratio: number;
}

/** The factors of least output error over the linears of a set. */
async function searchScale(
  set: readonly LinearInput[],
  { bits, group, ratios }: AwqOptions & { readonly ratios: number },
): Promise<Found> {
  const [first] = set, { kernels = referenceKernels } = first;
  const weights = set.map(readWeight), { cols } = weights[0];
  const lossOf = quadraticForm(readHessian(first, cols), kernels), magnitude = meanMagnitude(first, cols);
  const largest = Math.max(...weights.map(({ data }) => data.length));
  const errors = new Float32Array(largest);
  let best: Found | undefined, least = Infinity;
  for (let i = 0; i < ratios; i++) {
    first.signal?.throwIfAborted();
    const scale = factors(magnitude, i / ratios);
    let loss = 0;
    for (const W of weights) {
      const D = matrix(W.rows, cols, errors.subarray(0, W.data.length));
      const args = { w: W.data, cols, group, bits, scale, errors: D.data };
      await kernels.rows(scaledErrors, W.rows, args, { costPerRow: 10 * cols });
      loss += await lossOf(D);
    }
    if (loss < least) [least, best] = [loss, { scale, ratio: i / ratios }];
  }
  if (best) return best;
  throw new RangeError(`Cannot quantize "${first.name}": no exponent has a finite error; are these inputs damaged?`);
}

/** s = max(a^ρ, 1e-4), by the geometric mean of its ends; never zero or beyond fp16. */
function factors(magnitude: Float64Array, ratio: number): Float32Array {
  const raised = magnitude.map((a) => Math.max(a ** ratio, 1e-4));
  let least = Infinity, most = 0;
  for (const s of raised) {
    least = Math.min(least, s);
    most = Math.max(most, s);
  }
  const middle = Math.sqrt(least * most);
  return Float32Array.from(raised, (s) => Math.min(6e4, Math.max(1e-4, s / middle)));
}

/** A sample of the inputs. Throws `TypeError` when there is none, or of another width. */
function sample({ name, X }: LinearInput, cols: number): Matrix {
  if (X === undefined) throw new TypeError(`Cannot quantize "${name}": awq wants X, a sample of the inputs`);
  const inputs = asMatrix(X, `X of "${name}"`);
  if (inputs.cols !== cols || inputs.rows === 0) {
    throw new TypeError(`Cannot quantize "${name}": X is ${inputs.rows} x ${inputs.cols}, wanted tokens x ${cols}`);
  }
  return inputs;
}

/** mean |x_c| over the tokens of the sample. Throws `RangeError` when an input is not finite. */
function meanMagnitude(linear: LinearInput, cols: number): Float64Array {
  const { rows, data } = sample(linear, cols), { name } = linear;
  const mean = new Float64Array(cols);
  for (let k = 0; k < data.length; k++) mean[k % cols] += Math.abs(data[k]) / rows;
  if (mean.every(Number.isFinite)) return mean;
  throw new RangeError(`Cannot quantize "${name}": an input is not finite; are these weights damaged?`);
}

interface Rounded {
  readonly rows: number;
  readonly cols: number;
  readonly group: number;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
}

type Rounding = Pick<AwqOptions, "bits" | "group"> & { readonly kernels: Kernels };

/** Rounds to nearest on grids of the true range. */
async function round({ rows, cols, data }: Matrix, { bits, group, kernels }: Rounding): Promise<Rounded> {
  const count = rows * Math.ceil(cols / group);
  const grid = { scales: new Float32Array(count), zeros: new Uint8Array(count), codes: new Uint8Array(rows * cols) };
  const args = { w: data, cols, group, bits, scales: grid.scales, zeros: grid.zeros };
  await kernels.rows(fitRows, rows, { ...args, symmetric: false, clip: false, trueRange: true }, {
    costPerRow: 2 * cols,
  });
  await kernels.rows(roundRows, rows, { ...args, codes: grid.codes }, { costPerRow: 5 * cols });
  return { rows, cols, group, ...grid };
}

async function quantizeScaled(
  linear: LinearInput,
  { bits, group, clip, clipTokens = 512, scale, ratio }: AwqOptions & Found,
): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, name } = linear;
  const W = readWeight(linear), up = scaled(W, scale);
  const clipped = clip === true && !unclipped.test(name);
  if (clipped) {
    const H = clipTokens === Infinity
      ? narrow(readHessian(linear, W.cols))
      : await momentOf(sample(linear, W.cols), { tokens: clipTokens, kernels });
    await clipRanges(up, { bits, group, kernels, H, scale });
  }
  const grid = await round(up, { bits, group, kernels });
  return storeUniform(name, { ...grid, bits, symmetric: false, inScale: scale }, { ratio, clipped });
}

/** Σ x xᵀ over at most about so many tokens of the sample, evenly; all where there are fewer. */
async function momentOf(
  { rows, cols, data }: Matrix,
  { tokens, kernels }: { readonly tokens: number; readonly kernels: Kernels },
): Promise<Matrix> {
  const stride = Math.max(1, Math.floor(rows / tokens)), count = Math.ceil(rows / stride);
  const some = matrix(count, cols);
  for (let t = 0; t < count; t++) some.data.set(data.subarray(t * stride * cols, (t * stride + 1) * cols), t * cols);
  return await kernels.gemm(some, some, { transA: true });
}

/** Clamps the weights of each row and group to the range of least error of the group's own output, in place. */
async function clipRanges(
  W: Matrix,
  { bits, group, kernels, H, scale }: Rounding & { readonly H: Matrix; readonly scale: Float32Array },
): Promise<void> {
  const { rows, cols } = W;
  for (let start = 0; start < cols; start += group) {
    const width = Math.min(group, cols - start);
    const own = matrix(rows, width), moment = matrix(width, width);
    for (let i = 0; i < rows; i++) own.data.set(W.data.subarray(i * cols + start, i * cols + start + width), i * width);
    for (let j = 0; j < width; j++) {
      for (let k = 0; k < width; k++) {
        moment.data[j * width + k] = H.data[(start + j) * cols + start + k] / (scale[start + j] * scale[start + k]);
      }
    }
    const widest = Float32Array.from({ length: rows }, (_, i) => extent(own, i));
    const least = new Float64Array(rows).fill(Infinity), best = widest.slice();
    const D = matrix(rows, width), DH = matrix(rows, width);
    for (let step = 0; step < SHRINKS; step++) {
      const shrink = 1 - step * SHRINK;
      const args = { w: own.data, width, bits, ends: widest, shrink, errors: D.data };
      await kernels.rows(clippedErrors, rows, args, { costPerRow: 10 * width });
      await kernels.gemm(D, moment, { out: DH });
      for (let i = 0; i < rows; i++) {
        let loss = 0;
        for (let k = i * width; k < (i + 1) * width; k++) loss += D.data[k] * DH.data[k];
        if (loss < least[i]) [least[i], best[i]] = [loss, widest[i] * shrink];
      }
    }
    const kept = clamped(own, best, 1);
    for (let i = 0; i < rows; i++) W.data.set(kept.data.subarray(i * width, (i + 1) * width), i * cols + start);
  }
}

function extent({ cols, data }: Matrix, row: number): number {
  let most = 0;
  for (let k = row * cols; k < (row + 1) * cols; k++) most = Math.max(most, Math.abs(data[k]));
  return most;
}

function clamped({ rows, cols, data }: Matrix, ends: Float32Array, shrink: number): Matrix {
  return matrix(
    rows,
    cols,
    data.map((w, k) => {
      const end = Math.fround(ends[Math.floor(k / cols)] * shrink);
      return Math.min(end, Math.max(-end, w));
    }),
  );
}

function scaled({ rows, cols, data }: Matrix, scale: Float32Array): Matrix {
  const out = matrix(rows, cols);
  for (let i = 0, k = 0; i < rows; i++) for (let j = 0; j < cols; j++, k++) out.data[k] = data[k] * scale[j];
  return out;
}

const narrow = (H: Matrix | Matrix64): Matrix => matrix(H.rows, H.cols, new Float32Array(H.data));
