/**
 * AQLM (arXiv 2401.06118): weights as sums of vectors from learned codebooks, fitted to the output of the layer. Deviations: codebooks are fitted by steps along
 * the gradient of each vector, scaled by its use, each as long as the loss falls most (exact on a quadratic), where the code takes 100 steps of Adam; row scales
 * by their closed form; the beam is one code wide, the default of the released recipes. A step is kept only if it lowers the loss. The fine-tuning of whole
 * blocks is `tuned(aqlm(...), { what: "scales", by: "block" })`, which moves codebooks, scales and norms by the kit's own gradients.
 */
import { type Additive, decodeInto, storeAdditive } from "../../quant/dense/additive.ts";
import { aliveInputs, readHessian, readWeight } from "../../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../../quant/method.ts";
import { assign, kMeans } from "../../tensor/k_means.ts";
import { type Kernels, referenceKernels } from "../../tensor/kernels.ts";
import { inner, type Matrix, matrix, type Matrix64 } from "../../tensor/matrix.ts";
import { rng } from "../../tensor/rng.ts";
import { checkPositive } from "../options.ts";
import { codeRows, energies } from "./codes.ts";

export interface AqlmOptions {
  /** M, codebooks that are added up; 1 by default. */
  readonly books?: number;
  /** B, bits of a code: 2^B vectors a codebook, 1 to 16; 8 by default. */
  readonly bits?: number;
  /** g, neighbouring weights that a vector stands for; 8 by default. */
  readonly group?: number;
  /** Rounds of codebooks and codes by turns, at most. */
  readonly epochs?: number;
  /** Rounds end where one lowers the loss by less than this share. */
  readonly tolerance?: number;
  readonly seed?: number;
}

/** Vectors that k-means sees at most, and its rounds: what it starts, the steps of the codebooks finish. */
const SAMPLE = 2 ** 15, ROUNDS = 10;
/** Steps of the codebooks in a round. */
const STEPS = 8;

/**
 * A method of M B / g bits per weight, its codebooks, and a scale for each row. Reads H. Rows must hold whole groups.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError without H, RangeError for weights that are not finite and for a width that g does not
 * divide.
 *
 * @example
 * ```ts
 * import { aqlm, loadCorpus, loadModel, quantize, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, aqlm({ books: 2, bits: 4, group: 4 }), { calibration });
 * ```
 */
export function aqlm(options: AqlmOptions = {}): Method {
  const { books = 1, bits = 8, group = 8, epochs = 10, tolerance = 0.01, seed = 1 } = options;
  checkPositive("aqlm", { books, bits, group, epochs });
  if (bits > 16) throw new RangeError(`Cannot make aqlm: bits is ${bits}, wanted at most 16`);
  if (!(tolerance >= 0)) {
    throw new RangeError(`Cannot make aqlm: tolerance is ${tolerance}, wanted a number of at least 0`);
  }
  const name = [
    `aqlm-${books}x${bits}-g${group}`,
    epochs !== 10 && `epochs${epochs}`,
    tolerance !== 0.01 && `tol${tolerance}`,
    seed !== 1 && `seed${seed}`,
  ].filter(Boolean).join("-");
  const full = { books, bits, group, epochs, tolerance, seed };
  return {
    name,
    needsHessian: true,
    check: ({ name, shape }) => checkWidth(name, shape[1], group),
    quantize: (linear) => quantize(linear, full),
  };
}

function checkWidth(name: string, cols: number, group: number): void {
  if (cols % group === 0) return;
  throw new RangeError(
    `Cannot quantize "${name}": its ${cols} columns are no whole groups of ${group}; choose a divisor`,
  );
}

async function quantize(linear: LinearInput, options: Required<AqlmOptions>): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, signal, name } = linear, { epochs, tolerance, seed } = options;
  const original = readWeight(linear), { cols } = original;
  checkWidth(name, cols, options.group);
  const { W, H, dead } = aliveInputs(original, readHessian(linear, cols));
  const S = matrix(cols, cols, new Float32Array(H.data));
  const fit: Fit = { W, S, kernels, ...initial(W, options) };
  const random = rng(seed, "aqlm", name);
  const losses = [await lossOf(fit)];
  let rounds = 0;
  for (; rounds < epochs; rounds++) {
    signal?.throwIfAborted();
    await fitCodebooks(fit);
    await fitScales(fit);
    await fitCodes(fit, (places) => random.shuffle(places));
    losses.push(await lossOf(fit));
    if (losses[rounds + 1] > losses[rounds] * (1 - tolerance)) break;
  }
  const { rows, group, books, bits, codes } = fit;
  const stored = { codebooks: Float32Array.from(fit.codebooks), scales: Float32Array.from(fit.scales) };
  const report = { deadInputs: dead, rounds, loss: losses.at(-1)!, initialLoss: losses[0] };
  return storeAdditive(name, { rows, cols, group, books, bits, codes, ...stored }, report);
}

interface Fit extends Omit<Additive, "codebooks" | "scales"> {
  readonly W: Matrix;
  readonly S: Matrix;
  readonly codebooks: Float64Array;
  readonly scales: Float64Array;
  readonly kernels: Kernels;
}

