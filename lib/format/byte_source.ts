/** How this floor reads bytes: a file, a memory buffer or a remote range, always given from outside. */
export interface ByteSource {
  /** What messages call it: a path or an address. */
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  /** Exactly the bytes [offset, offset + length), in an array of their own; fewer only when the source ends early. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Fills `into` from `offset` on and gives the number of bytes: fewer only when the source ends early. */
  readInto?(offset: number, into: Uint8Array): Promise<number>;
}

/** A `ByteSource` over bytes in memory; `read` copies. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
  };
}

/** Fills `into` from a source, in place where the source can; gives the number of bytes. */
export async function readInto(source: ByteSource, offset: number, into: Uint8Array): Promise<number> {
  if (source.readInto) return await source.readInto(offset, into);
  const bytes = await source.read(offset, into.length);
  into.set(bytes);
  return bytes.length;
}
