/**
 * The stored form `subset-sum` of SBVR: K bits a weight choose which of the K coefficients of its group are added up.
 *
 * Tensors: `codes` U8, a stream of K-bit codes `[out, in]`, bit i for coefficient i; `index` U8, the line of each group, one or two little-endian bytes
 * `[out, groups, 1 or 2]`; `table` F16 `[lines, K]`. `config.group` is the width of a group of columns; the last one may be narrower.
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import type { Decoder, QuantizedLinear } from "../method.ts";
import { bytesOf, bytesTensor, checkTensors, halvesOf, halvesTensor, positiveOf } from "../tensors.ts";

export interface SubsetSum {
  readonly rows: number;
  readonly cols: number;
  /** Columns of a group. */
  readonly group: number;
  /** K. */
  readonly sums: number;
  /** `[rows, cols]`, below 2^K. */
  readonly codes: Uint8Array;
  /** The line of each group `[rows, groups]`. */
  readonly index: Int32Array;
  /** `[lines, K]`. */
  readonly table: Float32Array;
}

/** Packs a linear. Throws `ScaleOverflow` when a coefficient is beyond fp16. */
export function storeSubsetSum(name: string, layer: SubsetSum, report: QuantizedLinear["report"]): QuantizedLinear {
  const { rows, cols, group, sums, codes, index, table } = layer, lines = table.length / sums;
  for (const x of table) if (!Number.isFinite(Math.f16round(x))) throw new ScaleOverflow(x);
  const wide = lines > 256, bytes = new Uint8Array(index.length * (wide ? 2 : 1));
  index.forEach((line, g) => {
    bytes[wide ? 2 * g : g] = line & 0xff;
    if (wide) bytes[2 * g + 1] = line >>> 8;
  });
  return {
    ...{ name, format: "subset-sum", shape: [rows, cols], config: { group, sums }, report },
    tensors: {
      codes: bytesTensor(packBits(codes, sums)),
      index: bytesTensor(bytes),
      table: halvesTensor(table, [lines, sums]),
    },
  };
}

/** Unpacks a linear. Throws `RangeError` when a tensor does not fit the shape, TypeError when one is missing. */
export function readSubsetSum(q: QuantizedLinear): SubsetSum {
  const [rows, cols] = q.shape, group = positiveOf(q, "group"), sums = positiveOf(q, "sums");
  if (sums > 8) throw new RangeError(`Cannot decode "${q.name}": sums is ${sums}, wanted at most 8`);
  const count = rows * Math.ceil(cols / group), lines = q.tensors.table?.shape[0] ?? 0, wide = lines > 256;
  checkTensors(q, {
    codes: ["U8", packedBytes(rows * cols, sums)],
    index: ["U8", count * (wide ? 2 : 1)],
    table: ["F16", lines, sums],
  });
  const table = halvesOf(q, "table"), bytes = bytesOf(q, "index");
  const index = Int32Array.from({ length: count }, (_, g) => wide ? bytes[2 * g] | bytes[2 * g + 1] << 8 : bytes[g]);
  if (index.some((line) => line >= lines)) {
    throw new RangeError(`Cannot decode "${q.name}": a group has a line beyond the ${lines} of its table`);
  }
  return { rows, cols, group, sums, codes: unpackBits(bytesOf(q, "codes"), sums, rows * cols), index, table };
}

export const decodeSubsetSum: Decoder = (q): Matrix => {
  const { rows, cols, group, sums, codes, index, table } = readSubsetSum(q), groups = Math.ceil(cols / group);
  const W = matrix(rows, cols), levels = new Float32Array(2 ** sums);
  for (let i = 0; i < rows; i++) {
    for (let g = 0; g < groups; g++) {
      const line = index[i * groups + g] * sums;
      for (let code = 0; code < levels.length; code++) levels[code] = subsetSum(table, line, sums, code);
      const end = i * cols + Math.min((g + 1) * group, cols);
      for (let k = i * cols + g * group; k < end; k++) W.data[k] = levels[codes[k]];
    }
  }
  return W;
};

/** The sum of the coefficients, from place `at` on, whose bits a code has. */
export function subsetSum(table: ArrayLike<number>, at: number, sums: number, code: number): number {
  let sum = 0;
  for (let i = 0; i < sums; i++) if (code >> i & 1) sum += table[at + i];
  return sum;
}
