/** Plain loops over planes for two planes, `nearestCode` and `valueAt` written out: equal bit for bit, without a call for each weight. */
import { defineRows } from "../../tensor/row_loop.ts";
import { CHUNK, type DecodeArgs, type DescendArgs, type DifferenceArgs, type SolveArgs } from "./group.ts";
import { type RowSystem, solveBy } from "./refit.ts";

export const decodeTwoLoop = defineRows({
  name: "two.decode",
  module: import.meta.url,
  writes: ["out"],
  run: ({ rows, width, codes, rowScale, colScale, out }: DecodeArgs, start, end) => {
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const r0 = rowScale[i], r1 = rowScale[rows + i];
      for (let j = 0, at = i * width; j < width; j++, at++) {
        const code = codes[at];
        out[at] = ((code & 1) * 2 - 1) * r0 * colScale[j] + ((code & 2) - 1) * r1 * colScale[width + j];
      }
    }
  },
});

export const differenceTwoLoop = defineRows({
  name: "two.difference",
  module: import.meta.url,
  writes: ["out"],
  run: ({ rows, width, x, codes, rowScale, colScale, out }: DifferenceArgs, start, end) => {
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const r0 = rowScale[i], r1 = rowScale[rows + i];
      for (let j = 0, at = i * width; j < width; j++, at++) {
        const code = codes[at];
        out[at] = x[at] - (((code & 1) * 2 - 1) * r0 * colScale[j] + ((code & 2) - 1) * r1 * colScale[width + j]);
      }
    }
  },
});

/** Coordinate descent; most codes stay, so that calls for each would take most of the time. */
function descendTwo(args: DescendArgs, start: number, end: number): void {
  const { rows, width, codes, rowScale, colScale, form, R, sweeps } = args;
  const g = new Float64Array(width), pivots = new Float64Array(width);
  const c0 = colScale.slice(0, width), c1 = colScale.slice(width);
  for (let j = 0; j < width; j++) pivots[j] = form[j * width + j];
  for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
    const at = i * width, r0 = rowScale[i], r1 = rowScale[rows + i];
    for (let j = 0; j < width; j++) g[j] = R[at + j];
    for (let sweep = 0; sweep < sweeps; sweep++) {
      let moved = false;
      for (let j = 0; j < width; j++) {
        const old = codes[at + j], a = r0 * c0[j], b = r1 * c1[j];
        const q = ((old & 1) * 2 - 1) * a + ((old & 2) - 1) * b, best = q + g[j] / pivots[j];
        const large = Math.abs(a), small = Math.abs(b), y = Math.abs(best);
        const code = (large >= small ? 1 | +(y > large) << 1 : 2 | +(y > small)) ^ (-+(best <= 0) & 3) ^ +(a < 0) ^
          +(b < 0) << 1;
        if (code === old) continue;
        moved = true;
        codes[at + j] = code;
        const step = ((code & 1) * 2 - 1) * a + ((code & 2) - 1) * b - q;
        for (let p = 0, h = j * width; p < width; p++, h++) g[p] -= step * form[h];
      }
      if (!moved) break;
    }
  }
}

export const descendTwoLoop = defineRows({
  name: "two.descend",
  module: import.meta.url,
  writes: ["codes"],
  run: descendTwo,
});

/** The sums of a row's system, side by side so that none waits for itself: twice as fast as one after another. */
function sumsOfTwo(args: SolveArgs, i: number, { A, b }: RowSystem): void {
  const { rows, width, shapesOfRows: m, products, TG } = args;
  const first = i * width, second = (rows + i) * width;
  let b0 = 0, b1 = 0, a00 = 0, a01 = 0, a11 = 0;
  for (let j = 0; j < width; j++) {
    const m0 = m[first + j], m1 = m[second + j], t = TG[first + j], p0 = products[first + j];
    b0 += m0 * t;
    b1 += m1 * t;
    a00 += m0 * p0;
    a01 += m1 * p0;
    a11 += m1 * products[second + j];
  }
  b[0] = b0;
  b[1] = b1;
  A[0] = a00;
  A[1] = A[2] = a01;
  A[3] = a11;
}

export const solveTwoLoop = defineRows({
  name: "two.solveRows",
  module: import.meta.url,
  writes: ["rowScale"],
  run: solveBy(sumsOfTwo),
});