/** Rows of length one, and residual k-means over their groups. */
function initial({ rows, cols, data }: Matrix, { books, bits, group, seed }: Required<AqlmOptions>) {
  const scales = new Float64Array(rows), count = rows * cols / group, size = 2 ** bits;
  for (let k = 0; k < data.length; k++) scales[Math.floor(k / cols)] += data[k] ** 2;
  for (let i = 0; i < rows; i++) scales[i] = Math.sqrt(scales[i]) + 1e-9;
  const left = Float64Array.from(data, (w, k) => w / scales[Math.floor(k / cols)]);
  const codes = new Uint16Array(books * count), codebooks = new Float64Array(books * size * group);
  const stride = Math.max(1, Math.ceil(count / SAMPLE)), some = new Float64Array(Math.ceil(count / stride) * group);
  const chosen = new Int32Array(count);
  for (let m = 0; m < books; m++) {
    for (let v = 0; v * stride < count; v++) {
      some.set(left.subarray(v * stride * group, (v * stride + 1) * group), v * group);
    }
    const { centres } = kMeans(some, group, { count: size, seed: seed + m, rounds: ROUNDS });
    assign(left, centres, group, chosen);
    codebooks.set(centres, m * size * group);
    for (let v = 0; v < count; v++) {
      codes[m * count + v] = chosen[v];
      for (let j = 0; j < group; j++) left[v * group + j] -= centres[chosen[v] * group + j];
    }
  }
  return { rows, cols, group, books, bits, codes, codebooks, scales };
}

/** D = W - Ŵ. */
function difference(fit: Fit): Matrix {
  const D = matrix(fit.rows, fit.cols);
  decodeInto({ ...fit, codebooks: Float32Array.from(fit.codebooks), scales: Float32Array.from(fit.scales) }, D.data);
  for (let k = 0; k < D.data.length; k++) D.data[k] = fit.W.data[k] - D.data[k];
  return D;
}

async function lossOf(fit: Fit): Promise<number> {
  const D = difference(fit);
  return inner(D, await fit.kernels.gemm(D, fit.S));
}

/** A few steps of all codebooks: along -∂L/∂C, each vector by its use, as far as the loss falls. */
async function fitCodebooks(fit: Fit): Promise<void> {
  const { rows, cols, group, books, bits, codes, codebooks, scales, S, kernels } = fit;
  const perRow = cols / group, count = rows * perRow, size = 2 ** bits;
  const step = new Float64Array(codebooks.length), use = new Float64Array(codebooks.length);
  for (let round = 0; round < STEPS; round++) {
    const D = difference(fit), R = await kernels.gemm(D, S);
    step.fill(0);
    use.fill(0);
    for (let m = 0; m < books; m++) {
      for (let k = 0; k < count; k++) {
        const at = (m * size + codes[m * count + k]) * group, s = scales[Math.floor(k / perRow)];
        for (let j = 0; j < group; j++) {
          const column = (k % perRow) * group + j;
          step[at + j] += s * R.data[k * group + j];
          use[at + j] += s * s * S.data[column * (cols + 1)];
        }
      }
    }
    for (let k = 0; k < step.length; k++) step[k] = use[k] > 0 ? step[k] / use[k] : 0;
    const E = matrix(rows, cols);
    decodeInto({ ...fit, codebooks: Float32Array.from(step), scales: Float32Array.from(scales) }, E.data);
    const curve = inner(E, await kernels.gemm(E, S));
    if (!(curve > 0)) return;
    const length = inner(E, R) / curve;
    for (let k = 0; k < step.length; k++) codebooks[k] += length * step[k];
  }
}

/** s = (w S uᵀ) / (u S uᵀ) for every row, u being what it decodes to at a scale of one. */
async function fitScales(fit: Fit): Promise<void> {
  const { rows, cols, W, S, kernels, scales } = fit, unit = matrix(rows, cols);
  decodeInto(
    { ...fit, codebooks: Float32Array.from(fit.codebooks), scales: new Float32Array(rows).fill(1) },
    unit.data,
  );
  const US = await kernels.gemm(unit, S);
  for (let i = 0; i < rows; i++) {
    let top = 0, below = 0;
    for (let k = i * cols; k < (i + 1) * cols; k++) {
      top += W.data[k] * US.data[k];
      below += unit.data[k] * US.data[k];
    }
    if (below > 1e-12 && top > 0) scales[i] = top / below;
  }
}

/** One sweep over groups and codebooks in random order, R = D S brought up to date behind each. */
async function fitCodes(fit: Fit, shuffle: (places: number[]) => number[]): Promise<void> {
  const { rows, cols, group, books, bits, codes, codebooks, scales, S, kernels } = fit;
  const perRow = cols / group, count = rows * perRow, size = 2 ** bits * group;
  const R = await kernels.gemm(difference(fit), S);
  for (const g of shuffle(Array.from({ length: perRow }, (_, g) => g))) {
    const own = squareOf(S, g * group, group),
      strip = matrix(group, cols, S.data.subarray(g * group * cols, (g + 1) * group * cols));
    for (const m of shuffle(Array.from({ length: books }, (_, m) => m))) {
      const C = codebooks.subarray(m * size, (m + 1) * size);
      const args = {
        ...{ R: new Float32Array(rows * group), S: own, C, energy: energies(C, own, group), scales, width: group },
        codes: Uint16Array.from({ length: rows }, (_, i) => codes[m * count + i * perRow + g]),
        delta: new Float32Array(rows * group),
      };
      for (let i = 0; i < rows; i++) {
        args.R.set(R.data.subarray(i * cols + g * group, i * cols + (g + 1) * group), i * group);
      }
      await kernels.rows(codeRows, rows, args, { costPerRow: 2 * size });
      for (let i = 0; i < rows; i++) codes[m * count + i * perRow + g] = args.codes[i];
      const change = await kernels.gemm(matrix(rows, group, args.delta), strip);
      for (let k = 0; k < R.data.length; k++) R.data[k] -= change.data[k];
    }
  }
}

function squareOf(S: Matrix | Matrix64, start: number, width: number): Float64Array {
  const out = new Float64Array(width * width);
  for (let j = 0; j < width; j++) {
    for (let k = 0; k < width; k++) out[j * width + k] = S.data[(start + j) * S.cols + start + k];
  }
  return out;
}
