/**
 * PT²-LLM (arXiv 2510.03267): weights of -1, 0 and 1 on a grid of scale and mean, fitted by turns (ITF), aligned to the inputs (AGA), the columns of a block
 * chosen for their likeness (SSR), and errors passed on block by block. The source of the authors is not public: this follows the paper. The order of columns
 * depends on the weights as they are compensated, so that instead of one factor the inverse of H over the columns that remain is kept, and each block
 * eliminated from it. The paper's 1.58 bits count trits alone: scales, means and the order of columns are stored too.
 */
import { newFactors } from "../../quant/factor.ts";
import { storeTernary } from "../../quant/dense/ternary.ts";
import { aliveInputs, readHessian, readWeight } from "../../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../../quant/method.ts";
import { type Kernels, referenceKernels } from "../../tensor/kernels.ts";
import { cholesky, invertLower } from "../../tensor/linalg.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../tensor/matrix.ts";
import { checkPositive } from "../options.ts";
import { ternaryRows } from "./fit.ts";

export interface Pt2LlmOptions {
  /** Columns of a block; 128 by default. */
  readonly group?: number;
  /** Added to the diagonal of H as a fraction of its mean. */
  readonly damping?: number;
  /** ITF: fit scales and codes by turns. */
  readonly iterate?: boolean;
  /** AGA: align the grid to the inputs. */
  readonly align?: boolean;
  /** SSR: choose the columns of each block by their likeness; else they are neighbours. */
  readonly reorder?: boolean;
}

/**
 * A method of 1.6 bits per weight, and a quarter of a bit for scales and means at 128 columns a block. Reads H.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError without H, RangeError for weights that are not finite, and NumericalError when no
 * damping makes H positive definite.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel, pt2Llm, quantize, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, pt2Llm({ group: 128 }), { calibration });
 * ```
 */
export function pt2Llm(options: Pt2LlmOptions = {}): Method {
  const { group = 128, damping = 0.01, iterate = true, align = true, reorder = true } = options;
  checkPositive("pt2-llm", { group });
  if (!(damping >= 0)) {
    throw new RangeError(`Cannot make pt2-llm: damping is ${damping}, wanted a number of at least 0`);
  }
  const name = [
    `pt2-llm-g${group}`,
    damping !== 0.01 && `damp${damping}`,
    !iterate && "noitf",
    !align && "noaga",
    !reorder && "nossr",
  ].filter(Boolean).join("-");
  const full = { group, damping, iterate, align, reorder };
  return { name, needsHessian: true, quantize: (linear) => quantize(linear, full) };
}

async function quantize(linear: LinearInput, options: Required<Pt2LlmOptions>): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, signal, factors = newFactors(), name } = linear;
  const original = readWeight(linear), { rows, cols } = original;
  const group = Math.min(options.group, cols), { damping, iterate, align, reorder } = options;
  const { W, H, dead } = aliveInputs(original, readHessian(linear, cols));
  const { U, damping: used, retries } = await factors.of(H, { damping, kernels, signal });
  // The columns that remain, by their number, with their weights and the inverse of H over them; all shrink block by block.
  let columns = Int32Array.from({ length: cols }, (_, j) => j);
  let rest = matrix(rows, cols, W.data.slice()), inverse = await inverseOf(U, kernels);
  const order = new Int32Array(cols), blocks = Math.ceil(cols / group);
  const trits = new Uint8Array(rows * cols), scales = new Float32Array(2 * blocks * rows);
  let rounds = 0, aligned = 0;
  for (let start = 0, b = 0; start < cols; start += group, b++) {
    signal?.throwIfAborted();
    const width = Math.min(group, columns.length);
    const chosen = reorder ? alike(rest, width) : Int32Array.from({ length: width }, (_, j) => j);
    const others = complement(chosen, columns.length);
    const X = pick(rest, chosen), own = chosen.map((place) => columns[place]);
    const args = {
      ...{ x: X.data, width, iterate, align },
      ...momentOf(H, own),
      trits: new Uint8Array(rows * width),
      scales: scales.subarray(b * rows, (b + 1) * rows),
      means: scales.subarray((blocks + b) * rows, (blocks + b + 1) * rows),
      q: new Float32Array(rows * width),
      rounds: new Uint8Array(rows),
      aligned: new Uint8Array(rows),
    };
    await kernels.rows(ternaryRows, rows, args, { costPerRow: width * (2 * width + 100) });
    for (let i = 0; i < rows; i++) trits.set(args.trits.subarray(i * width, (i + 1) * width), i * cols + start);
    order.set(own, start);
    rounds = args.rounds.reduce((most, n) => Math.max(most, n), rounds);
    aligned += args.aligned.reduce((sum, n) => sum + n, 0);
    const left = matrix(rows, width, X.data.map((x, k) => x - args.q[k]));
    if (others.length === 0) break;
    const S = await reach(inverse, { chosen, others, kernels });
    rest = await passOn(pick(rest, others), left, S, kernels);
    inverse = await eliminated(inverse, S, { chosen, others, kernels });
    columns = others.map((place) => columns[place]);
  }
  const stored = { rows, cols, group, trits, scales, ...(reorder ? { order } : {}) };
  const report = {
    damping: used,
    dampingRetries: retries,
    deadInputs: dead,
    rounds,
    aligned: aligned / (rows * blocks),
  };
  return storeTernary(name, stored, report);
}

