/** GPTQ (arXiv 2210.17323): uniform codes chosen column by column, each rounding error passed on to the columns after it. */
import { codeOf, fitGrid, fitRows } from "../quant/grids.ts";
import { newFactors } from "../quant/factor.ts";
import { aliveInputs, readHessian, readWeight } from "../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../quant/method.ts";
import { type Asymmetry, type ColumnBlockQuantizer, compensateRow, obs } from "../quant/obs.ts";
import { storeUniform } from "../quant/forms/uniform.ts";
import { NumericalError } from "../tensor/errors.ts";
import { type Kernels, referenceKernels } from "../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import { defineRows } from "../tensor/row_loop.ts";
import { checkPositive, checkUniform, methodName, type UniformOptions } from "./options.ts";
import { roundToNearest } from "./rtn.ts";

export interface GptqOptions extends UniformOptions {
  /** Quantise columns in the order of falling H_jj. */
  readonly actOrder?: boolean;
  /** Fit every grid to the original weights; else each is fitted when its first column is reached. */
  readonly staticGroups?: boolean;
  /** Added to the diagonal of H as a fraction of its mean. */
  readonly damping?: number;
  /** Columns per column block; the result does not depend on it beyond rounding errors. */
  readonly blockSize?: number;
  /** Fit groups smaller than a column block to the weights as they stood at its start, as the official code does. */
  readonly legacyGroupFit?: boolean;
}

/**
 * A method that minimises tr((W - Q) H (W - Q)ᵀ) greedily over the columns of W `[out, in]`, H `[in, in]` damped. Without `actOrder` and
 * `staticGroups` it is the official code with its defaults. With `actOrder` and groups that are not static the map from columns to groups is stored.
 * When no damping makes H positive definite the layer is rounded to nearest, and `report.fallback` says so.
 *
 * @throws RangeError for options out of range; `quantize` throws TypeError for shapes that do not fit and RangeError for weights that are not finite.
 *
 * @example
 * ```ts
 * import { gptq, loadCorpus, loadModel, quantize, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const quantized = await quantize(model, gptq({ bits: 2, group: 32, actOrder: true }), { calibration });
 * ```
 */
export function gptq(options: GptqOptions): Method {
  checkUniform("gptq", options);
  const { actOrder, staticGroups, damping = 0.01, blockSize = 128, legacyGroupFit } = options;
  checkPositive("gptq", { blockSize });
  if (!(damping >= 0)) throw new RangeError(`Cannot make gptq: damping is ${damping}, wanted a number of at least 0`);
  const name = methodName(
    "gptq",
    options,
    !!actOrder && "actorder",
    !!staticGroups && "static",
    damping !== 0.01 && `damp${damping}`,
    blockSize !== 128 && `block${blockSize}`,
    !!legacyGroupFit && "legacyfit",
  );
  // Without static groups an order of columns is stored, which comes from H.
  const rowwise = !actOrder || !!staticGroups;
  return { name, needsHessian: true, rowwise, quantize: (linear) => quantizeColumns(linear, options) };
}

/** What stands beside H where calibration is asymmetric, from the factor of H and the order of columns. */
export type AsymmetryOf = (
  U: Matrix64,
  place: { readonly order?: Int32Array; readonly alive: Matrix | Matrix64; readonly kernels: Kernels },
) => Promise<Asymmetry | undefined>;

