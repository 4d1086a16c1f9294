/** The steps of refinement (`refine.ts`) for blocks on uniform levels. */
import { defineRows } from "../../tensor/row_loop.ts";
import { CHUNK } from "./block.ts";
import { decodeBlock, inverse, nearestLevel } from "./levels_block.ts";
import { refitColumns, refitRows } from "./levels_refit.ts";
import type { BlockSteps, DescendArgs } from "./refine.ts";

const descendLoop = defineRows({
  name: "levels.descend",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: DescendArgs, start, end) => {
    const { rows, width, order, codes, rowScale, colScale, form, R, sweeps } = args;
    const top = 2 ** order - 1, g = new Float64Array(width), inverses = colScale.map(inverse);
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const at = i * width, a = rowScale[i], perA = inverse(a);
      for (let j = 0; j < width; j++) g[j] = R[at + j];
      for (let sweep = 0; sweep < sweeps; sweep++) {
        let moved = false;
        for (let j = 0; j < width; j++) {
          const old = codes[at + j];
          const best = 2 * old - top + g[j] / form[j * width + j] * perA * inverses[j];
          const code = nearestLevel(best, top);
          if (code === old) continue;
          moved = true;
          codes[at + j] = code;
          const step = 2 * (code - old) * a * colScale[j];
          for (let p = 0, h = j * width; p < width; p++, h++) g[p] -= step * form[h];
        }
        if (!moved) break;
      }
    }
  },
});

export const levelSteps: BlockSteps = { decode: decodeBlock, descend: descendLoop, refitRows, refitColumns };
