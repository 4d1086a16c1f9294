/**
 * Factors of second moments, in float64. Everything that compensates rounding errors (GPTQ and its kin) needs one thing of H: the upper triangular U
 * with H⁻¹ = UᵀU. It comes from the factor H = V Vᵀ with V upper triangular (a Cholesky factor taken from the last column backwards) as U = V⁻¹,
 * so that no inverse of H is ever formed.
 */
import { NumericalError } from "./errors.ts";
import { type Kernels, referenceKernels } from "./kernels.ts";
import { type Matrix, type Matrix64, matrix64 } from "./matrix.ts";
import { newScratch, type Scratch } from "./scratch.ts";

export interface UpperFactorOptions {
  /** Added to the diagonal as a fraction of its mean. */
  readonly damping?: number;
  /** The arithmetic for the large products; plain loops by default. */
  readonly kernels?: Kernels;
  readonly signal?: AbortSignal;
}

export interface UpperFactor {
  /** Upper triangular `[n, n]` float64 with (H + damping · mean(diag H) · I)⁻¹ = UᵀU. */
  readonly U: Matrix64;
  /** The damping that succeeded. */
  readonly damping: number;
  /** How often it had to be raised. */
  readonly retries: number;
}

const RETRIES = 6;
/** Blocks of this size are factored by plain loops: a product through the seam pays from about here. */
const LEAF = 64;
/** Triangular products are cut into panels of at least this many rows or columns. */
const PANEL = 256;

/** The lower triangular L `[n, n]` with A = L Lᵀ; only the lower triangle of A is read. Throws `NumericalError` when A is not positive definite. */
export function cholesky(A: Matrix64): Matrix64 {
  const n = squareSize(A);
  const L = matrix64(n, n);
  const a = A.data, l = L.data;
  // Column by column, four rows at a time: the sums of four entries do not wait for each other, and each is taken in the order of a plain loop.
  for (let j = 0; j < n; j++) {
    const rowJ = j * n;
    let sum = a[rowJ + j];
    for (let p = 0; p < j; p++) sum -= l[rowJ + p] * l[rowJ + p];
    const diagonal = l[rowJ + j] = pivot(sum, j);
    let i = j + 1;
    for (; i + 3 < n; i += 4) {
      const row0 = i * n, row1 = row0 + n, row2 = row1 + n, row3 = row2 + n;
      let s0 = a[row0 + j], s1 = a[row1 + j], s2 = a[row2 + j], s3 = a[row3 + j];
      for (let p = 0; p < j; p++) {
        const f = l[rowJ + p];
        s0 -= l[row0 + p] * f;
        s1 -= l[row1 + p] * f;
        s2 -= l[row2 + p] * f;
        s3 -= l[row3 + p] * f;
      }
      l[row0 + j] = s0 / diagonal;
      l[row1 + j] = s1 / diagonal;
      l[row2 + j] = s2 / diagonal;
      l[row3 + j] = s3 / diagonal;
    }
    for (; i < n; i++) {
      let rest = a[i * n + j];
      for (let p = 0; p < j; p++) rest -= l[i * n + p] * l[rowJ + p];
      l[i * n + j] = rest / diagonal;
    }
  }
  return L;
}

/** The inverse of a lower triangular L `[n, n]`. Throws `NumericalError` for a zero on the diagonal. */
export function invertLower(L: Matrix64): Matrix64 {
  const n = squareSize(L);
  const out = matrix64(n, n);
  const l = L.data, x = out.data;
  for (let i = 0; i < n; i++) {
    const d = l[i * n + i];
    if (d === 0) throw new NumericalError(`Cannot invert a triangular matrix: entry ${i} of its diagonal is zero`);
    for (let j = 0; j < i; j++) {
      let sum = 0;
      for (let p = j; p < i; p++) sum += l[i * n + p] * x[p * n + j];
      x[i * n + j] = -sum / d;
    }
    x[i * n + i] = 1 / d;
  }
  return out;
}

/**
 * U with (H + damping · mean(diag H) · I)⁻¹ = UᵀU, raising `damping` tenfold at most six times.
 *
 * @param H symmetric `[n, n]`, float64 or float32; dead inputs (H_jj = 0) are the caller's to fill. Only the upper triangle is read.
 * @throws NumericalError when no damping makes H positive definite or H is not finite; RangeError when `damping` is negative.
 */
export async function upperFactor(H: Matrix64 | Matrix, options: UpperFactorOptions = {}): Promise<UpperFactor> {
  const { damping: first = 0.01, kernels = referenceKernels, signal } = options;
  const n = squareSize(H);
  if (!(first >= 0)) throw new RangeError(`Cannot factor H with damping ${first}: wanted a number of at least 0`);
  const mean = meanDiagonal(H);
  let damping = first;
  const work = matrix64(n, n), scratch = newScratch();
  for (let retries = 0;; retries++) {
    for (let i = 0; i < n; i++) {
      work.data.fill(0, i * n, i * n + i);
      work.data.set(H.data.subarray(i * n + i, (i + 1) * n), i * n + i);
      work.data[i * n + i] += damping * mean;
    }
    try {
      await factorBlock(work, 0, n, scratch, kernels, signal);
      return { U: work, damping, retries };
    } catch (error) {
      if (!(error instanceof NumericalError) || retries === RETRIES) throw error;
      // Without damping there is nothing to raise.
      damping = damping === 0 ? 1e-6 : damping * 10;
    }
  }
}

