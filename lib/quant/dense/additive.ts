/**
 * The stored form `additive` of AQLM: g neighbouring weights of a row are the row's scale times a sum of M vectors, one from each codebook.
 *
 * Tensors: `codes` U8, per codebook a stream of the lower 8 bits (or fewer) of the codes `[out, in / g]`, then, where codes have more, one of the bits above;
 * each stream starts on a byte. `codebooks` F16 `[M, 2^B, g]`; `scales` F16 `[out]`. `config`: `group` (g), `books` (M), `bits` (B).
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { concat } from "../../tensor/concat.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import type { Decoder, QuantizedLinear } from "../method.ts";
import { bytesOf, bytesTensor, checkTensors, halvesOf, halvesTensor, positiveOf } from "../tensors.ts";

export interface Additive {
  readonly rows: number;
  readonly cols: number;
  /** g. */
  readonly group: number;
  /** M. */
  readonly books: number;
  /** B, 1 to 16. */
  readonly bits: number;
  /** `[M, rows, cols / g]`. */
  readonly codes: Uint16Array;
  /** `[M, 2^B, g]`. */
  readonly codebooks: Float32Array;
  /** `[rows]`. */
  readonly scales: Float32Array;
}

/** Packs a linear. Throws `ScaleOverflow` when a number is beyond fp16. */
export function storeAdditive(name: string, layer: Additive, report: QuantizedLinear["report"]): QuantizedLinear {
  const { rows, cols, group, books, bits, codes, codebooks, scales } = layer, count = rows * cols / group;
  for (const part of [codebooks, scales]) {
    for (const x of part) if (!Number.isFinite(Math.f16round(x))) throw new ScaleOverflow(x);
  }
  const streams = Array.from({ length: books }, (_, m) => {
    const own = codes.subarray(m * count, (m + 1) * count);
    const low = packBits(Uint8Array.from(own, (code) => code & 0xff), Math.min(8, bits));
    return bits > 8 ? [low, packBits(Uint8Array.from(own, (code) => code >>> 8), bits - 8)] : [low];
  });
  return {
    ...{ name, format: "additive", shape: [rows, cols], config: { group, books, bits }, report },
    tensors: {
      codes: bytesTensor(concat(streams.flat(), Uint8Array)),
      codebooks: halvesTensor(codebooks, [books, 2 ** bits, group]),
      scales: halvesTensor(scales, [rows]),
    },
  };
}

/** Unpacks a linear. Throws `RangeError` when a tensor does not fit the shape, TypeError when one is missing. */
export function readAdditive(q: QuantizedLinear): Additive {
  const [rows, cols] = q.shape;
  const [group, books, bits] = ["group", "books", "bits"].map((key) => positiveOf(q, key));
  if (cols % group !== 0 || bits > 16) {
    throw new RangeError(
      `Cannot decode "${q.name}": group is ${group} and bits ${bits}, wanted a divisor of ${cols} and at most 16`,
    );
  }
  const count = rows * cols / group, low = Math.min(8, bits);
  const stream = packedBytes(count, low) + (bits > 8 ? packedBytes(count, bits - 8) : 0);
  checkTensors(q, {
    codes: ["U8", books * stream],
    codebooks: ["F16", books, 2 ** bits, group],
    scales: ["F16", rows],
  });
  const codebooks = halvesOf(q, "codebooks"), scales = halvesOf(q, "scales"), bytes = bytesOf(q, "codes");
  const codes = new Uint16Array(books * count);
  for (let m = 0, byte = 0; m < books; m++) {
    codes.set(unpackBits(bytes.subarray(byte), low, count), m * count);
    byte += packedBytes(count, low);
    if (bits <= 8) continue;
    unpackBits(bytes.subarray(byte), bits - 8, count).forEach((high, k) => codes[m * count + k] |= high << 8);
    byte += packedBytes(count, bits - 8);
  }
  return { rows, cols, group, books, bits, codes, codebooks, scales };
}

export const decodeAdditive: Decoder = (q): Matrix => {
  const layer = readAdditive(q), W = matrix(layer.rows, layer.cols);
  decodeInto(layer, W.data);
  return W;
};

/** Writes the weights `[rows, cols]`. */
export function decodeInto(
  { rows, cols, group, books, bits, codes, codebooks, scales }: Additive,
  out: Float32Array | Float64Array,
): void {
  const perRow = cols / group, count = rows * perRow, size = 2 ** bits * group;
  for (let k = 0; k < count; k++) {
    const scale = scales[Math.floor(k / perRow)];
    for (let j = 0; j < group; j++) {
      let sum = 0;
      for (let m = 0; m < books; m++) sum += codebooks[m * size + codes[m * count + k] * group + j];
      out[k * group + j] = scale * sum;
    }
  }
}
