/**
 * The one loop of optimal brain surgery (GPTQ, arXiv 2210.17323; OBC, arXiv 2208.11580). Columns are rounded from left to right in column blocks b, and
 * the error of a block is passed on to the columns after it, through the factor U with H⁻¹ = UᵀU:
 *
 *   E_b = (W_b - Q_b) U_bb⁻¹,   W[:, later] -= E_b U[b, later],   so that at the end   W0 - Q = E U   and   tr((W0 - Q) H (W0 - Q)ᵀ) = ‖E‖².
 *
 * Two hooks. Block-wise: a `ColumnBlockQuantizer` sees the column block and returns Q_b. Column-wise: it runs `compensateRow` on each row, which rounds
 * one weight after the other and hands E_b back. Later blocks are brought up to date when they are reached (one product with all of E so far) rather than after
 * each block, which writes every weight once.
 */
import { type Kernels, referenceKernels } from "../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import { newScratch, type Scratch } from "../tensor/scratch.ts";
import { type Compensation, errorRows } from "./block_error.ts";

/** What a quantiser of column blocks sees. */
export interface ColumnBlock {
  /** Columns [start, end). */
  readonly start: number;
  readonly end: number;
  /** The block's weights, compensated for all earlier blocks: `[rows, width]` float32, the quantiser's own copy. */
  readonly X: Matrix;
  /** U_bb, upper triangular `[width, width]` float64. */
  readonly U: Matrix64;
  /** P_bb `[width, width]` float64, for column-wise quantisers, where the loop has an asymmetry. */
  readonly P?: Matrix64;
  /** The running weights `[rows, columns]`, to read: columns from `start` to the end of the panel are compensated, those after it are not yet. */
  readonly W: Matrix;
  readonly kernels: Kernels;
}

export interface ObsStep {
  /** The block as it will be decoded (up to the rounding of stored scales), `[rows, width]` float32. */
  readonly Q: Matrix;
  /** The error to pass on, `[rows, width]` float32, when the quantiser has it already; else it follows from `compensation`. */
  readonly E?: Matrix;
}

/** What is passed on beside the errors where inputs of the quantised layer are not those of the full-precision one (`asymmetric.ts`). */
export interface Asymmetry {
  /** Strictly upper triangular `[columns, columns]`: column j adds w_j P[j, later], w_j being the weight just before it was rounded. */
  readonly P: Matrix64;
  /** Later column blocks get Q_b P[b, later] instead: the released code has overwritten W_b by then. */
  readonly legacyCrossBlock: boolean;
}

export type ColumnBlockQuantizer = (columnBlock: ColumnBlock) => Promise<ObsStep> | ObsStep;

export interface ObsOptions {
  /** Upper triangular `[columns, columns]` with H⁻¹ = UᵀU. */
  readonly U: Matrix64;
  /** Columns of a column block. */
  readonly blockSize?: number;
  /** Columns that are brought up to date together, at least a block: for quantisers that look ahead of their block. */
  readonly panelSize?: number;
  readonly compensation?: Compensation;
  readonly asymmetry?: Asymmetry;
  readonly kernels?: Kernels;
  readonly signal?: AbortSignal;
}

export interface ObsResult {
  /** `[rows, columns]` float32. */
  readonly Q: Matrix;
  /** Eᵀ, `[columns, rows]` float32. */
  readonly errorsT: Matrix;
  /** ½ ‖E‖²: half the damped objective when the compensation is exact. */
  readonly loss: number;
}

/**
 * Quantises `W` `[rows, columns]` one column block after another; `W` itself is not written.
 *
 * @throws TypeError when U does not fit W; RangeError for sizes that are not positive integers or a panel smaller than a block.
 */
