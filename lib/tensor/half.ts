/**
 * Half-width floats: IEEE binary16 (fp16) through the language's own `Float16Array`, and bfloat16, the upper half of a float32. Every conversion to
 * a narrower float rounds once, ties to even; subnormals are kept, overflow gives infinity, NaN stays NaN (its payload does not).
 */

const half = new Float16Array(1);
const halfBits = new Uint16Array(half.buffer);
const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** The 16 bits of `x` rounded to fp16. */
export function toHalf(x: number): number {
  half[0] = x;
  return halfBits[0];
}

/** The number that 16 bits of fp16 stand for. */
export function fromHalf(bits: number): number {
  halfBits[0] = bits;
  return half[0];
}

/** `x` rounded to the nearest number that fp16 holds. */
export function roundToHalf(x: number): number {
  half[0] = x;
  return half[0];
}

/** The 16 bits of `x` rounded to bfloat16 (by way of float32, as checkpoints are written). */
export function toBfloat16(x: number): number {
  single[0] = x;
  return upperHalf(singleBits[0]);
}

/** The number that 16 bits of bfloat16 stand for. */
export function fromBfloat16(bits: number): number {
  singleBits[0] = bits << 16;
  return single[0];
}

/** fp16 bits to float32, exactly; same length. */
export function halfToFloat(bits: Uint16Array): Float32Array {
  return new Float32Array(new Float16Array(bits.buffer, bits.byteOffset, bits.length));
}

/** float32 to fp16 bits; same length. */
export function floatToHalf(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  new Float16Array(out.buffer).set(values);
  return out;
}

/** bfloat16 bits to float32, exactly; same length. */
export function bfloat16ToFloat(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return out;
}

/** Widens fp16 bits that fill the second half of the bytes of `values` into `values`, exactly. */
export function halfInPlace(values: Float32Array): void {
  const { buffer, byteOffset, length } = values;
  values.set(new Float16Array(buffer, byteOffset + 2 * length, length)); // the language copies the overlapping source
}

/** Widens bfloat16 bits that fill the second half of the bytes of `values` into `values`, exactly. */
export function bfloat16InPlace(values: Float32Array): void {
  const { buffer, byteOffset, length } = values;
  const words = new Uint32Array(buffer, byteOffset, length);
  const bits = new Uint16Array(buffer, byteOffset + 2 * length, length);
  // Word i ends at byte 4i + 4 at most where bits i end, at 2 length + 2i + 2: nothing is overwritten before it is read.
  for (let i = 0; i < length; i++) words[i] = bits[i] << 16;
}

/** float32 to bfloat16 bits; same length. */
export function floatToBfloat16(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = upperHalf(words[i]);
  return out;
}

/** The upper 16 of the 32 bits of a float, ties to even. */
function upperHalf(word: number): number {
  // A NaN whose payload sits in the lower half would otherwise round to infinity.
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}