/** The column loop of GPTQ, and of what is built on it. */
export async function quantizeColumns(
  linear: LinearInput,
  options: GptqOptions,
  asymmetryOf?: AsymmetryOf,
): Promise<QuantizedLinear> {
  const { kernels = referenceKernels, signal, factors = newFactors() } = linear;
  const { bits, symmetric = false, damping = 0.01, staticGroups = false } = options;
  const original = readWeight(linear);
  const { rows, cols } = original;
  const alive = aliveInputs(original, readHessian(linear, cols));
  const order = options.actOrder ? fallingDiagonal(alive.H) : undefined;
  const group = Math.min(options.group ?? cols, cols);
  const W = order ? permuteColumns(alive.W, order) : alive.W;
  let factor;
  try {
    const reorder = order && { name: "falling diagonal", apply: (H: Matrix | Matrix64) => permuteBoth(H, order) };
    factor = await factors.of(alive.H, { damping, reorder, kernels, signal });
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error;
    return roundToNearest(linear, options, { fallback: "rtn", fallbackReason: error.message });
  }
  // Grids of whole rows are always those of the original weights, whatever the order.
  const grids = newGrids(rows, { cols, group });
  const isStatic = staticGroups || group === cols;
  if (isStatic) await fitAll(alive.W, grids, { ...options, group, kernels });
  const groupOf = Int32Array.from({ length: cols }, (_, j) => Math.floor((isStatic && order ? order[j] : j) / group));
  const codes = new Uint8Array(rows * cols);
  const { blockSize, panelSize } = columnBlocks(options.blockSize ?? 128, { group: isStatic ? 1 : group, cols });
  const quantizer = columnwise({ options, group, groupOf, isStatic, grids, codes, cols });
  const asymmetry = await asymmetryOf?.(factor.U, { order, alive: alive.H, kernels });
  const { loss } = await obs(W, quantizer, { U: factor.U, blockSize, panelSize, asymmetry, kernels, signal });
  const report = { damping: factor.damping, dampingRetries: factor.retries, deadInputs: alive.dead, loss };
  const stored = { rows, cols, bits, group, symmetric, ...grids };
  if (!order) return storeUniform(linear.name, { ...stored, codes }, report);
  return storeUniform(linear.name, {
    ...stored,
    codes: unpermuteColumns(codes, order),
    groupOf: isStatic ? undefined : unpermuteColumns(groupOf, order),
  }, report);
}

interface Grids {
  /** `[rows, groups]`. */
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
}

function newGrids(rows: number, { cols, group }: { readonly cols: number; readonly group: number }): Grids {
  const count = rows * Math.ceil(cols / group);
  return { scales: new Float32Array(count), zeros: new Uint8Array(count) };
}

async function fitAll(
  W: Matrix,
  grids: Grids,
  { bits, group, symmetric = false, clip = false, kernels }: UniformOptions & {
    readonly group: number;
    readonly kernels: Kernels;
  },
): Promise<void> {
  const args = { w: W.data, cols: W.cols, group, bits, symmetric, clip, ...grids };
  await kernels.rows(fitRows, W.rows, args, { costPerRow: W.cols * (clip ? 1000 : 2) });
}

/**
 * A column block holds whole groups, or a group is a panel of whole column blocks (the last may be short): so every grid is fitted to weights that are
 * compensated for all columns before the group, and the size of a column block does not show in the result.
 */
function columnBlocks(
  wanted: number,
  { group, cols }: { readonly group: number; readonly cols: number },
): { blockSize: number; panelSize: number } {
  if (group > wanted) return { blockSize: wanted, panelSize: group };
  const blockSize = Math.min(Math.floor(wanted / group) * group, cols);
  return { blockSize, panelSize: blockSize };
}

interface Columns {
  readonly options: GptqOptions;
  readonly group: number;
  readonly groupOf: Int32Array;
  readonly isStatic: boolean;
  /** Filled group by group when they are not static. */
  readonly grids: Grids;
  /** Filled one column block after another, `[rows, cols]`. */
  readonly codes: Uint8Array;
  readonly cols: number;
}

function columnwise({ options, group, groupOf, isStatic, grids, codes, cols }: Columns): ColumnBlockQuantizer {
  const { bits, symmetric = false, clip = false, blockSize = 128, legacyGroupFit = false } = options;
  return async ({ start, end, X, U, P, W, kernels }) => {
    const { rows } = X, width = end - start;
    if (!isStatic && group > blockSize && start % group === 0) await fitAhead(start);
    const args = {
      x: X.data,
      u: U.data,
      ...(P ? { p: P.data } : {}),
      width,
      groupOf: groupOf.slice(start, end),
      groups: Math.ceil(cols / group),
      // Groups that start in this column block, every so many columns; 0 when the grids are known.
      fitEvery: isStatic || group > blockSize ? 0 : group,
      legacyGroupFit,
      bits,
      symmetric,
      clip,
      ...grids,
      codes: new Uint8Array(rows * width),
      q: new Float32Array(rows * width),
      e: new Float32Array(rows * width),
    };
    await kernels.rows(columnLoop, rows, args, { costPerRow: width * width });
    for (let i = 0; i < rows; i++) codes.set(args.codes.subarray(i * width, (i + 1) * width), i * cols + start);
    return { Q: matrix(rows, width, args.q), E: matrix(rows, width, args.e) };

    /** Fits the grid of a group that reaches beyond the column block, from the running weights of its panel. */
    async function fitAhead(first: number): Promise<void> {
      const size = Math.min(group, cols - first), g = Math.floor(first / group), groups = Math.ceil(cols / group);
      const panel = matrix(rows, size);
      for (let i = 0; i < rows; i++) {
        panel.data.set(W.data.subarray(i * cols + first, i * cols + first + size), i * size);
      }
      const fitted = newGrids(rows, { cols: size, group: size });
      await fitAll(panel, fitted, { ...options, group: size, kernels });
      for (let i = 0; i < rows; i++) {
        grids.scales[i * groups + g] = fitted.scales[i];
        grids.zeros[i * groups + g] = fitted.zeros[i];
      }
    }
  };
}

