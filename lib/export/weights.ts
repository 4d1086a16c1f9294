/** The weights of a checkpoint for its exports: what quantised matrices decode to, as bytes of the wanted type, some rows in memory at a time. */
import type { Checkpoint } from "../checkpoint/open.ts";
import { encodeFloats } from "../checkpoint/save.ts";
import { QuantizedSource } from "../model/weights.ts";

export type FloatType = "F32" | "F16" | "BF16";

/** Weights that are in memory as float32 at once: 64 MiB. */
const PIECE = 2 ** 24;

/**
 * A tensor of the full-precision model as little-endian bytes of `dtype`, in pieces of whole rows, about `piece` weights each. Throws `RangeError` for a weight that is not finite
 * in that type, `SyntaxError` for a stored form that does not decode.
 */
export async function* tensorBytes(
  { source: { tensors }, stored }: Checkpoint,
  name: string,
  { shape, dtype, piece = PIECE }: {
    readonly shape: readonly number[];
    readonly dtype: FloatType;
    readonly piece?: number;
  },
): AsyncIterable<Uint8Array> {
  const q = await stored.read(name);
  const source = new QuantizedSource(tensors, () => q);
  const [rows, cols = 1] = shape;
  const step = shape.length === 2 ? Math.max(1, Math.floor(piece / cols)) : rows;
  for (let from = 0; from < rows; from += step) {
    const whole = step >= rows;
    const values = whole
      ? await source.readFloat(name)
      : await source.readRows(name, from, Math.min(from + step, rows));
    const bytes = encodeFloats(dtype, values);
    checkFinite(name, values, bytes, dtype);
    yield bytes;
  }
}

/** The largest number of a type, as the bits of its words above which a word is infinite or NaN. */
const limits = { F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80 } as const;

function checkFinite(name: string, values: Float32Array, bytes: Uint8Array, dtype: FloatType): void {
  const { buffer, byteOffset, byteLength } = bytes;
  const words = dtype === "F32"
    ? new Uint32Array(buffer, byteOffset, byteLength / 4)
    : new Uint16Array(buffer, byteOffset, byteLength / 2);
  const limit = limits[dtype], mask = dtype === "F32" ? 0x7fffffff : 0x7fff;
  for (let i = 0; i < words.length; i++) {
    if ((words[i] & mask) < limit) continue;
    throw new RangeError(
      `Cannot export "${name}" as ${dtype}: it holds ${values[i]}, which is not finite there; ` +
        (Number.isFinite(values[i]) ? "choose a wider type" : "fetch or make the checkpoint again"),
    );
  }
}
