/** The encoder of SBVR: codes and coefficients of a group by turns, each step lowering the squared error. */
import { subsetSum } from "../../quant/dense/subset_sum.ts";
import { defineRows } from "../../tensor/row_loop.ts";

const ROUNDS = 10;

/** Gives each weight the code of the nearest subset sum, and the squared error. */
export function nearest(
  w: ArrayLike<number>,
  c: ArrayLike<number>,
  codes: Uint8Array,
  at = 0,
  sums = c.length,
): number {
  const levels = Float64Array.from({ length: 2 ** sums }, (_, code) => subsetSum(c, at, sums, code));
  let loss = 0;
  for (let j = 0; j < w.length; j++) {
    let least = Infinity;
    for (let code = 0; code < levels.length; code++) {
      const d = w[j] - levels[code];
      if (d * d >= least) continue;
      least = d * d;
      codes[j] = code;
    }
    loss += least;
  }
  return loss;
}

/** The coefficients of least squares for the codes as they are; those that no code uses stay. Writes into `c`. */
export function refit(w: ArrayLike<number>, c: Float64Array, codes: Uint8Array): void {
  const K = c.length, A = new Float64Array(K * K), b = new Float64Array(K);
  for (let j = 0; j < w.length; j++) {
    for (let i = 0; i < K; i++) {
      if (!(codes[j] >> i & 1)) continue;
      b[i] += w[j];
      for (let k = 0; k < K; k++) if (codes[j] >> k & 1) A[i * K + k]++;
    }
  }
  solve(A, b, c);
}

/** c with A c = b for a symmetric A without negative eigenvalues, by Gauss–Seidel from the c that is there: no step raises the error, whatever the rank. */
function solve(A: Float64Array, b: Float64Array, c: Float64Array): void {
  const K = c.length;
  for (let sweep = 0; sweep < 50; sweep++) {
    let moved = 0;
    for (let i = 0; i < K; i++) {
      if (A[i * K + i] === 0) continue;
      let rest = b[i];
      for (let k = 0; k < K; k++) if (k !== i) rest -= A[i * K + k] * c[k];
      const next = rest / A[i * K + i];
      moved = Math.max(moved, Math.abs(next - c[i]));
      c[i] = next;
    }
    if (moved < 1e-12) return;
  }
}

/** Fits `sums` coefficients and the codes to a group, from uniform grids of both signs and from the ends of the range; gives the squared error. */
export function fitGroup(w: ArrayLike<number>, c: Float64Array, codes: Uint8Array): number {
  const K = c.length;
  let lo = 0, hi = 0;
  for (let j = 0; j < w.length; j++) {
    lo = Math.min(lo, w[j]);
    hi = Math.max(hi, w[j]);
  }
  const own = new Float64Array(K), tried = new Uint8Array(w.length);
  let least = Infinity;
  for (const shrink of [1, 0.7, 0.45]) {
    for (const [down, up] of [[lo, hi], [hi, lo]]) {
      // Powers of two over one side of the range, the last coefficient over the other: two's complement where both are alike.
      const top = 2 ** (K - 1) - 1;
      for (let i = 0; i < K; i++) own[i] = shrink * (i === K - 1 ? down : up * 2 ** i / top);
      let loss = nearest(w, own, tried);
      for (let round = 0; round < ROUNDS; round++) {
        refit(w, own, tried);
        const next = nearest(w, own, tried);
        if (next > loss * (1 - 1e-6)) break;
        loss = next;
      }
      loss = nearest(w, own, tried);
      if (loss >= least) continue;
      least = loss;
      c.set(own);
      codes.set(tried);
    }
  }
  // In the order of their size, so that alike groups have alike coefficients.
  const order = Array.from(c.keys()).sort((a, b) => Math.abs(c[a]) - Math.abs(c[b]) || c[a] - c[b]);
  c.set(order.map((i) => c[i]));
  return nearest(w, c, codes);
}

/** Free coefficients of every row of a block, `coefficients` `[rows, sums]`. */
export const freeRows = defineRows({
  name: "sbvr.free",
  module: import.meta.url,
  writes: ["coefficients", "codes", "q"],
  run: (
    { x, width, sums, coefficients, codes, q }: {
      readonly x: Float32Array;
      readonly width: number;
      readonly sums: number;
      readonly coefficients: Float64Array;
      readonly codes: Uint8Array;
      readonly q: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const c = new Float64Array(sums);
    for (let i = rowStart; i < rowEnd; i++) {
      const at = i * width, own = codes.subarray(at, at + width);
      fitGroup(x.subarray(at, at + width), c, own);
      coefficients.set(c, i * sums);
      for (let j = 0; j < width; j++) q[at + j] = subsetSum(c, 0, sums, own[j]);
    }
  },
});

/** The line of least error of every row of a block, among the `tries` nearest to its free coefficients. */
export const tableRows = defineRows({
  name: "sbvr.table",
  module: import.meta.url,
  writes: ["index", "codes", "q"],
  run: (
    { x, width, sums, table, tries, index, codes, q }: {
      readonly x: Float32Array;
      readonly width: number;
      readonly sums: number;
      readonly table: Float32Array;
      readonly tries: number;
      readonly index: Int32Array;
      readonly codes: Uint8Array;
      readonly q: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const lines = table.length / sums, c = new Float64Array(sums), distance = new Float64Array(lines);
    const tried = new Uint8Array(width);
    for (let i = rowStart; i < rowEnd; i++) {
      const at = i * width, w = x.subarray(at, at + width), own = codes.subarray(at, at + width);
      fitGroup(w, c, own);
      for (let line = 0; line < lines; line++) {
        let sum = 0;
        for (let k = 0; k < sums; k++) sum += (table[line * sums + k] - c[k]) ** 2;
        distance[line] = sum;
      }
      const near = Array.from(distance.keys()).sort((a, b) => distance[a] - distance[b] || a - b).slice(0, tries);
      let least = Infinity;
      for (const line of near) {
        const loss = nearest(w, table, tried, line * sums, sums);
        if (loss >= least) continue;
        least = loss;
        index[i] = line;
        own.set(tried);
      }
      for (let j = 0; j < width; j++) q[at + j] = subsetSum(table, index[i] * sums, sums, own[j]);
    }
  },
});
