/**
 * The data-aware quantiser on uniform levels: DAQ of Quant-dLLM under the constraint a^1 = 2 a^2 = 4 a^3 with one column scale (Eq. 3), which the
 * kernels for uniform codes run at full speed and which stores half the scales. Fitted as DAQ is, to the weights (Eq. 6) or to the output error (Eq. 4).
 */
import type { Method } from "../../quant/method.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import {
  CHUNK,
  chunks,
  decodeLoop,
  type DescendArgs,
  type Group,
  type GroupKind,
  type PlaneArgs,
  type SolveArgs,
} from "./group.ts";
import { groupwise } from "./daq.ts";
import { type DaqOptions, nameOf } from "./options.ts";
import { planes } from "./planes.ts";
import { recodeBy, rescaleBy, type RowCodes } from "./rsr.ts";

// a of the best 2^K uniform levels of a Gaussian in units of its mean magnitude, K = 1, 2, 3 (Max 1960: half the steps .9957 and .5860, and 2/pi's root).
const START = [1, 0.6240, 0.3672];

/** The code of the odd number in -top..top, top = 2^K - 1, that is nearest to `y`: w / (a c) for a weight w. */
export function nearestLevel(y: number, top: number): number {
  const code = Math.floor(0.5 * (y + top + 1));
  return code < 0 ? 0 : code > top ? top : code;
}

/** 1 / a, or 0 where a vanishes: all levels coincide there and any code will do. */
function inverse(scale: number): number {
  return Math.abs(scale) > 1e-30 ? 1 / scale : 0;
}

/** The nearest codes of each row. */
function codesOfRow({ width, order, x, codes, rowScale, colScale, recode }: PlaneArgs): RowCodes {
  if (recode === "none") return {};
  const inverses = colScale.map(inverse), top = 2 ** order - 1;
  return {
    before: (i) => {
      const a = inverse(rowScale[i]);
      for (let j = 0, at = i * width; j < width; j++, at++) codes[at] = nearestLevel(x[at] * a * inverses[j], top);
    },
  };
}

export const levelRecodeLoop = defineRows({
  name: "levels.recode",
  module: import.meta.url,
  writes: ["codes"],
  run: recodeBy(codesOfRow),
});

export const levelRescaleLoop = defineRows({
  name: "levels.rescale",
  module: import.meta.url,
  writes: ["codes", "rowScale", "partial"],
  run: rescaleBy(codesOfRow),
});

/** First scales: a_i in proportion to mean_j |x|, c_j = mean_i |x| / mean_j |x|. */
function startScales({ rows, width, order, x, rowScale, colScale }: Group): void {
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += Math.abs(x[i * width + j]);
    const mean = sum / width, perMean = inverse(mean);
    for (let j = 0; j < width; j++) colScale[j] += Math.abs(x[i * width + j]) * perMean / rows;
    rowScale[i] = START[order - 1] * mean;
  }
}

/** a_i = m (T G)ᵀ / (m G mᵀ), m = c o z_i. */
export const levelSolveLoop = defineRows({
  name: "levels.solveRows",
  module: import.meta.url,
  writes: ["rowScale"],
  run: ({ rows, width, rowScale, shapesOfRows: m, products, TG }: SolveArgs, start, end) => {
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      let over = 0, under = 0;
      for (let j = 0, at = i * width; j < width; j++, at++) {
        over += m[at] * TG[at];
        under += m[at] * products[at];
      }
      if (under > 0) rowScale[i] = over / under;
    }
  },
});

/** Coordinate descent, in units of the levels of each entry. */
export const levelDescendLoop = defineRows({
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

/** Bit k of a code is the sign of plane k, which has the row scales 2^k a; with a copy of the scales. */
function asPlanes(group: Group): Group {
  const { rows, width, order, rowScale, colScale } = group;
  const tied = { rowScale: new Float64Array(order * rows), colScale: new Float64Array(order * width) };
  for (let k = 0; k < order; k++) {
    for (let i = 0; i < rows; i++) tied.rowScale[k * rows + i] = 2 ** k * rowScale[i];
    tied.colScale.set(colScale, k * width);
  }
  return { ...group, shapes: planes.shapes(order), ...tied };
}

/** Q_ij = a_i c_j z_ij, z = 2q - (2^K - 1) for codes q of K = 1 to 3 bits. */
export const uniformLevels: GroupKind = {
  method: "levels",
  parts: "levels",
  format: "levels",
  mostBits: 3,
  epsilon: 0,
  recodesRounded: true,
  addsLosses: false,
  shapes: (order) => Float64Array.from({ length: 2 ** order }, (_, code) => 2 * code - (2 ** order - 1)),
  start: async (group, { plane, kernels }) => {
    startScales(group);
    const args = { ...group, plane, active: 1, recode: "joint" } as const;
    await kernels.rows(levelRecodeLoop, chunks(group.rows), args, { costPerRow: 8 * CHUNK * group.width });
  },
  recode: () => "joint",
  asPlanes,
  loops: {
    recode: levelRecodeLoop,
    rescale: levelRescaleLoop,
    decode: decodeLoop,
    difference: planes.loops.difference,
    inTurn: planes.loops.inTurn,
    solveRows: levelSolveLoop,
    descend: levelDescendLoop,
  },
  twoPlanes: { difference: planes.twoPlanes?.difference, inTurn: planes.twoPlanes?.inTurn },
};

/** DAQ's options. Codes have no signs to choose plane by plane: the profile `paper` and `signs` have no meaning here. */
export interface LevelsOptions extends Omit<DaqOptions, "signs" | "profile"> {
  /** Bits of a code, 1 to 3, or an allocation to groups. An allocation gated by measurement measures groups of binary planes. */
  readonly bits: DaqOptions["bits"];
  readonly profile?: "official" | "plus";
}

/**
 * DAQ on uniform levels as a method: one uniform code per weight where DAQ has K planes, so that it runs as one product.
 *
 * @throws RangeError when `bits` is not 1 to 3 or may give a group more, `group` not a positive integer or the profile unknown; from `quantize`, TypeError when W and H do not
 * fit, RangeError when an allotment does not know the linear. When no damping makes H positive definite the codes are fitted to the weights alone, and
 * `report.fallback` says so.
 *
 * @example
 * ```ts
 * import { levels, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const calibration = simulateMasks(corpus, { maskId: model.maskId, seed: 1 });
 * const quantized = await quantize(model, levels({ bits: 2, group: 32 }), { calibration });
 * ```
 */
export function levels(options: LevelsOptions): Method {
  const { profile = "plus" } = options;
  if (profile !== "plus" && profile !== "official") {
    throw new RangeError(`Cannot make levels with profile ${JSON.stringify(profile)}: wanted plus or official`);
  }
  const name = nameOf(options).replace(`daq-${profile}-`, `daq-${profile}-levels-`);
  return groupwise(uniformLevels, options, { name });
}
