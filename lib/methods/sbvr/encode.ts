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
  levels = new Float64Array(2 ** sums),
): number {
  for (let code = 0; code < levels.length; code++) levels[code] = subsetSum(c, at, sums, code);
  let loss = 0;
  for (let j = 0; j < w.length; j++) {
    const x = w[j];
    let least = Infinity, best = codes[j];
    for (let code = 0; code < levels.length; code++) {
      const d = x - levels[code], own = d * d;
      if (own < least) {
        least = own;
        best = code;
      }
    }
    codes[j] = best;
    loss += least;
  }
  return loss;
}

/** The coefficients of least squares for the codes as they are; those that no code uses stay. Writes into `c`. */
export function refit(
  w: ArrayLike<number>,
  c: Float64Array,
  codes: Uint8Array,
  { A, b, counts, sums } = normalEquations(c.length),
): void {
  const K = c.length;
  A.fill(0);
  b.fill(0);
  counts.fill(0);
  sums.fill(0);
  for (let j = 0; j < w.length; j++) {
    counts[codes[j]]++;
    sums[codes[j]] += w[j];
  }
  for (let code = 0; code < counts.length; code++) {
    for (let i = 0; i < K; i++) {
      if (!(code >> i & 1)) continue;
      b[i] += sums[code];
      for (let k = 0; k < K; k++) if (code >> k & 1) A[i * K + k] += counts[code];
    }
  }
  solve(A, b, c);
}

/** Memory for `refit`: A c = b, and of each code how many weights have it and their sum. */
const normalEquations = (K: number) => ({
  A: new Float64Array(K * K),
  b: new Float64Array(K),
  counts: new Int32Array(2 ** K),
  sums: new Float64Array(2 ** K),
});

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

const SHRINKS = [1, 0.7, 0.45];

/** Fits coefficients and codes to groups of at most `width` weights, from uniform grids of both signs and from the ends of the range; gives the squared error. */
export function groupFitter(width: number, sums: number) {
  const K = sums, own = new Float64Array(K), levels = new Float64Array(2 ** K), held = new Uint8Array(width);
  const equations = normalEquations(K), top = 2 ** (K - 1) - 1;
  return (w: ArrayLike<number>, c: Float64Array, codes: Uint8Array): number => {
    const tried = held.subarray(0, w.length);
    let lo = 0, hi = 0, least = Infinity;
    for (let j = 0; j < w.length; j++) {
      lo = Math.min(lo, w[j]);
      hi = Math.max(hi, w[j]);
    }
    for (const shrink of SHRINKS) {
      for (let sign = 0; sign < 2; sign++) {
        const down = sign ? hi : lo, up = sign ? lo : hi;
        // Powers of two over one side of the range, the last coefficient over the other: two's complement where both are alike.
        for (let i = 0; i < K; i++) own[i] = shrink * (i === K - 1 ? down : up * 2 ** i / top);
        let loss = nearest(w, own, tried, 0, K, levels);
        for (let round = 0; round < ROUNDS; round++) {
          refit(w, own, tried, equations);
          const before = loss;
          loss = nearest(w, own, tried, 0, K, levels);
          if (loss > before * (1 - 1e-6)) break;
        }
        if (loss >= least) continue;
        least = loss;
        c.set(own);
        codes.set(tried);
      }
    }
    // In the order of their size, so that alike groups have alike coefficients.
    c.set(Array.from(c).sort((x, y) => Math.abs(x) - Math.abs(y) || x - y));
    return nearest(w, c, codes, 0, K, levels);
  };
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
    const c = new Float64Array(sums), fitGroup = groupFitter(width, sums);
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
    const lines = table.length / sums, most = Math.min(tries, lines), levels = new Float64Array(2 ** sums);
    const near = new Int32Array(most), distance = new Float64Array(most);
    const c = new Float64Array(sums), tried = new Uint8Array(width), fitGroup = groupFitter(width, sums);
    for (let i = rowStart; i < rowEnd; i++) {
      const at = i * width, w = x.subarray(at, at + width), own = codes.subarray(at, at + width);
      fitGroup(w, c, own);
      // The nearest lines in order; of equal ones the first.
      distance.fill(Infinity);
      for (let line = 0; line < lines; line++) {
        let sum = 0;
        for (let k = 0; k < sums; k++) sum += (table[line * sums + k] - c[k]) ** 2;
        if (sum >= distance[most - 1]) continue;
        let place = most - 1;
        for (; place > 0 && sum < distance[place - 1]; place--) {
          distance[place] = distance[place - 1];
          near[place] = near[place - 1];
        }
        distance[place] = sum;
        near[place] = line;
      }
      let least = Infinity;
      for (const line of near) {
        const loss = nearest(w, table, tried, line * sums, sums, levels);
        if (loss >= least) continue;
        least = loss;
        index[i] = line;
        own.set(tried);
      }
      for (let j = 0; j < width; j++) q[at + j] = subsetSum(table, index[i] * sums, sums, own[j]);
    }
  },
});
