/** Files for the format floor: a `ByteSource` over a path, and writing that never leaves half a file. */
import type { ByteSource } from "../../format/byte_source.ts";
import { parseStrictJson } from "../../format/json.ts";

/**
 * A `ByteSource` over a file. The file is opened for each read, so there is nothing to close and reads may run at the
 * same time. Rejects with Deno's own error (`NotFound`, `NotCapable`, ...) when the file cannot be opened, `TypeError`
 * when it is not a regular file.
 */
export async function fileSource(path: string): Promise<ByteSource> {
  const { size, isFile } = await Deno.stat(path);
  if (!isFile) throw new TypeError(`Cannot read ${JSON.stringify(path)}: it is not a regular file`);
  if (size < LFS_AT_MOST) checkNoPointer(path, await Deno.readTextFile(path));
  const readInto = async (offset: number, into: Uint8Array): Promise<number> => {
    using file = await Deno.open(path);
    await file.seek(offset, Deno.SeekMode.Start);
    let at = 0;
    while (at < into.length) {
      const count = await file.read(into.subarray(at));
      if (count === null) break;
      at += count;
    }
    return at;
  };
  return {
    name: path,
    size,
    readInto,
    async read(offset, length) {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
      const count = await readInto(offset, bytes);
      return count === bytes.length ? bytes : bytes.slice(0, count);
    },
  };
}

/** Files that systems leave in any folder: one that holds nothing else is empty. */
export const isLitter = (name: string): boolean => /^(\.DS_Store|\._.*|Thumbs\.db|desktop\.ini)$/i.test(name);

/** Bytes that a pointer of Git LFS stays below. */
export const LFS_AT_MOST = 1024;

/** Throws `SyntaxError` for a pointer of Git LFS, which stands where a clone did not fetch the file itself. */
export function checkNoPointer(path: string, text: string): void {
  if (!text.startsWith("version https://git-lfs.github.com/spec/")) return;
  throw new SyntaxError(
    `Cannot read ${path}: it is a pointer of Git LFS, not the file itself; run git lfs pull in that folder, or fetch it anew`,
  );
}

/** What an action on a file or folder gives; undefined where there is none. */
export async function ifThere<T>(action: Promise<T>): Promise<T | undefined> {
  try {
    return await action;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/** Reads a JSON object. Throws `SyntaxError` that names the file. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  return parseJsonObject(path, await Deno.readTextFile(path));
}

/** The JSON object in `text`, which came from `path`. Throws `SyntaxError` that names the file. */
export function parseJsonObject(path: string, text: string): Record<string, unknown> {
  checkNoPointer(path, text);
  let value: unknown;
  try {
    value = parseStrictJson(text.replace(/^\uFEFF/, "")); // the byte order mark that some editors write
  } catch (error) {
    throw new SyntaxError(`Cannot read ${path}: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new SyntaxError(`Cannot read ${path}: wanted a JSON object`);
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
