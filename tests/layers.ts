/** Small made-up layers, and the measures that tests take of them. */
import { type Matrix, matrix, type Matrix64, matrix64 } from "../lib/tensor/matrix.ts";
import { rng } from "../lib/tensor/rng.ts";

/** W `[rows, cols]` and H = 2 XᵀX of inputs that share a few directions, so that columns matter to each other. */
export function layer(rows: number, cols: number, seed: number): { name: string; W: Matrix; H: Matrix64 } {
  const random = rng(seed, "layer", rows, cols);
  const normal = (m: number, n: number) => matrix(m, n, Float32Array.from({ length: m * n }, random.normal));
  const tokens = 2 * cols + 5, rank = 3;
  const mixing = normal(rank, cols).data, X = normal(tokens, cols).data;
  for (let t = 0; t < tokens; t++) {
    for (let r = 0; r < rank; r++) {
      const strength = random.normal();
      for (let j = 0; j < cols; j++) X[t * cols + j] += strength * mixing[r * cols + j];
    }
  }
  const H = matrix64(cols, cols);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < cols; i++) {
      for (let j = 0; j < cols; j++) H.data[i * cols + j] += 2 * X[t * cols + i] * X[t * cols + j];
    }
  }
  return { name: `layer ${rows} x ${cols}`, W: normal(rows, cols), H };
}

/** H + damping · mean(diag H) · I. */
export function damped(H: Matrix64, damping: number): Matrix64 {
  const n = H.rows, out = matrix64(n, n, H.data.slice());
  let mean = 0;
  for (let j = 0; j < n; j++) mean += H.data[j * n + j] / n;
  for (let j = 0; j < n; j++) out.data[j * n + j] += damping * mean;
  return out;
}

/** tr((W - Q) H (W - Q)ᵀ). */
export function objective(W: Matrix, Q: Matrix, H: Matrix64): number {
  const n = W.cols;
  let sum = 0;
  for (let i = 0; i < W.rows; i++) {
    const d = Float64Array.from({ length: n }, (_, j) => W.data[i * n + j] - Q.data[i * n + j]);
    for (let j = 0; j < n; j++) for (let k = 0; k < n; k++) sum += d[j] * H.data[j * n + k] * d[k];
  }
  return sum;
}

/** The largest |a - b|. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : Infinity;
  for (let k = 0; k < a.length; k++) {
    const d = Math.abs(a[k] - b[k]);
    if (!(d <= worst)) worst = d;
  }
  return worst;
}

/** A · B in float64, plainly. */
export function product(A: Matrix | Matrix64, B: Matrix | Matrix64): Matrix64 {
  const out = matrix64(A.rows, B.cols);
  for (let i = 0; i < A.rows; i++) {
    for (let k = 0; k < A.cols; k++) {
      const a = A.data[i * A.cols + k];
      for (let j = 0; j < B.cols; j++) out.data[i * B.cols + j] += a * B.data[k * B.cols + j];
    }
  }
  return out;
}
