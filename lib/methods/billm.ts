/**
 * BiLLM (arXiv 2402.04291): one sign for most weights, two for those of salient columns, and two scales for the others by their size. Deviations: a weight at
 * the mean counts as above it (the code gives it the mean itself, which no sign can say); where a block has fewer columns than the search limit all but one
 * may be salient. As released, columns and sizes are searched on the salience and not on the weights, and the error of a block is passed on by the diagonal of
 * U alone; `compensation: "exact"` takes the exact block step. The paper's 1.08 bits count signs alone: what is stored are 3 bits a weight.
 */
import { newFactors } from "../quant/factor.ts";
import type { Compensation } from "../quant/block_error.ts";
import { storeTwoGroups } from "../quant/dense/two_groups.ts";
import { aliveInputs, readHessian, readWeight } from "../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../quant/method.ts";
import { type ColumnBlockQuantizer, obs } from "../quant/obs.ts";
import { type Kernels, referenceKernels } from "../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64 } from "../tensor/matrix.ts";
import { defineRows } from "../tensor/row_loop.ts";
import { checkPositive } from "./options.ts";

export interface BillmOptions {
  /** Columns of a block; 128 by default. */
  readonly group?: number;
  /** Added to the diagonal of H as a fraction of its mean. */
  readonly damping?: number;
  /** What salience is: w² / U_jj², or the weight itself. */
  readonly metric?: "hessian" | "magnitude";
  /** How the error of a block is passed on; "diagonal", as released. */
  readonly compensation?: Compensation;
}

/** Salient columns that are tried at most, and thresholds between the two sizes: quantiles .10 to .90 of the salience. */
const LIMIT = 50, THRESHOLDS = 81;

/**
 * A method of 3 bits per weight at 128 columns a block. Reads H.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError without H, RangeError for weights that are not finite, and NumericalError when no
 * damping makes H positive definite.
 *
 * @example
 * ```ts
 * import { billm, loadCorpus, loadModel, quantize, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, billm({ group: 128 }), { calibration });
 * ```
 */
export function billm(options: BillmOptions = {}): Method {
  const { group = 128, damping = 0.01, metric = "hessian", compensation = "diagonal" } = options;
  checkPositive("billm", { group });
  if (!(damping >= 0)) throw new RangeError(`Cannot make billm: damping is ${damping}, wanted a number of at least 0`);
  if (metric !== "hessian" && metric !== "magnitude") {
    throw new RangeError(`Cannot make billm: metric is ${metric}, wanted hessian or magnitude`);
  }
  const name = [
    `billm-g${group}`,
    damping !== 0.01 && `damp${damping}`,
    metric !== "hessian" && metric,
    compensation !== "diagonal" && compensation,
  ].filter(Boolean).join("-");
  const full = { group, damping, metric, compensation };
  return { name, needsHessian: true, quantize: (linear) => quantize(linear, full) };
}

async function quantize(linear: LinearInput, options: Required<BillmOptions>): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, signal, factors = newFactors(), name } = linear;
  const original = readWeight(linear), { rows, cols } = original;
  const group = Math.min(options.group, cols), { damping, metric, compensation } = options;
  const alive = aliveInputs(original, readHessian(linear, cols));
  const { U, damping: used, retries } = await factors.of(alive.H, { damping, kernels, signal });
  const stored = {
    ...{ rows, cols, group },
    signs: new Uint8Array(rows * cols),
    seconds: new Uint8Array(rows * cols),
    salient: new Uint8Array(cols),
    levels: new Float32Array(8 * rows * Math.ceil(cols / group)),
  };
  const quantizer: ColumnBlockQuantizer = async ({ start, X, U }) => {
    const { Q, signs, seconds, salient, levels } = await binarize(X, salience(X, U, metric), kernels);
    for (let i = 0; i < rows; i++) {
      stored.signs.set(signs.subarray(i * X.cols, (i + 1) * X.cols), i * cols + start);
      stored.seconds.set(seconds.subarray(i * X.cols, (i + 1) * X.cols), i * cols + start);
    }
    stored.salient.set(salient, start);
    stored.levels.set(levels, 8 * rows * start / group);
    return { Q };
  };
  const { loss } = await obs(alive.W, quantizer, { U, blockSize: group, compensation, kernels, signal });
  const report = { damping: used, dampingRetries: retries, deadInputs: alive.dead, loss };
  return storeTwoGroups(name, stored, { ...report, salient: stored.salient.reduce((sum, bit) => sum + bit, 0) });
}

