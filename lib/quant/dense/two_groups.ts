/**
 * The stored form `two-groups` of BiLLM. Per block of columns and row, a salient column is μ₁ + α₁ s + μ₂ + α₂ s' (a sign and the sign of what it leaves), any
 * other weight μ_g + α_g s, g being its group.
 *
 * Tensors: `signs` U8, s of every weight `[out, in]`; `seconds` U8, s' in salient columns and g elsewhere `[out, in]`; `salient` U8, a bit for each column;
 * `levels` F16 `[blocks, 8, out]`: μ and α of group 0, of group 1, of the salient sign and of its second sign. `config.group` is the width of a block; the last
 * one may be narrower. That is 3 bits per weight at 128 columns, and one bit per column.
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import type { Decoder, QuantizedLinear } from "../method.ts";
import { bytesOf, bytesTensor, checkTensors, halvesOf, halvesTensor, positiveOf } from "../tensors.ts";

export interface TwoGroups {
  readonly rows: number;
  readonly cols: number;
  /** Columns of a block. */
  readonly group: number;
  /** `[rows, cols]`: 1 for a sign of +1. */
  readonly signs: Uint8Array;
  /** `[rows, cols]`. */
  readonly seconds: Uint8Array;
  /** `[cols]`. */
  readonly salient: Uint8Array;
  /** `[blocks, 8, rows]`. */
  readonly levels: Float32Array;
}

/** Packs a linear. Throws `ScaleOverflow` when a number is beyond fp16. */
export function storeTwoGroups(name: string, layer: TwoGroups, report: QuantizedLinear["report"]): QuantizedLinear {
  const { rows, cols, group, signs, seconds, salient, levels } = layer;
  for (const x of levels) if (!Number.isFinite(Math.f16round(x))) throw new ScaleOverflow(x);
  return {
    ...{ name, format: "two-groups", shape: [rows, cols], config: { group }, report },
    tensors: {
      signs: bytesTensor(packBits(signs, 1)),
      seconds: bytesTensor(packBits(seconds, 1)),
      salient: bytesTensor(packBits(salient, 1)),
      levels: halvesTensor(levels, [Math.ceil(cols / group), 8, rows]),
    },
  };
}

/** Unpacks a linear. Throws `RangeError` when a tensor does not fit the shape, TypeError when one is missing. */
export function readTwoGroups(q: QuantizedLinear): TwoGroups {
  const [rows, cols] = q.shape, group = positiveOf(q, "group"), signs = packedBytes(rows * cols, 1);
  checkTensors(q, {
    signs: ["U8", signs],
    seconds: ["U8", signs],
    salient: ["U8", packedBytes(cols, 1)],
    levels: ["F16", Math.ceil(cols / group), 8, rows],
  });
  const bits = (tensor: string, count: number) => unpackBits(bytesOf(q, tensor), 1, count);
  return {
    ...{ rows, cols, group, signs: bits("signs", rows * cols), seconds: bits("seconds", rows * cols) },
    ...{ salient: bits("salient", cols), levels: halvesOf(q, "levels") },
  };
}

export const decodeTwoGroups: Decoder = (q): Matrix => {
  const layer = readTwoGroups(q), { rows, cols, group, levels } = layer;
  const { signs, seconds, salient } = layer, W = matrix(rows, cols);
  const values = new Float64Array(8);
  for (let i = 0; i < rows; i++) {
    for (let start = 0; start < cols; start += group) {
      const at = start / group * 8 * rows + i;
      for (let code = 0; code < 8; code++) {
        values[code] = 0;
        for (const [level, factor] of taken[code]) values[code] += factor * levels[at + level * rows];
      }
      for (let j = start, k = i * cols + start; j < Math.min(start + group, cols); j++, k++) {
        W.data[k] = values[salient[j] << 2 | seconds[k] << 1 | signs[k]];
      }
    }
  }
  return W;
};

/** Which of the eight levels of its block weight k takes, and with which sign. */
export function levelsOf(
  { cols, signs, seconds, salient }: TwoGroups,
  k: number,
): readonly (readonly [level: number, sign: number])[] {
  return taken[salient[k % cols] << 2 | seconds[k] << 1 | signs[k]];
}

const taken = Array.from({ length: 8 }, (_, code): [number, number][] => {
  const second = code >> 1 & 1, s = 2 * (code & 1) - 1;
  return code >> 2 ? [[4, 1], [5, s], [6, 1], [7, 2 * second - 1]] : [[2 * second, 1], [2 * second + 1, s]];
});
