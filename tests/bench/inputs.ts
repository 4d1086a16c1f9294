/** Made-up layers of any size: correlated inputs with a few loud channels, heavy-tailed weights. */
import type { Kernels } from "../../lib/tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";

/** 2 XᵀX `[n, n]` of 2 n tokens whose channels share a low-rank part. */
export async function secondMoment(n: number, kernels: Kernels): Promise<Matrix64> {
  const tokens = 2 * n, rank = 32;
  const mixed = await kernels.gemm(normal(tokens, rank, "tokens"), normal(rank, n, "mixing"));
  const noise = normal(tokens, n, "noise");
  for (let i = 0; i < tokens; i++) {
    for (let j = 0; j < n; j++) noise.data[i * n + j] += 0.2 * mixed.data[i * n + j] * (j % 97 === 5 ? 8 : 1);
  }
  const H = await kernels.gemm(noise, noise, { transA: true });
  return matrix64(n, n, Float64Array.from(H.data, (x) => 2 * x));
}

/** The same layer with an H of its own: the factor of an H is kept for the next linear that brings it, and every timed run has to pay for its factor. */
export function fresh<L extends { readonly H: Matrix64 }>(layer: L): L {
  const { rows, cols, data } = layer.H;
  return { ...layer, H: matrix64(rows, cols, data.subarray()) };
}

/** Weights `[rows, cols]` with tails heavier than a normal's. */
export function weights(rows: number, cols: number): Matrix {
  const W = normal(rows, cols, "weights");
  for (let k = 0; k < W.data.length; k++) W.data[k] *= 0.02 * Math.exp(0.3 * W.data[(k * 7 + 3) % W.data.length]);
  return W;
}

/** Approximately normal numbers, cheap: the sum of three uniform ones. */
function normal(rows: number, cols: number, stream: string): Matrix {
  const out = matrix(rows, cols);
  const random = rng(1, stream, rows, cols);
  for (let k = 0; k < out.data.length; k++) out.data[k] = (random.next() + random.next() + random.next() - 1.5) * 2;
  return out;
}