function salience({ rows, cols, data }: Matrix, U: Matrix64, metric: BillmOptions["metric"]): Matrix {
  if (metric === "magnitude") return matrix(rows, cols, data.slice());
  return matrix(rows, cols, data.map((w, k) => w * w / U.data[(k % cols) * (cols + 1)] ** 2));
}

/** A block of columns: which are salient, where the sizes part, and what becomes of its weights. */
async function binarize(X: Matrix, M: Matrix, kernels: Kernels) {
  const { rows, cols } = M;
  const sums = new Float64Array(cols);
  for (let k = 0; k < M.data.length; k++) sums[k % cols] += Math.abs(M.data[k]);
  const order = Int32Array.from(sums.keys()).sort((a, b) => sums[b] - sums[a] || a - b);
  // One column is left to the others, which else have no mean.
  const limit = Math.max(1, Math.min(LIMIT, cols) - 1);
  const columns = { m: M.data, cols, order, limit, losses: new Float64Array(rows * limit) };
  await kernels.rows(billmColumns, rows, columns, { costPerRow: 6 * limit * cols });
  const count = 1 + leastColumn(columns.losses, limit), salient = new Uint8Array(cols);
  for (const j of order.subarray(0, count)) salient[j] = 1;
  // Quantiles are taken over the whole block, zeros in place of salient columns, as released.
  const sizes = M.data.map((m, k) => salient[k % cols] ? 0 : Math.abs(m)).sort();
  const thresholds = Float64Array.from(
    { length: THRESHOLDS },
    (_, t) => quantile(sizes, 0.1 + 0.8 * t / (THRESHOLDS - 1)),
  );
  const split = { m: M.data, cols, salient, thresholds, losses: new Float64Array(rows * THRESHOLDS) };
  await kernels.rows(billmSplits, rows, split, { costPerRow: 5 * THRESHOLDS * cols });
  const threshold = thresholds[leastColumn(split.losses, THRESHOLDS)];
  const out = {
    ...{ x: X.data, m: M.data, cols, rows, salient, threshold },
    signs: new Uint8Array(rows * cols),
    seconds: new Uint8Array(rows * cols),
    levels: new Float32Array(8 * rows),
    q: new Float32Array(rows * cols),
  };
  await kernels.rows(billmRows, rows, out, { costPerRow: 20 * cols });
  // Levels are by rows while loops run, and by their kind where they are stored.
  const levels = out.levels.map((_, k) => out.levels[(k % rows) * 8 + Math.floor(k / rows)]);
  return { Q: matrix(rows, cols, out.q), signs: out.signs, seconds: out.seconds, salient, levels };
}

/** The column of `[rows, width]` with the least sum. */
function leastColumn(losses: Float64Array, width: number): number {
  const sums = new Float64Array(width);
  for (let k = 0; k < losses.length; k++) sums[k % width] += losses[k];
  return sums.indexOf(Math.min(...sums));
}

