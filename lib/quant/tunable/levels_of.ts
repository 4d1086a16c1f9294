/** Forms whose codes stay while their levels move: what decodes is linear in each tensor of levels, and the gradient is that of this sum. */
import { decodeInto, readAdditive } from "../dense/additive.ts";
import { decodeBlock, downSampling, readSigmaDelta } from "../dense/sigma_delta.ts";
import { readSubsetSum, subsetSum } from "../dense/subset_sum.ts";
import { readTernary } from "../dense/ternary.ts";
import { levelsOf, readTwoGroups } from "../dense/two_groups.ts";
import { rotate, rotateBack, signsOf } from "../../tensor/hadamard.ts";
import type { QuantizedLinear } from "../method.ts";
import type { Scales } from "./tunable.ts";

/** A stored linear as a function of its levels. */
export interface OfLevels {
  /** As stored, float32, by the name of their tensor. */
  readonly levels: Scales;
  /** Writes the weight `[out, in]`. */
  decode(levels: Scales, W: Float32Array): void;
  /** Adds dL/dlevels to `into`, for G = dL/dW. */
  gradients(levels: Scales, G: Float32Array, into: Scales): void;
}

type Reader = (q: QuantizedLinear) => OfLevels;

/** By the name of the form. */
export const ofLevels: Readonly<Partial<Record<QuantizedLinear["format"], Reader>>> = {
  "two-groups": (q) => {
    const layer = readTwoGroups(q), { rows, cols, group } = layer;
    const each = (visit: (k: number, level: number, sign: number) => void) => {
      for (let k = 0; k < rows * cols; k++) {
        const at = Math.floor(k % cols / group) * 8 * rows + Math.floor(k / cols);
        for (const [level, sign] of levelsOf(layer, k)) visit(k, at + level * rows, sign);
      }
    };
    return {
      levels: { levels: layer.levels },
      decode({ levels }, W) {
        W.fill(0);
        each((k, at, sign) => W[k] += sign * levels[at]);
      },
      gradients: (_, G, { levels }) => each((k, at, sign) => levels[at] += sign * G[k]),
    };
  },

  ternary: (q) => {
    const { rows, cols, group, trits, scales, order } = readTernary(q), half = scales.length / 2;
    const each = (visit: (k: number, at: number, t: number) => void) => {
      for (let i = 0, p = 0; i < rows; i++) {
        for (let j = 0; j < cols; j++, p++) {
          visit(i * cols + (order ? order[j] : j), Math.floor(j / group) * rows + i, trits[p] - 1);
        }
      }
    };
    return {
      levels: { scales },
      decode: ({ scales }, W) => each((k, at, t) => W[k] = scales[half + at] + t * scales[at]),
      gradients: (_, G, { scales }) =>
        each((k, at, t) => {
          scales[at] += t * G[k];
          scales[half + at] += G[k];
        }),
    };
  },

  "subset-sum": (q) => {
    const { rows, cols, group, sums, codes, index, table } = readSubsetSum(q), groups = Math.ceil(cols / group);
    const lineOf = (k: number) => index[Math.floor(k / cols) * groups + Math.floor(k % cols / group)] * sums;
    return {
      levels: { table },
      decode({ table }, W) {
        for (let k = 0; k < rows * cols; k++) W[k] = subsetSum(table, lineOf(k), sums, codes[k]);
      },
      gradients(_, G, { table }) {
        for (let k = 0; k < rows * cols; k++) {
          for (let i = 0, line = lineOf(k); i < sums; i++) if (codes[k] >> i & 1) table[line + i] += G[k];
        }
      },
    };
  },

  additive: (q) => {
    const layer = readAdditive(q), { rows, cols, group, books, bits, codes } = layer;
    const perRow = cols / group, count = rows * perRow, size = 2 ** bits * group;
    return {
      levels: { codebooks: layer.codebooks, scales: layer.scales },
      decode: ({ codebooks, scales }, W) => decodeInto({ ...layer, codebooks, scales }, W),
      gradients({ codebooks, scales }, G, into) {
        for (let k = 0; k < count; k++) {
          const row = Math.floor(k / perRow);
          for (let m = 0; m < books; m++) {
            const at = m * size + codes[m * count + k] * group;
            for (let j = 0; j < group; j++) {
              into.codebooks[at + j] += scales[row] * G[k * group + j];
              into.scales[row] += codebooks[at + j] * G[k * group + j];
            }
          }
        }
      },
    };
  },

  "sigma-delta": (q) => {
    const layer = readSigmaDelta(q), { rows, cols, group, rate, seed, blocks } = layer;
    const half = layer.scales.length / 2, signs = signsOf(cols, seed), row = new Float64Array(cols);
    const widthOf = (b: number) => Math.min(group, cols - b * group);
    const downs = blocks.map((_, b) => downSampling(widthOf(b), rate));
    // y at the rate of the columns, once and for all: `[out, in]` before it is turned back.
    const coarse = new Float32Array(rows * cols);
    for (let i = 0; i < rows; i++) {
      blocks.forEach((codes, b) => {
        const out = row.subarray(b * group, b * group + widthOf(b));
        decodeBlock(layer, { codes, at: i * downs[b].rows, down: downs[b], scale: 1, mean: 0 }, out);
      });
      coarse.set(row, i * cols);
    }
    return {
      levels: { scales: layer.scales },
      decode({ scales }, W) {
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j < cols; j++) {
            const at = Math.floor(j / group) * rows + i;
            row[j] = scales[half + at] + scales[at] * coarse[i * cols + j];
          }
          rotateBack(row, signs);
          W.set(row, i * cols);
        }
      },
      // The rotation is orthogonal: what turns weights back turns gradients forth.
      gradients(_, G, { scales }) {
        for (let i = 0; i < rows; i++) {
          row.set(G.subarray(i * cols, (i + 1) * cols));
          rotate(row, signs);
          for (let j = 0; j < cols; j++) {
            const at = Math.floor(j / group) * rows + i;
            scales[at] += row[j] * coarse[i * cols + j];
            scales[half + at] += row[j];
          }
        }
      },
    };
  },
};
