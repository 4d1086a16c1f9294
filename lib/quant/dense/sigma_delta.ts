/**
 * The stored form `sigma-delta` of SDQ-LLM: per row and block of columns n' codes y of -1, 0 and 1 (or -1 and 1) at a higher rate, w = (σ y + μ resampled to
 * the block), turned back by a Hadamard matrix with random signs.
 *
 * Tensors: `codes` U8, per block y of `[out, n']`: five trits a byte, or one bit each, each block starting on a byte; `scales` F16 `[2, blocks, out]`: σ, then μ.
 * `config`: `group`, columns of a block (the last one may be narrower); `rate`, the over-sampling ratio: n' = ⌊rate · width⌋; `binary`; `seed` of the signs.
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { packedTritBytes, packTrits, unpackTrits } from "../../format/trits.ts";
import { concat } from "../../tensor/concat.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { rotateBack, signsOf } from "../../tensor/hadamard.ts";
import { type Matrix, matrix, type Matrix64 } from "../../tensor/matrix.ts";
import { resampling } from "../../tensor/resample.ts";
import type { Decoder, QuantizedLinear } from "../method.ts";
import { bytesOf, bytesTensor, checkTensors, halvesOf, halvesTensor, positiveOf } from "../tensors.ts";

/** How the codes of a linear lie. */
export interface SigmaDeltaShape {
  readonly rows: number;
  readonly cols: number;
  readonly group: number;
  readonly rate: number;
  readonly binary: boolean;
  readonly seed: number;
}

export interface SigmaDelta extends SigmaDeltaShape {
  /** y + 1 of each block `[rows, n']`, or for binary codes (y + 1) / 2. */
  readonly blocks: readonly Uint8Array[];
  /** σ `[blocks, rows]`, then μ likewise. */
  readonly scales: Float32Array;
}

/** n' of a block of `width` columns. */
export const samplesOf = (width: number, rate: number): number => Math.max(1, Math.floor(width * rate));

/** Packs a linear. Throws `ScaleOverflow` when a number is beyond fp16. */
export function storeSigmaDelta(name: string, layer: SigmaDelta, report: QuantizedLinear["report"]): QuantizedLinear {
  const { rows, cols, group, rate, binary, seed, blocks, scales } = layer;
  for (const x of scales) if (!Number.isFinite(Math.f16round(x))) throw new ScaleOverflow(x);
  const packed = blocks.map((codes) => binary ? packBits(codes, 1) : packTrits(codes));
  return {
    ...{ name, format: "sigma-delta", shape: [rows, cols], config: { group, rate, binary, seed }, report },
    tensors: { codes: bytesTensor(concat(packed, Uint8Array)), scales: halvesTensor(scales, [2, blocks.length, rows]) },
  };
}

/** Unpacks a linear. Throws `RangeError` when a tensor does not fit the shape, TypeError when one is missing. */
export function readSigmaDelta(q: QuantizedLinear): SigmaDelta {
  const [rows, cols] = q.shape, binary = q.config.binary === true, group = positiveOf(q, "group");
  const [rate, seed] = ["rate", "seed"].map((key) => Number(q.config[key]));
  if (!(rate > 0) || !Number.isSafeInteger(seed)) {
    throw new RangeError(
      `Cannot decode "${q.name}": rate is ${rate} and seed ${seed}, wanted a positive number and an integer`,
    );
  }
  const bytesFor = binary ? (count: number) => packedBytes(count, 1) : packedTritBytes;
  const counts = Array.from(
    { length: Math.ceil(cols / group) },
    (_, b) => rows * samplesOf(Math.min(group, cols - b * group), rate),
  );
  checkTensors(q, {
    codes: ["U8", counts.reduce((sum, count) => sum + bytesFor(count), 0)],
    scales: ["F16", 2, counts.length, rows],
  });
  const scales = halvesOf(q, "scales"), bytes = bytesOf(q, "codes");
  const blocks: Uint8Array[] = [];
  let byte = 0;
  for (const count of counts) {
    blocks.push(binary ? unpackBits(bytes.subarray(byte), 1, count) : unpackTrits(bytes.subarray(byte), count));
    byte += bytesFor(count);
  }
  return { rows, cols, group, rate, binary, seed, blocks, scales };
}

export const decodeSigmaDelta: Decoder = (q): Matrix => {
  const layer = readSigmaDelta(q), { rows, cols, group, rate, seed, blocks, scales } = layer;
  const W = matrix(rows, cols), half = scales.length / 2, signs = signsOf(cols, seed), row = new Float64Array(cols);
  const downs = blocks.map((_, b) => downSampling(Math.min(group, cols - b * group), rate));
  for (let i = 0; i < rows; i++) {
    blocks.forEach((codes, b) => {
      const out = row.subarray(b * group, Math.min((b + 1) * group, cols)), at = b * rows + i;
      decodeBlock(
        layer,
        { codes, at: i * downs[b].rows, down: downs[b], scale: scales[at], mean: scales[half + at] },
        out,
      );
    });
    rotateBack(row, signs);
    W.data.set(row, i * cols);
  }
  return W;
};

/** The matrix `[n', width]` that brings codes back to the columns of a block. */
export const downSampling = (width: number, rate: number): Matrix64 => resampling(samplesOf(width, rate), width);

/** σ y + μ of one row and block at the rate of the columns; before it is turned back. */
export function decodeBlock(
  { binary }: Pick<SigmaDelta, "binary">,
  { codes, at, down, scale, mean }: {
    readonly codes: Uint8Array;
    readonly at: number;
    readonly down: Matrix64;
    readonly scale: number;
    readonly mean: number;
  },
  out: Float64Array,
): void {
  out.fill(mean);
  for (let k = 0; k < down.rows; k++) {
    const y = scale * (binary ? 2 * codes[at + k] - 1 : codes[at + k] - 1);
    if (y === 0) continue;
    for (let j = 0, p = k * down.cols; j < out.length; j++, p++) out[j] += y * down.data[p];
  }
}
