/** Arrays one after another, as a new one of the given type. */
export function concat<T extends Uint8Array | Int32Array | Float32Array | Float64Array>(
  parts: readonly T[],
  type: new (length: number) => T,
): T {
  const out = new type(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
