/**
 * The stored form of uniform grids, format "uniform". Tensors: `codes` U8, one stream of `bits`-bit codes in row-major order, least significant bit
 * first; `scales` F16 `[out, groups]`; `zeros` U8, a stream of `bits`-bit zero points `[out, groups]`, absent for symmetric grids (z = 2^(bits - 1));
 * `in_scale` F16 `[in]`, absent without: what stands in the codes is W diag(in_scale), so that the weight is s (q - z) / in_scale. `g_idx` U8, the group of each column as one or two little-endian bytes `[in, 1 or 2]`, absent when group g is columns [g · group, (g + 1) · group).
 * `config`: `bits`, `group`, `symmetric`; `scaled` and `indexed`, true where there are `in_scale` and `g_idx`.
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { floatToHalf, halfToFloat } from "../../tensor/half.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import type { Decoder, QuantizedLinear, StoredTensor } from "../method.ts";
import { checkTensors, positiveOf } from "../tensors.ts";

/** A uniform layer, unpacked. */
export interface UniformLayer {
  readonly rows: number;
  readonly cols: number;
  readonly bits: number;
  /** Columns per group; the last group may be short. */
  readonly group: number;
  readonly symmetric: boolean;
  /** `[rows, cols]`, each below 2^bits. */
  readonly codes: Uint8Array;
  /** `[rows, groups]` float32. */
  readonly scales: Float32Array;
  /** `[rows, groups]`. */
  readonly zeros: Uint8Array;
  /** The group of each column `[cols]`, when groups are not runs of neighbouring columns. */
  readonly groupOf?: Int32Array;
  /** Factors of the columns `[cols]` float32, numbers of fp16. */
  readonly inScale?: Float32Array;
}

/** Packs a layer; scales are rounded to fp16. Throws `RangeError` when a scale is beyond fp16. */
export function storeUniform(name: string, layer: UniformLayer, report: QuantizedLinear["report"]): QuantizedLinear {
  const { rows, cols, bits, group, symmetric, codes, scales, zeros, groupOf, inScale } = layer;
  const groups = Math.ceil(cols / group);
  const halves = floatToHalf(scales);
  const beyond = halves.findIndex((bits) => (bits & 0x7c00) === 0x7c00);
  if (beyond >= 0) {
    throw new RangeError(
      `Cannot store the scales of "${name}": ${new ScaleOverflow(scales[beyond]).message}`,
    );
  }
  const tensors: Record<string, StoredTensor> = {
    codes: stream(codes, bits),
    scales: { dtype: "F16", shape: [rows, groups], bytes: new Uint8Array(halves.buffer) },
  };
  if (!symmetric) tensors.zeros = stream(zeros, bits);
  if (groupOf) tensors.g_idx = storeIndices(groupOf, groups);
  if (inScale) tensors.in_scale = { dtype: "F16", shape: [cols], bytes: new Uint8Array(floatToHalf(inScale).buffer) };
  const config = {
    ...{ bits, group, symmetric },
    ...(groupOf ? { indexed: true } : {}),
    ...(inScale ? { scaled: true } : {}),
  };
  return { name, format: "uniform", shape: [rows, cols], config, tensors, report };
}

/** Throws unless the tensors are those of a uniform layer, each of its type and shape: see `checkTensors`. */
export function checkUniformTensors(q: QuantizedLinear): void {
  const { shape: [rows, cols], config, tensors } = q, bits = positiveOf(q, "bits");
  const groups = Math.ceil(cols / positiveOf(q, "group"));
  checkTensors(q, {
    codes: ["U8", packedBytes(rows * cols, bits)],
    scales: ["F16", rows, groups],
    ...(config.symmetric === true ? {} : { zeros: ["U8", packedBytes(rows * groups, bits)] }),
    ...(tensors.g_idx || config.indexed === true ? { g_idx: ["U8", cols, groups <= 256 ? 1 : 2] } : {}),
    ...(tensors.in_scale || config.scaled === true ? { in_scale: ["F16", cols] } : {}),
  });
}

/** Unpacks a layer stored by `storeUniform`: what a kernel for packed weights is filled from. Throws as `checkUniformTensors`. */
export function readUniform(q: QuantizedLinear): UniformLayer {
  checkUniformTensors(q);
  const { shape: [rows, cols], config, tensors } = q;
  const bits = Number(config.bits), group = Number(config.group), symmetric = config.symmetric === true;
  const count = rows * Math.ceil(cols / group);
  const scales = halfToFloat(new Uint16Array(tensors.scales.bytes.slice().buffer));
  const codes = unpackBits(tensors.codes.bytes, bits, rows * cols);
  const zeros = symmetric ? new Uint8Array(count).fill(2 ** (bits - 1)) : unpackBits(tensors.zeros.bytes, bits, count);
  const groupOf = tensors.g_idx && readIndices(tensors.g_idx), groups = Math.ceil(cols / group);
  if (groupOf?.some((g) => g >= groups)) {
    throw new RangeError(`Cannot decode "${q.name}": g_idx has a group beyond the ${groups} of its columns`);
  }
  const inScale = tensors.in_scale && halfToFloat(new Uint16Array(tensors.in_scale.bytes.slice().buffer));
  return { rows, cols, bits, group, symmetric, codes, scales, zeros, groupOf, ...(inScale && { inScale }) };
}

/** The weight that a stored uniform layer stands for: s (q - z), exact in float32, and that by factors of the columns where there are some. */
export const decodeUniform: Decoder = (q): Matrix => {
  const { rows, cols, group, codes, scales, zeros, groupOf, inScale } = readUniform(q);
  const groups = Math.ceil(cols / group);
  const W = matrix(rows, cols), out = W.data;
  for (let i = 0; i < rows; i++) {
    if (groupOf) {
      for (let j = 0, p = i * cols; j < cols; j++, p++) {
        const at = i * groups + groupOf[j];
        out[p] = scales[at] * (codes[p] - zeros[at]);
      }
      continue;
    }
    for (let g = 0; g < groups; g++) {
      const scale = scales[i * groups + g], zero = zeros[i * groups + g];
      const end = i * cols + Math.min((g + 1) * group, cols);
      for (let p = i * cols + g * group; p < end; p++) out[p] = scale * (codes[p] - zero);
    }
  }
  if (inScale) { for (let p = 0; p < out.length; p++) out[p] /= inScale[p % cols]; }
  return W;
};

function stream(codes: Uint8Array, bits: number): StoredTensor {
  const bytes = packBits(codes, bits);
  return { dtype: "U8", shape: [bytes.length], bytes };
}

function storeIndices(groupOf: Int32Array, groups: number): StoredTensor {
  const width = groups <= 256 ? 1 : 2;
  const bytes = new Uint8Array(groupOf.length * width);
  for (let j = 0; j < groupOf.length; j++) {
    bytes[j * width] = groupOf[j] & 0xff;
    if (width === 2) bytes[j * width + 1] = groupOf[j] >>> 8;
  }
  return { dtype: "U8", shape: [groupOf.length, width], bytes };
}

function readIndices({ shape: [cols, width], bytes }: StoredTensor): Int32Array {
  return Int32Array.from({ length: cols }, (_, j) => bytes[j * width] | (width === 2 ? bytes[j * width + 1] << 8 : 0));
}
