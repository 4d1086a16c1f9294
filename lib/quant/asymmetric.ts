/**
 * Asymmetric calibration (GPTAQ, arXiv 2504.02692): the quantised layer, fed X, is to match the full-precision one, fed X̃. With ΔX = X̃ - X that is
 * min ‖(Q - W) X - W ΔX‖², and the second term enters the column loop through P.
 */
import { type Matrix, matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import type { Kernels } from "../tensor/kernels.ts";

/**
 * P = α triu(D Uᵀ, 1) U, strictly upper triangular `[in, in]` float64, which is P[j, later] = α D[j, later] (H[later, later])⁻¹ for the damped H.
 *
 * @param D ΔX Xᵀ `[in, in]` on the scale of H
 * @param U upper triangular `[in, in]` with H⁻¹ = UᵀU
 */
export async function asymmetricTerm(
  D: Matrix | Matrix64,
  U: Matrix64,
  { alpha, kernels }: { readonly alpha: number; readonly kernels: Kernels },
): Promise<Matrix64> {
  const n = U.cols, P = matrix64(n, n);
  // In float32 but for toys: an error of 1e-6 in P moves a weight by a millionth of itself.
  if (n <= EXACT) {
    const T = triangle(await kernels.gemm64(asFloat64(D), U, { transB: true }), alpha);
    return strictlyUpper(await kernels.gemm64(T, U), P);
  }
  const narrow = matrix(n, n, new Float32Array(U.data));
  const T = triangle(await kernels.gemm(matrix(n, n, new Float32Array(D.data)), narrow, { transB: true }), alpha);
  return strictlyUpper(await kernels.gemm(T, narrow), P);
}

/** Columns up to which products in float64 cost nothing. */
const EXACT = 512;

const asFloat64 = (D: Matrix | Matrix64): Matrix64 => matrix64(D.rows, D.cols, new Float64Array(D.data));

/** What is above the diagonal, times `factor`; in place. */
function triangle<M extends Matrix | Matrix64>(T: M, factor: number): M {
  const n = T.cols;
  for (let i = 0; i < n; i++) {
    T.data.fill(0, i * n, i * n + i + 1);
    for (let j = i + 1; j < n; j++) T.data[i * n + j] *= factor;
  }
  return T;
}

function strictlyUpper(from: Matrix | Matrix64, P: Matrix64): Matrix64 {
  const n = P.cols;
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) P.data[i * n + j] = from.data[i * n + j];
  return P;
}