type ColumnArgs = {
  readonly x: Float32Array;
  readonly u: Float64Array;
  readonly p?: Float64Array;
  readonly width: number;
  readonly groupOf: Int32Array;
  readonly groups: number;
  readonly fitEvery: number;
  readonly legacyGroupFit: boolean;
  readonly bits: number;
  readonly symmetric: boolean;
  readonly clip: boolean;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
  readonly codes: Uint8Array;
  readonly q: Float32Array;
  readonly e: Float32Array;
};

export const columnLoop = defineRows({
  name: "gptq.columns",
  module: import.meta.url,
  writes: ["scales", "zeros", "codes", "q", "e"],
  run: (args: ColumnArgs, rowStart, rowEnd) => {
    const { x, u, p, width, groupOf, groups, fitEvery, legacyGroupFit, bits, symmetric, clip } = args;
    const { scales, zeros, codes, q, e } = args;
    const levels = 2 ** bits - 1;
    const w = new Float64Array(width), before = new Float64Array(width);
    const grid = { scale: 1, zero: 0 }, range = { start: 0, end: 0, bits, symmetric, clip };
    let row = 0;
    const round = (j: number, value: number) => {
      const at = row * groups + groupOf[j];
      if (fitEvery > 0 && j % fitEvery === 0) {
        range.start = j;
        range.end = Math.min(j + fitEvery, width);
        fitGrid(legacyGroupFit ? before : w, grid, range);
        scales[at] = grid.scale;
        zeros[at] = grid.zero;
      }
      // The scale as fitted, not as fp16 will store it: a change of one in 2000 flips a code here and there, and each flip changes the columns
      // after it, so that codes would no longer agree with the field's; the decoded weight differs by less than the error of a code either way.
      const scale = scales[at], zero = zeros[at];
      const code = codeOf(value, scale, zero, levels);
      codes[row * width + j] = code;
      return scale * (code - zero);
    };
    for (row = rowStart; row < rowEnd; row++) {
      for (let j = 0; j < width; j++) before[j] = w[j] = x[row * width + j];
      compensateRow(w, round, { U: u, P: p, width, q, e, offset: row * width, ahead: fitEvery || width });
    }
  },
});

/** Columns by falling H_jj, ties in their order. */
function fallingDiagonal(H: Matrix | Matrix64): Int32Array {
  const columns = Array.from({ length: H.cols }, (_, j) => j);
  columns.sort((a, b) => H.data[b * H.cols + b] - H.data[a * H.cols + a]);
  return Int32Array.from(columns);
}

function permuteColumns(W: Matrix, order: Int32Array): Matrix {
  const out = matrix(W.rows, W.cols);
  for (let i = 0; i < W.rows; i++) {
    for (let j = 0; j < W.cols; j++) out.data[i * W.cols + j] = W.data[i * W.cols + order[j]];
  }
  return out;
}

export function permuteBoth(H: Matrix | Matrix64, order: Int32Array): Matrix64 {
  const n = H.cols, out = matrix64(n, n);
  for (let i = 0; i < n; i++) {
    const from = order[i] * n;
    for (let j = 0; j < n; j++) out.data[i * n + j] = H.data[from + order[j]];
  }
  return out;
}

function unpermuteColumns<T extends Uint8Array | Int32Array>(values: T, order: Int32Array): T {
  const cols = order.length, rows = values.length / cols, out = values.slice() as T;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) out[i * cols + order[j]] = values[i * cols + j];
  }
  return out;
}
