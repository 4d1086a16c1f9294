/** Files for the format floor: a `ByteSource` over a path, and writing that never leaves half a file. */
import type { ByteSource } from "../format/byte_source.ts";

/**
 * A `ByteSource` over a file. The file is opened for each read, so there is nothing to close and reads may run at the
 * same time. Rejects with Deno's own error (`NotFound`, `NotCapable`, ...) when the file cannot be opened, `TypeError`
 * when it is not a regular file.
 */
export async function fileSource(path: string): Promise<ByteSource> {
  const { size, isFile } = await Deno.stat(path);
  if (!isFile) throw new TypeError(`Cannot read ${JSON.stringify(path)}: it is not a regular file`);
  return {
    name: path,
    size,
    async read(offset, length) {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
      using file = await Deno.open(path);
      await file.seek(offset, Deno.SeekMode.Start);
      let at = 0;
      while (at < bytes.length) {
        const count = await file.read(bytes.subarray(at));
        if (count === null) return bytes.slice(0, at);
        at += count;
      }
      return bytes;
    },
  };
}

/**
 * Writes `chunks` to `path` so that a reader sees the old file or the whole new one: they go to a temporary name in the
 * same folder, are flushed to the disk, and are then renamed. On an error or an abort the temporary file is removed and
 * `path` is as it was.
 */
export async function writeFileAtomic(
  path: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID()}.part`;
  try {
    {
      using file = await Deno.open(temporary, { write: true, createNew: true });
      for await (const chunk of chunks) {
        signal?.throwIfAborted();
        let at = 0;
        while (at < chunk.length) at += await file.write(chunk.subarray(at));
      }
      await file.sync();
    }
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {}); // the first error is the one to report
    throw error;
  }
}
