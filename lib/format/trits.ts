/** Ternary packing: five trits a byte, the first one least significant. */

/** Packs `trits`, each 0, 1 or 2, into ceil(count / 5) bytes. Throws `RangeError` for any other number. */
export function packTrits(trits: Uint8Array): Uint8Array {
  const out = new Uint8Array(packedTritBytes(trits.length));
  for (let i = trits.length - 1; i >= 0; i--) {
    if (trits[i] > 2) throw new RangeError(`Cannot pack trits: number ${i} is ${trits[i]}, wanted 0, 1 or 2`);
    const at = Math.floor(i / 5);
    out[at] = 3 * out[at] + trits[i];
  }
  return out;
}

/** The first `count` trits of bytes written by `packTrits`. Throws `RangeError` when they are too few, or hold what five trits cannot. */
export function unpackTrits(bytes: Uint8Array, count: number): Uint8Array {
  const needed = packedTritBytes(count);
  if (bytes.length < needed) {
    throw new RangeError(`Cannot unpack ${count} trits: ${bytes.length} bytes given, wanted at least ${needed}`);
  }
  const out = new Uint8Array(count);
  for (let i = 0, left = 0; i < count; i++) {
    if (i % 5 === 0) left = bytes[i / 5];
    if (left > 242) throw new RangeError(`Cannot unpack trits: byte ${i / 5} is ${left}, wanted at most 242`);
    out[i] = left % 3;
    left = (left - out[i]) / 3;
  }
  return out;
}

/** Bytes that `packTrits` uses for `count` trits. */
export function packedTritBytes(count: number): number {
  return Math.ceil(count / 5);
}