/** C over the columns `own` of H, and C 1. */
function momentOf(H: Matrix | Matrix64, own: Int32Array): { readonly C: Float64Array; readonly sums: Float64Array } {
  const m = own.length, C = new Float64Array(m * m), sums = new Float64Array(m);
  for (let j = 0; j < m; j++) {
    for (let k = 0; k < m; k++) sums[j] += C[j * m + k] = H.data[own[j] * H.cols + own[k]];
  }
  return { C, sums };
}

/** The places of the columns most alike the mean column, by cosine; in their order. */
function alike({ rows, cols, data }: Matrix, width: number): Int32Array {
  const dots = new Float64Array(cols), squares = new Float64Array(cols);
  for (let i = 0; i < rows; i++) {
    const at = i * cols;
    let mean = 0;
    for (let j = 0; j < cols; j++) mean += data[at + j] / cols;
    for (let j = 0; j < cols; j++) {
      const w = data[at + j];
      dots[j] += w * mean;
      squares[j] += w * w;
    }
  }
  const cosine = dots.map((dot, j) => squares[j] > 0 ? dot / Math.sqrt(squares[j]) : 0);
  const places = Int32Array.from({ length: cols }, (_, j) => j).sort((a, b) => cosine[b] - cosine[a] || a - b);
  return places.subarray(0, width).sort();
}

function complement(chosen: Int32Array, count: number): Int32Array {
  const taken = new Uint8Array(count);
  for (const place of chosen) taken[place] = 1;
  return Int32Array.from({ length: count }, (_, place) => place).filter((place) => !taken[place]);
}

function pick({ rows, cols, data }: Matrix, places: Int32Array): Matrix {
  const n = places.length, out = matrix(rows, n);
  for (let i = 0; i < rows; i++) for (let j = 0; j < n; j++) out.data[i * n + j] = data[i * cols + places[j]];
  return out;
}

function pickBoth({ cols, data }: Matrix64, rows: Int32Array, columns: Int32Array): Matrix64 {
  const out = matrix64(rows.length, columns.length);
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j < columns.length; j++) out.data[i * columns.length + j] = data[rows[i] * cols + columns[j]];
  }
  return out;
}

interface Parted {
  readonly chosen: Int32Array;
  readonly others: Int32Array;
  readonly kernels: Kernels;
}

/** Columns of U whose products are made at once. */
const PANEL = 512;

/** UᵀU of an upper triangular U, by panels of columns: what is zero is left out, and what is below the diagonal is mirrored. */
async function inverseOf(U: Matrix64, kernels: Kernels): Promise<Matrix64> {
  const n = U.cols, out = matrix64(n, n);
  for (let start = 0; start < n; start += PANEL) {
    const end = Math.min(start + PANEL, n), own = matrix64(end, end - start), all = matrix64(end, n - start);
    for (let k = 0; k < end; k++) {
      own.data.set(U.data.subarray(k * n + start, k * n + end), k * own.cols);
      all.data.set(U.data.subarray(k * n + start, (k + 1) * n), k * all.cols);
    }
    const { data } = await kernels.gemm64(own, all, { transA: true });
    for (let i = start; i < end; i++) {
      const row = data.subarray((i - start) * all.cols, (i - start + 1) * all.cols);
      out.data.set(row.subarray(i - start), i * n + i);
      for (let j = i + 1; j < n; j++) out.data[j * n + i] = row[j - start];
    }
  }
  return out;
}

/** S = (H⁻¹_BB)⁻¹ H⁻¹_BR `[block, rest]`, by which the error of the block reaches the rest. */
async function reach(inverse: Matrix64, { chosen, others, kernels }: Parted): Promise<Matrix64> {
  const L = invertLower(cholesky(pickBoth(inverse, chosen, chosen)));
  const own = await kernels.gemm64(L, L, { transA: true });
  return await kernels.gemm64(own, pickBoth(inverse, chosen, others));
}

/** W_R - (W_B - Q_B) S, in place of W_R. */
async function passOn(rest: Matrix, left: Matrix, S: Matrix64, kernels: Kernels): Promise<Matrix> {
  const update = await kernels.gemm(left, matrix(S.rows, S.cols, new Float32Array(S.data)));
  for (let k = 0; k < rest.data.length; k++) rest.data[k] -= update.data[k];
  return rest;
}

/** H⁻¹_RR - H⁻¹_RB S: the inverse of H over the rest alone. */
async function eliminated(inverse: Matrix64, S: Matrix64, { chosen, others, kernels }: Parted): Promise<Matrix64> {
  const known = await kernels.gemm64(pickBoth(inverse, others, chosen), S), n = others.length;
  for (let i = 0; i < n; i++) {
    const row = others[i] * inverse.cols;
    for (let j = 0, k = i * n; j < n; j++, k++) known.data[k] = inverse.data[row + others[j]] - known.data[k];
  }
  return known;
}
