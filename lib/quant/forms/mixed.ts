/**
 * The stored form `mixed`: uniform codes whose width differs from group to group of columns, the same for all rows,
 *
 *   w = s (q - z) for groups of 2 bits and more,   w = μ + s (2 q - 1) for groups of one bit.
 *
 * Tensors: `widths` U8, bits - 1 of each group in 2 bits; `codes` U8, per group `[rows, width]` codes, each group starting on a byte; `scales` F16
 * `[groups, rows]`; `zeros` U8, per group of 2 bits and more a stream of `[rows]` zero points of as many bits, each starting on a byte; `means` F16, μ of the
 * groups of one bit `[those groups, rows]`. `config.group` is the width of a group; the last one may be narrower.
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { concat } from "../../tensor/concat.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import type { Decoder, QuantizedLinear } from "../method.ts";
import { bytesOf, bytesTensor, checkTensor, checkTensors, halvesOf, halvesTensor } from "../tensors.ts";
import { groupOf } from "./grouped.ts";

/** A group of columns, unpacked. */
export interface MixedGroup {
  readonly start: number;
  readonly width: number;
  /** 1 to 4. */
  readonly bits: number;
  /** `[rows, width]`. */
  readonly codes: Uint8Array;
  /** `[rows]`. */
  readonly scales: Float32Array;
  /** z `[rows]`; zero for a group of one bit. */
  readonly zeros: Uint8Array;
  /** μ `[rows]` of a group of one bit. */
  readonly means?: Float32Array;
}

/** Packs a linear from its groups in column order. Throws `ScaleOverflow` when a number is beyond fp16. */
export function storeMixed(
  name: string,
  { rows, cols, group, groups }: {
    readonly rows: number;
    readonly cols: number;
    readonly group: number;
    readonly groups: readonly MixedGroup[];
  },
  report: QuantizedLinear["report"],
): QuantizedLinear {
  const many = groups.filter(({ bits }) => bits > 1), single = groups.filter(({ bits }) => bits === 1);
  const scales = concat(groups.map(({ scales }) => scales), Float32Array);
  const means = concat(single.map(({ means }) => means!), Float32Array);
  for (const x of [...scales, ...means]) if (!Number.isFinite(Math.f16round(x))) throw new ScaleOverflow(x);
  const zeros = many.map(({ zeros, bits }) => packBits(zeros, bits));
  return {
    ...{ name, format: "mixed", shape: [rows, cols], config: { group }, report },
    tensors: {
      widths: bytesTensor(packBits(Uint8Array.from(groups, ({ bits }) => bits - 1), 2)),
      codes: bytesTensor(concat(groups.map(({ codes, bits }) => packBits(codes, bits)), Uint8Array)),
      scales: halvesTensor(scales, [groups.length, rows]),
      ...(many.length > 0 ? { zeros: bytesTensor(concat(zeros, Uint8Array)) } : {}),
      ...(single.length > 0 ? { means: halvesTensor(means, [single.length, rows]) } : {}),
    },
  };
}

/** Bits of the codes of each group, in column order. */
export function widthsOf(q: QuantizedLinear): number[] {
  const count = Math.ceil(q.shape[1] / groupOf(q));
  checkTensor(q, "widths", ["U8", packedBytes(count, 2)]);
  return Array.from(unpackBits(bytesOf(q, "widths"), 2, count), (code) => code + 1);
}

/** Unpacks a linear. Throws `RangeError` when a tensor does not fit the shape, TypeError when one is missing. */
export function readMixed(q: QuantizedLinear): MixedGroup[] {
  const [rows, cols] = q.shape, group = groupOf(q), widths = widthsOf(q);
  const many = widths.filter((bits) => bits > 1), single = widths.length - many.length;
  const sum = (numbers: readonly number[]) => numbers.reduce((total, n) => total + n, 0);
  checkTensors(q, {
    widths: ["U8", packedBytes(widths.length, 2)],
    codes: ["U8", sum(widths.map((bits, b) => packedBytes(rows * Math.min(group, cols - b * group), bits)))],
    scales: ["F16", widths.length, rows],
    ...(many.length > 0 ? { zeros: ["U8", sum(many.map((bits) => packedBytes(rows, bits)))] } : {}),
    ...(single > 0 ? { means: ["F16", single, rows] } : {}),
  });
  const codes = bytesOf(q, "codes"), scales = halvesOf(q, "scales");
  const zeros = many.length > 0 ? bytesOf(q, "zeros") : new Uint8Array();
  const means = single > 0 ? halvesOf(q, "means") : new Float32Array();
  let byte = 0, zero = 0, mean = 0;
  return widths.map((bits, b): MixedGroup => {
    const start = b * group, width = Math.min(group, cols - start);
    const own = { start, width, bits, codes: unpackBits(codes.subarray(byte), bits, rows * width) };
    byte += packedBytes(rows * width, bits);
    const scale = scales.subarray(b * rows, (b + 1) * rows);
    if (bits === 1) {
      mean += rows;
      return { ...own, scales: scale, zeros: new Uint8Array(rows), means: means.subarray(mean - rows, mean) };
    }
    zero += packedBytes(rows, bits);
    return { ...own, scales: scale, zeros: unpackBits(zeros.subarray(zero - packedBytes(rows, bits)), bits, rows) };
  });
}

export const decodeMixed: Decoder = (q): Matrix => {
  const [rows, cols] = q.shape, W = matrix(rows, cols);
  for (const { start, width, bits, codes, scales, zeros, means } of readMixed(q)) {
    for (let i = 0, k = 0; i < rows; i++) {
      for (let j = 0; j < width; j++, k++) {
        W.data[i * cols + start + j] = bits === 1
          ? means![i] + scales[i] * (2 * codes[k] - 1)
          : scales[i] * (codes[k] - zeros[i]);
      }
    }
  }
  return W;
};
