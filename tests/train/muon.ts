/** Orthogonalisation in float64 plain loops, and the eigenvalues that judge it. */

/** Five steps X ← a X + (b A + c A²) X with A = X Xᵀ from M / (‖M‖ + 1e-7), on the side of M that is shorter. M `[rows, cols]`. */
export function newtonSchulz(M: Float64Array, rows: number, cols: number): Float64Array {
  const tall = rows > cols;
  const [m, n] = tall ? [cols, rows] : [rows, cols];
  const norm = Math.sqrt(M.reduce((s, x) => s + x * x, 0)) + 1e-7;
  let X = (tall ? flip(M, rows, cols) : M).map((x) => x / norm);
  for (let step = 0; step < 5; step++) {
    const A = times(X, flip(X, m, n), m, n, m);
    const AA = times(A, A, m, m, m);
    const B = A.map((x, i) => -4.775 * x + 2.0315 * AA[i]);
    const BX = times(B, X, m, m, n);
    X = X.map((x, i) => 3.4445 * x + BX[i]);
  }
  return tall ? flip(X, m, n) : X;
}

/** Eigenvalues of M Mᵀ, or of MᵀM where that is smaller, by Jacobi rotations. */
export function eigenvalues(M: Float64Array, rows: number, cols: number): number[] {
  const n = Math.min(rows, cols);
  const A = rows <= cols
    ? times(M, flip(M, rows, cols), rows, cols, rows)
    : times(flip(M, rows, cols), M, cols, rows, cols);
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (A[p * n + q] === 0) continue;
        const angle = 0.5 * Math.atan2(2 * A[p * n + q], A[q * n + q] - A[p * n + p]);
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        for (let k = 0; k < n; k++) {
          const [x, y] = [A[k * n + p], A[k * n + q]];
          [A[k * n + p], A[k * n + q]] = [c * x - s * y, s * x + c * y];
        }
        for (let k = 0; k < n; k++) {
          const [x, y] = [A[p * n + k], A[q * n + k]];
          [A[p * n + k], A[q * n + k]] = [c * x - s * y, s * x + c * y];
        }
      }
    }
  }
  return Array.from({ length: n }, (_, i) => A[i * n + i]);
}

function times(A: Float64Array, B: Float64Array, m: number, k: number, n: number): Float64Array {
  const C = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) for (let j = 0; j < n; j++) C[i * n + j] += A[i * k + p] * B[p * n + j];
  }
  return C;
}

function flip(M: Float64Array, rows: number, cols: number): Float64Array {
  return M.map((_, at) => M[(at % rows) * cols + Math.floor(at / rows)]);
}