/**
 * Turns the block of A at [offset, offset + n)² into U with A_block⁻¹ = UᵀU, halving it until plain loops will do. With V = U⁻¹:
 *
 *   U22 from A22;   V12 = A12 U22ᵀ;   U11 from A11 - V12 V12ᵀ;   U12 = -U11 V12 U22.
 *
 * Each product has a triangular side, and is taken panel by panel so that most of its zeros are never multiplied. The panels go in the order in which
 * each may overwrite what it was made from, so that A is the only large matrix.
 */
async function factorBlock(
  A: Matrix64,
  offset: number,
  n: number,
  scratch: Scratch,
  kernels: Kernels,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  if (n <= LEAF) return factorLeaf(A, offset, n);
  const n1 = Math.ceil(n / LEAF / 2) * LEAF, n2 = n - n1, middle = offset + n1, end = offset + n;
  const read = (part: "left" | "right", row: number, rowEnd: number, col: number, colEnd: number) =>
    readBlock(A, row, col, scratch.float64(part, rowEnd - row, colEnd - col));
  const multiply = (left: Matrix64, right: Matrix64, transB = false) => {
    const out = scratch.float64("product", left.rows, transB ? right.rows : right.cols);
    return kernels.gemm64(left, right, { transB, out });
  };
  await factorBlock(A, middle, n2, scratch, kernels, signal);
  for (const [from, to] of panels(middle, end)) {
    // Columns of V12 from those of A12 on their right: U22ᵀ is lower triangular.
    const A12 = read("left", offset, middle, from, end), U22 = read("right", from, to, from, end);
    writeBlock(A, offset, from, await multiply(A12, U22, true));
  }
  const V12 = read("left", offset, middle, middle, end);
  for (const [from, to] of panels(offset, middle)) {
    const upper = rowsOf(V12, from - offset, to - offset), lower = rowsOf(V12, from - offset, n1);
    subtractUpper(A, from, await multiply(upper, lower, true));
  }
  await factorBlock(A, offset, n1, scratch, kernels, signal);
  const again = read("left", offset, middle, middle, end);
  for (const [from, to] of panels(offset, middle)) {
    const U11 = read("right", from, to, from, middle);
    writeBlock(A, from, middle, await multiply(U11, rowsOf(again, from - offset, n1)));
  }
  for (const [from, to] of panels(middle, end).reverse()) {
    const product = await multiply(read("left", offset, middle, middle, to), read("right", middle, to, from, to));
    for (let k = 0; k < product.data.length; k++) product.data[k] = -product.data[k];
    writeBlock(A, offset, from, product);
  }
}

/** [start, end) in up to eight panels of whole leaves: narrower ones would spare little more, and products lose speed. */
function panels(start: number, end: number): [number, number][] {
  const size = Math.max(PANEL, Math.ceil((end - start) / PANEL / 8) * PANEL);
  const out: [number, number][] = [];
  for (let at = start; at < end; at += size) out.push([at, Math.min(at + size, end)]);
  return out;
}

/** The same by plain loops: a Cholesky factor from the last column backwards is the ordinary one of the block read backwards. */
function factorLeaf(A: Matrix64, offset: number, n: number): void {
  const backwards = matrix64(n, n);
  const b = backwards.data;
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) b[(n - 1 - i) * n + n - 1 - j] = A.data[(offset + i) * A.cols + offset + j];
  }
  const inverse = invertLower(cholesky(backwards)).data;
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) A.data[(offset + i) * A.cols + offset + j] = inverse[(n - 1 - i) * n + n - 1 - j];
  }
}

/** Fills `out` with the block of A that starts at (row, col). */
function readBlock(A: Matrix64, row: number, col: number, out: Matrix64): Matrix64 {
  for (let i = 0; i < out.rows; i++) {
    const at = (row + i) * A.cols + col;
    out.data.set(A.data.subarray(at, at + out.cols), i * out.cols);
  }
  return out;
}

function writeBlock(A: Matrix64, row: number, col: number, block: Matrix64): void {
  const { rows, cols } = block;
  for (let i = 0; i < rows; i++) A.data.set(block.data.subarray(i * cols, (i + 1) * cols), (row + i) * A.cols + col);
}

/** Rows [start, end), not copied. */
function rowsOf(A: Matrix64, start: number, end: number): Matrix64 {
  return matrix64(end - start, A.cols, A.data.subarray(start * A.cols, end * A.cols));
}

/** Subtracts B from the rows of A that start at (offset, offset), on and above the diagonal. */
function subtractUpper(A: Matrix64, offset: number, B: Matrix64): void {
  for (let i = 0; i < B.rows; i++) {
    const at = (offset + i) * A.cols + offset;
    for (let j = i; j < B.cols; j++) A.data[at + j] -= B.data[i * B.cols + j];
  }
}

function meanDiagonal(H: Matrix64 | Matrix): number {
  let sum = 0;
  for (let j = 0; j < H.rows; j++) sum += H.data[j * H.cols + j];
  const mean = sum / H.rows;
  if (!(mean > 0 && mean < Infinity)) {
    throw new NumericalError(`Cannot factor H: the mean of its diagonal is ${mean}, wanted a positive finite number`);
  }
  return mean;
}

function pivot(value: number, index: number): number {
  if (!(value > 0 && value < Infinity)) {
    throw new NumericalError(`Cannot factor H: pivot ${index} is ${value}, so it is not positive definite`);
  }
  return Math.sqrt(value);
}

function squareSize(A: Matrix64 | Matrix): number {
  if (A.rows !== A.cols) throw new TypeError(`Cannot factor a ${A.rows} x ${A.cols} matrix: wanted a square one`);
  return A.rows;
}
