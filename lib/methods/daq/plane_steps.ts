/** The steps of refinement (`refine.ts`) for blocks of binary planes. */
import { defineRows } from "../../tensor/row_loop.ts";
import { CHUNK, decode, nearestCode, rowScales, valueAt } from "./block.ts";
import { refitColumns, refitRows } from "./refit.ts";
import type { BlockSteps, DescendArgs } from "./refine.ts";

const descendLoop = defineRows({
  name: "daq.descend",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: DescendArgs, start, end) => {
    if (args.order === 2) return descendTwo(args, start, end);
    const { rows, width, order, codes, rowScale, colScale, form, R, sweeps } = args;
    const levels = new Float64Array(16), g = new Float64Array(width), r = new Float64Array(order);
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const at = i * width;
      rowScales(rowScale, rows, order, i, r);
      for (let j = 0; j < width; j++) g[j] = R[at + j];
      for (let sweep = 0; sweep < sweeps; sweep++) {
        let moved = false;
        for (let j = 0; j < width; j++) {
          const old = codes[at + j];
          const q = valueAt(old, r, colScale, order, width, j);
          const code = nearestCode(q + g[j] / form[j * width + j], r, colScale, order, width, j, levels);
          if (code === old) continue;
          moved = true;
          codes[at + j] = code;
          const step = valueAt(code, r, colScale, order, width, j) - q;
          for (let p = 0, h = j * width; p < width; p++, h++) g[p] -= step * form[h];
        }
        if (!moved) break;
      }
    }
  },
});

/** The same for two planes, `nearestCode` and `valueAt` written out: most codes stay, so that calls for each would take most of the time. */
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

export const planeSteps: BlockSteps = { decode, descend: descendLoop, refitRows, refitColumns };