export async function obs(W: Matrix, quantizer: ColumnBlockQuantizer, options: ObsOptions): Promise<ObsResult> {
  const { U, blockSize = 128, panelSize = blockSize, compensation = "exact", asymmetry, signal } = options;
  const { kernels = referenceKernels } = options;
  const { rows, cols } = W;
  checkSizes(W, U, { blockSize, panelSize });
  const running = matrix(rows, cols, W.data.slice());
  const Q = matrix(rows, cols);
  const errorsT = matrix(cols, rows);
  const passesOn = compensation !== "none", scratch = newScratch();
  const passing = { errorsT, U, Q, asymmetry, kernels, scratch };
  let loss = 0;
  for (let panelStart = 0; panelStart < cols; panelStart += panelSize) {
    const panelEnd = Math.min(panelStart + panelSize, cols);
    if (passesOn) await compensate(running, { ...passing, from: [0, panelStart], to: [panelStart, panelEnd] });
    for (let start = panelStart; start < panelEnd; start += blockSize) {
      signal?.throwIfAborted();
      const end = Math.min(start + blockSize, panelEnd);
      const X = sliceColumns(running, { start, end });
      const Ubb = sliceSquare(U, { start, end });
      const P = asymmetry && sliceSquare(asymmetry.P, { start, end });
      const step = await quantizer({ start, end, X, U: Ubb, P, W: running, kernels });
      pasteColumns(step.Q, Q, { start });
      let E = step.E;
      if (!E) {
        const width = end - start, exact = compensation === "exact";
        const again = sliceColumns(running, { start, end, out: scratch.float32("block", rows, width) });
        E = scratch.float32("errors", rows, width);
        const args = { width, exact, x: again.data, q: step.Q.data, u: Ubb.data, e: E.data };
        // The shortcut is a division per weight: handing the arrays to other threads would take longer.
        await kernels.rows(errorRows, rows, args, { costPerRow: exact ? width ** 2 : 0 });
      }
      loss += storeErrors(E, errorsT.data.subarray(start * rows, end * rows));
      if (passesOn) await compensate(running, { ...passing, from: [start, end], to: [end, panelEnd] });
    }
  }
  return { Q, errorsT, loss };
}

/** Where `compensateRow` stands. */
export interface RowOfBlock {
  /** U_bb, row-major `[width, width]` float64. */
  readonly U: Float64Array;
  readonly width: number;
  /** Receives the values, at `offset` and on. */
  readonly q: Float32Array;
  /** Receives the errors, at `offset` and on. */
  readonly e: Float32Array;
  readonly offset: number;
  /** `round` reads entries after w_j only at columns that are multiples of this, 1 by default; the larger, the fewer passes over the row. */
  readonly ahead?: number;
  /** P_bb of an asymmetry, row-major `[width, width]` float64. */
  readonly P?: Float64Array;
}

/**
 * One row through its column block, column by column: q_j = round(j, w_j), e_j = (w_j - q_j) / U_jj, w_p -= e_j U_jp for p > j; with P also w_p += w_j P_jp.
 *
 * @param w running weights of the row, `[width]` float64; on return it holds the errors, which `e` has in float32
 * @param round the value that weight w of column j (within the block) becomes; it may read `w` from j on, to fit a grid at the start of a group
 */
export function compensateRow(
  w: Float64Array,
  round: (j: number, w: number) => number,
  { U, width, q, e, offset, ahead = 1, P }: RowOfBlock,
): void {
  // Four columns share one pass over the rest of the row: the same subtractions in the same order, with a quarter of the loads and stores.
  const run = !P && (ahead >= width || ahead % 4 === 0) ? 4 : 1;
  for (let first = 0; first < width; first += run) {
    const end = Math.min(first + run, width);
    let before = 0;
    for (let j = first; j < end; j++) {
      before = w[j];
      const value = round(j, before);
      const error = (before - value) / U[j * width + j];
      for (let p = j + 1; p < end; p++) w[p] -= error * U[j * width + p];
      q[offset + j] = value;
      e[offset + j] = error;
      w[j] = error;
    }
    const row0 = first * width, e0 = w[first];
    if (run === 1) {
      for (let p = end; p < width; p++) w[p] -= e0 * U[row0 + p];
      if (P) { for (let p = end; p < width; p++) w[p] += before * P[row0 + p]; }
      continue;
    }
    const row1 = row0 + width, row2 = row1 + width, row3 = row2 + width;
    const e1 = w[first + 1], e2 = w[first + 2], e3 = w[first + 3];
    for (let p = end; p < width; p++) {
      w[p] = w[p] - e0 * U[row0 + p] - e1 * U[row1 + p] - e2 * U[row2 + p] - e3 * U[row3 + p];
    }
  }
}

interface Passing {
  readonly errorsT: Matrix;
  readonly U: Matrix64;
  readonly Q: Matrix;
  readonly asymmetry?: Asymmetry;
  /** Columns [start, end) whose errors are passed on, and those that they are passed on to. */
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
  readonly kernels: Kernels;
  readonly scratch: Scratch;
}

