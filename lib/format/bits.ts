/** Bit packing: small codes as one stream of bits, least significant bit first, no padding between codes. */

/**
 * Packs `codes` (each below 2^bits) into ceil(count * bits / 8) bytes: code i occupies stream bits i * bits to (i + 1)
 * * bits - 1, where stream bit n is bit n % 8 of byte n >> 3; the unused bits of the last byte are zero. Throws
 * `RangeError` when `bits` is not 1 to 8 or a code does not fit.
 */
export function packBits(codes: Uint8Array, bits: number): Uint8Array {
  checkBits("pack", bits);
  const out = new Uint8Array(packedBytes(codes.length, bits));
  const limit = 1 << bits;
  let pending = 0; // bits not yet written, at most 7 + 8 of them
  let held = 0;
  let at = 0;
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code >= limit) {
      throw new RangeError(`Cannot pack codes into ${bits} bits: code ${i} is ${code}, wanted at most ${limit - 1}`);
    }
    pending |= code << held;
    held += bits;
    if (held >= 8) {
      out[at++] = pending & 0xff;
      pending >>>= 8;
      held -= 8;
    }
  }
  if (held > 0) out[at] = pending;
  return out;
}

/**
 * The first `count` codes of a stream written by `packBits`. Throws `RangeError` when `bits` is not 1 to 8, `count` is
 * not a non-negative integer, or the stream is shorter than `count` codes.
 */
export function unpackBits(bytes: Uint8Array, bits: number, count: number): Uint8Array {
  checkBits("unpack", bits);
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new RangeError(`Cannot unpack codes: count is ${count}, wanted a non-negative integer`);
  }
  const needed = packedBytes(count, bits);
  if (bytes.length < needed) {
    throw new RangeError(
      `Cannot unpack ${count} codes of ${bits} bits: ${bytes.length} bytes given, wanted at least ${needed}`,
    );
  }
  const out = new Uint8Array(count);
  const mask = (1 << bits) - 1;
  let pending = 0;
  let held = 0;
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (held < bits) {
      pending |= bytes[at++] << held;
      held += 8;
    }
    out[i] = pending & mask;
    pending >>>= bits;
    held -= bits;
  }
  return out;
}

/** Bytes that `packBits` uses for `count` codes of `bits` bits. */
export function packedBytes(count: number, bits: number): number {
  return Math.ceil((count * bits) / 8);
}

function checkBits(action: string, bits: number): void {
  if (!Number.isInteger(bits) || bits < 1 || bits > 8) {
    throw new RangeError(`Cannot ${action} codes: bits is ${bits}, wanted an integer from 1 to 8`);
  }
}
