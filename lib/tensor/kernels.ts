/**
 * The arithmetic seam. Numeric modules take a `Kernels` and do their large products and row loops through it: `referenceKernels` below are plain
 * loops (the oracle), the runtime floor supplies onnxruntime GEMM and worker threads. A test pins the two together.
 */
import { type Matrix, matrix, type Matrix64, matrix64 } from "./matrix.ts";
import type { RowArgs, RowLoop } from "./row_loop.ts";

export interface GemmOptions<M = Matrix> {
  /** Use Aᵀ. */
  readonly transA?: boolean;
  /** Use Bᵀ. */
  readonly transB?: boolean;
  /** Write the product here instead of allocating, `[m, n]`. */
  readonly out?: M;
}

export interface RowOptions {
  /** Rough number of scalar operations per row, so that small work stays on the calling thread; 1000 by default. */
  readonly costPerRow?: number;
}

/** The two products; a runtime supplies fast ones. */
export interface Products {
  /** op(A) · op(B), float32: A `[m, k]`, B `[k, n]` after transposition, result `[m, n]`. */
  gemm(A: Matrix, B: Matrix, options?: GemmOptions): Promise<Matrix>;
  /** The same in float64. */
  gemm64(A: Matrix64, B: Matrix64, options?: GemmOptions<Matrix64>): Promise<Matrix64>;
}

export interface Kernels extends Products {
  /** Runs `loop` over rows [0, rowCount), perhaps on several threads; the result is the same bit for bit however many. */
  rows<A extends RowArgs>(loop: RowLoop<A>, rowCount: number, args: A, options?: RowOptions): Promise<void>;
}

/** Plain loops with float64 accumulation, on the calling thread: slow, and the oracle for every faster implementation. */
export const referenceKernels: Kernels = {
  gemm: (A, B, options = {}) => {
    const [m, n] = productShape(A, B, options);
    const out = options.out ?? matrix(m, n);
    multiply(A, B, options, out);
    return Promise.resolve(out);
  },
  gemm64: (A, B, options = {}) => {
    const [m, n] = productShape(A, B, options);
    const out = options.out ?? matrix64(m, n);
    multiply(A, B, options, out);
    return Promise.resolve(out);
  },
  rows: (loop, rowCount, args) => {
    loop.run(args, 0, rowCount);
    return Promise.resolve();
  },
};

/** The shape [m, n] of op(A) · op(B). Throws `TypeError` when the inner sizes differ. */
export function productShape(
  A: Matrix | Matrix64,
  B: Matrix | Matrix64,
  { transA = false, transB = false }: GemmOptions<unknown> = {},
): [number, number] {
  const [m, k] = transA ? [A.cols, A.rows] : [A.rows, A.cols];
  const [kB, n] = transB ? [B.cols, B.rows] : [B.rows, B.cols];
  if (k !== kB) throw new TypeError(`Cannot multiply ${m} x ${k} by ${kB} x ${n}`);
  return [m, n];
}

function multiply<M extends Matrix | Matrix64>(
  A: M,
  B: M,
  { transA = false, transB = false }: GemmOptions<unknown>,
  out: M,
): void {
  const { rows: m, cols: n } = out;
  const k = transA ? A.rows : A.cols;
  const a = A.data, b = B.data, c = out.data;
  const [aRow, aCol] = transA ? [1, m] : [k, 1];
  const [bRow, bCol] = transB ? [1, k] : [n, 1];
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += a[i * aRow + p * aCol] * b[p * bRow + j * bCol];
      c[i * n + j] = sum;
    }
  }
}