/** By linear interpolation between neighbours, as NumPy does. */
function quantile(sorted: Float32Array, share: number): number {
  const place = share * (sorted.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

/** μ and α of the values that `keep` lets through: their mean, and the mean distance from it; zeros where there are none. */
function twoLevels(x: Float64Array, keep: (j: number) => boolean): readonly [mean: number, scale: number] {
  let count = 0, sum = 0, size = 0;
  for (let j = 0; j < x.length; j++) {
    if (!keep(j)) continue;
    count++;
    sum += x[j];
  }
  if (count === 0) return [0, 0];
  const mean = sum / count;
  for (let j = 0; j < x.length; j++) if (keep(j)) size += Math.abs(x[j] - mean);
  return [mean, size / count];
}

/**
 * Squares that are left of x[from .. to) after μ + α s was taken off it twice, s its signs then; x is overwritten by what the first leaves. As α is the mean
 * of |x - μ|, one time leaves Σ (x - μ)² - n α².
 */
function leftOfTwo(x: Float64Array, from: number, to: number): number {
  const n = to - from;
  if (n <= 0) return 0;
  let sum = 0, size = 0, rest = 0;
  for (let j = from; j < to; j++) sum += x[j];
  const mean = sum / n;
  for (let j = from; j < to; j++) size += Math.abs(x[j] - mean);
  const scale = size / n;
  for (let j = from; j < to; j++) {
    x[j] -= mean + (x[j] < mean ? -scale : scale);
    rest += x[j];
  }
  const second = rest / n;
  let away = 0, squares = 0;
  for (let j = from; j < to; j++) {
    away += Math.abs(x[j] - second);
    squares += (x[j] - second) ** 2;
  }
  return squares - away ** 2 / n;
}

/** Squared errors of a row with the first 1, 2, ... columns salient and both parts in two orders, as released. */
export const billmColumns = defineRows({
  name: "billm.columns",
  module: import.meta.url,
  writes: ["losses"],
  run: (
    { m, cols, order, limit, losses }: {
      readonly m: Float32Array;
      readonly cols: number;
      readonly order: Int32Array;
      readonly limit: number;
      readonly losses: Float64Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const sorted = new Float64Array(cols), x = new Float64Array(cols);
    for (let i = rowStart; i < rowEnd; i++) {
      for (let place = 0; place < cols; place++) sorted[place] = m[i * cols + order[place]];
      for (let count = 1; count <= limit; count++) {
        x.set(sorted);
        losses[i * limit + count - 1] = leftOfTwo(x, 0, count) + leftOfTwo(x, count, cols);
      }
    }
  },
});

/** Squared errors of a row's other columns parted at each threshold. */
export const billmSplits = defineRows({
  name: "billm.splits",
  module: import.meta.url,
  writes: ["losses"],
  run: (
    { m, cols, salient, thresholds, losses }: {
      readonly m: Float32Array;
      readonly cols: number;
      readonly salient: Uint8Array;
      readonly thresholds: Float64Array;
      readonly losses: Float64Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const x = new Float64Array(cols), sizes = new Float64Array(cols);
    for (let i = rowStart; i < rowEnd; i++) {
      let n = 0;
      for (let j = 0; j < cols; j++) if (!salient[j]) sizes[n] = Math.abs(x[n++] = m[i * cols + j]);
      for (let t = 0; t < thresholds.length; t++) {
        const threshold = thresholds[t];
        let few = 0, small = 0, large = 0;
        for (let j = 0; j < n; j++) {
          if (sizes[j] >= threshold) large += x[j];
          else small += x[j], few++;
        }
        const low = small / (few || 1), high = large / (n - few || 1);
        let nearLow = 0, nearHigh = 0, squares = 0;
        for (let j = 0; j < n; j++) {
          const d = x[j] - (sizes[j] < threshold ? low : high);
          if (sizes[j] < threshold) nearLow += Math.abs(d);
          else nearHigh += Math.abs(d);
          squares += d * d;
        }
        losses[i * thresholds.length + t] = squares - nearLow ** 2 / (few || 1) - nearHigh ** 2 / (n - few || 1);
      }
    }
  },
});

/** A row as it is stored, and what that decodes to. */
export const billmRows = defineRows({
  name: "billm.rows",
  module: import.meta.url,
  writes: ["signs", "seconds", "levels", "q"],
  run: (
    { x, m, cols, salient, threshold, signs, seconds, levels, q }: {
      readonly x: Float32Array;
      readonly m: Float32Array;
      readonly cols: number;
      readonly salient: Uint8Array;
      readonly threshold: number;
      readonly signs: Uint8Array;
      readonly seconds: Uint8Array;
      readonly levels: Float32Array;
      readonly q: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const left = new Float64Array(cols);
    const kinds = [
      (j: number) => !salient[j] && !large[j],
      (j: number) => !salient[j] && large[j],
      (j: number) => !!salient[j],
    ];
    const large = new Array<boolean>(cols);
    for (let i = rowStart; i < rowEnd; i++) {
      const at = i * cols;
      for (let j = 0; j < cols; j++) {
        left[j] = x[at + j];
        large[j] = Math.abs(m[at + j]) >= threshold;
        seconds[at + j] = Number(large[j]);
      }
      [...kinds, kinds[2]].forEach((keep, level) => {
        const [mean, scale] = twoLevels(left, keep), bits = level === 3 ? seconds : signs;
        levels[i * 8 + 2 * level] = mean;
        levels[i * 8 + 2 * level + 1] = scale;
        for (let j = 0; j < cols; j++) {
          if (!keep(j)) continue;
          bits[at + j] = left[j] < mean ? 0 : 1;
          left[j] -= mean + (left[j] < mean ? -scale : scale);
        }
      });
      for (let j = 0; j < cols; j++) q[at + j] = x[at + j] - left[j];
    }
  },
});