/** W[:, to] -= E[:, from] U[from, to], with an asymmetry also W[:, to] += V[:, from] P[from, to] for V the weights before rounding, Q + E diag(U). */
async function compensate(W: Matrix, { errorsT, U, Q, asymmetry, from, to, kernels, scratch }: Passing): Promise<void> {
  const [fromStart, fromEnd] = from, [toStart, toEnd] = to;
  const inner = fromEnd - fromStart, width = toEnd - toStart, { rows, cols } = W;
  if (inner === 0 || width === 0) return;
  const factor = scratch.float32("factor", inner, width), out = scratch.float32("update", rows, width);
  const place = (p: number) => (fromStart + p) * cols + toStart;
  for (let p = 0; p < inner; p++) {
    factor.data.set(U.data.subarray(place(p), place(p) + width), p * width);
    if (!asymmetry || asymmetry.legacyCrossBlock) continue;
    const { P } = asymmetry, diagonal = U.data[(fromStart + p) * (cols + 1)];
    for (let j = 0; j < width; j++) factor.data[p * width + j] -= diagonal * P.data[place(p) + j];
  }
  const errors = matrix(inner, rows, errorsT.data.subarray(fromStart * rows, fromEnd * rows));
  subtract(W, (await kernels.gemm(errors, factor, { transA: true, out })).data, { start: toStart, end: toEnd });
  if (!asymmetry) return;
  for (let p = 0; p < inner; p++) {
    for (let j = 0; j < width; j++) factor.data[p * width + j] = -asymmetry.P.data[place(p) + j];
  }
  const made = sliceColumns(Q, { start: fromStart, end: fromEnd, out: scratch.float32("made", rows, inner) });
  subtract(W, (await kernels.gemm(made, factor, { out })).data, { start: toStart, end: toEnd });
}

function subtract(W: Matrix, update: Float32Array, { start, end }: Columns): void {
  const width = end - start;
  for (let i = 0; i < W.rows; i++) {
    const at = i * W.cols + start;
    for (let j = 0; j < width; j++) W.data[at + j] -= update[i * width + j];
  }
}

/** Writes E into its columns `out` of Eᵀ, `[width, rows]`, and returns half its squared norm. */
function storeErrors({ rows, cols: width, data }: Matrix, out: Float32Array): number {
  let squares = 0;
  for (let j = 0; j < width; j++) {
    const at = j * rows;
    for (let i = 0; i < rows; i++) {
      const e = data[i * width + j];
      out[at + i] = e;
      squares += e * e;
    }
  }
  return squares / 2;
}

/** Columns [start, end). */
interface Columns {
  readonly start: number;
  readonly end: number;
}

function sliceColumns(
  A: Matrix,
  { start, end, out = matrix(A.rows, end - start) }: Columns & { readonly out?: Matrix },
): Matrix {
  for (let i = 0; i < A.rows; i++) {
    out.data.set(A.data.subarray(i * A.cols + start, i * A.cols + end), i * (end - start));
  }
  return out;
}

function pasteColumns(from: Matrix, to: Matrix, { start }: { readonly start: number }): void {
  for (let i = 0; i < from.rows; i++) {
    to.data.set(from.data.subarray(i * from.cols, (i + 1) * from.cols), i * to.cols + start);
  }
}

function sliceSquare(U: Matrix64, { start, end }: Columns): Matrix64 {
  const out = matrix64(end - start, end - start);
  for (let j = start; j < end; j++) {
    out.data.set(U.data.subarray(j * U.cols + start, j * U.cols + end), (j - start) * (end - start));
  }
  return out;
}

function checkSizes(
  W: Matrix,
  U: Matrix64,
  { blockSize, panelSize }: { readonly blockSize: number; readonly panelSize: number },
): void {
  if (U.rows !== W.cols || U.cols !== W.cols) {
    throw new TypeError(`Cannot quantise: U is ${U.rows} x ${U.cols} but W has ${W.cols} columns`);
  }
  if (!Number.isInteger(blockSize) || blockSize < 1) {
    throw new RangeError(`Cannot quantise in blocks of ${blockSize} columns: wanted a positive integer`);
  }
  if (!Number.isInteger(panelSize) || panelSize < blockSize) {
    throw new RangeError(
      `Cannot quantise in panels of ${panelSize} columns: wanted an integer of at least ${blockSize}`,
    );
  }
}
