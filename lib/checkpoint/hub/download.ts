/** One file of the Hub onto the disk: resumed where it was cut, and named only once its hash is right. */
import { dirname } from "@std/path";
import { Buffer } from "node:buffer";
import { createHash, type Hash } from "node:crypto";
import { pause, sizeOfFile } from "./cache.ts";

/** The Hub did not answer, or not now: another try may succeed. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

/** A file as the Hub lists it. */
export interface HubFile {
  readonly path: string;
  /** In bytes. */
  readonly size: number;
  /** Names the blob: SHA-256 of the content for large files (64 digits), git's blob SHA-1 for the others (40). */
  readonly hash: string;
}

/**
 * `fetch` for one repository: sends the token, heeds the signal, and turns every failure into an error that says what
 * to do. Throws `Unreachable` (network, 429, 5xx) or `RangeError` (401, 403, 404 and the rest).
 */
export function hubFetch(
  { fetch = globalThis.fetch, token, signal, page, what }: {
    readonly fetch?: typeof globalThis.fetch;
    readonly token: string | undefined;
    readonly signal: AbortSignal | undefined;
    /** The repository's page, where conditions are accepted. */
    readonly page: string;
    readonly what: string;
  },
): typeof globalThis.fetch {
  return async (input, init) => {
    const headers = new Headers(init?.headers);
    // A list may say that it goes on elsewhere: the token stays with the Hub.
    const home = new URL(input instanceof Request ? input.url : input).origin === new URL(page).origin;
    if (token !== undefined && home) headers.set("Authorization", `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetch(input, { ...init, headers, signal: init?.signal ?? signal });
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof TypeError)) throw error;
      throw new Unreachable(`Cannot fetch ${what}: the Hub cannot be reached (${error.message})`, { cause: error });
    }
    if (response.ok) return response;
    await response.body?.cancel();
    const { status } = response;
    const code = response.headers.get("X-Error-Code") ?? "";
    const failed = `Cannot fetch ${what}: the Hub answers ${status}${code && ` ${code}`}`;
    if (status === 429 || status >= 500) throw new Unreachable(`${failed}; try again later`);
    if (code !== "GatedRepo" && (status === 404 || code === "RepoNotFound")) {
      throw new RangeError(`${failed}; check the id and the revision, and set HF_TOKEN when it is private`);
    }
    if (status === 401 || status === 403) {
      throw new RangeError(
        `${failed}; it is gated or private: accept its conditions at ${page} and set HF_TOKEN to a token of that account`,
      );
    }
    throw new RangeError(`${failed}, wanted 200`);
  };
}

export interface Download {
  readonly file: HubFile;
  readonly url: string;
  /** Where it goes; what is not whole yet lies at `BLOB.incomplete`, as Python's does. */
  readonly blob: string;
  readonly what: string;
  readonly fetch: typeof globalThis.fetch;
  readonly signal?: AbortSignal;
  /** Called with bytes that were added to the file, or found in it; negative when bad ones are given up. */
  readonly onBytes: (count: number) => void;
  /** Milliseconds before the first new try; doubles with each that brings nothing. */
  readonly retryMs?: number;
  /** Milliseconds without a byte after which a connection counts as cut. */
  readonly stallMs?: number;
}

/** Tries in a row without a single byte before a download is given up. */
const tries = 5;

/**
 * Fetches a file. Throws `SyntaxError` when its hash is wrong (nothing is left then), `Unreachable` when the connection stays cut (what came is kept for the next run).
 */
export async function download(task: Download): Promise<void> {
  const { file, blob, what, onBytes } = task;
  const partial = `${blob}.incomplete`;
  const found = await sizeOfFile(partial) ?? 0;
  await Deno.mkdir(dirname(blob), { recursive: true });
  for (let resumed = found > 0;; resumed = false) {
    let count = 0;
    let digest: string;
    {
      using out = await Deno.open(partial, { read: true, write: true, create: true });
      const hash = startHash(file);
      count = resumed ? await hashFile(out, hash) : 0;
      if (count === 0) {
        await out.truncate(0);
        await out.seek(0, Deno.SeekMode.Start);
      }
      if (count > 0) onBytes(count);
      count = await fill(task, out, hash, count);
      await out.sync();
      digest = hash.digest("hex");
    }
    if (digest === file.hash) return await Deno.rename(partial, blob);
    await Deno.remove(partial);
    onBytes(-count);
    // A wrong beginning that an earlier run left is worth one new start; a wrong file from the Hub is not.
    if (!resumed) {
      throw new SyntaxError(
        `Cannot fetch ${what}: its hash is ${digest}, wanted ${file.hash}; it was damaged on the way: fetch it again`,
      );
    }
  }
}

/** Appends the rest of the file from byte `at` on, over as many connections as it takes; gives the size reached. */
async function fill(task: Download, out: Deno.FsFile, hash: Hash, at: number): Promise<number> {
  const { file, what, signal, onBytes, retryMs = 1000 } = task;
  for (let failures = 0; at < file.size;) {
    const before = at;
    try {
      for await (const chunk of body(task, at)) {
        if (at + chunk.length > file.size) {
          throw new SyntaxError(`Cannot fetch ${what}: more than the ${file.size} bytes listed came; fetch it again`);
        }
        for (let written = 0; written < chunk.length;) written += await out.write(chunk.subarray(written));
        hash.update(chunk);
        at += chunk.length;
        onBytes(chunk.length);
      }
      if (at < file.size) throw new Unreachable(`Cannot fetch ${what}: the connection was cut`);
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Unreachable)) throw error;
      failures = at > before ? 1 : failures + 1;
      if (failures >= tries) {
        throw new Unreachable(`${error.message}; ${at} of ${file.size} bytes are kept: run again to resume`, {
          cause: error,
        });
      }
      await pause(retryMs * 2 ** (failures - 1), signal);
    }
  }
  return at;
}

/** The bytes of the file from `at` on, over one connection. */
async function* body({ url, fetch, signal, what, stallMs = 60_000 }: Download, at: number): AsyncGenerator<Uint8Array> {
  const stalled = new AbortController();
  const either = signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal;
  const start = () => setTimeout(() => stalled.abort(), stallMs);
  let timer = start();
  const cut = (cause: unknown) => new Unreachable(`Cannot fetch ${what}: the connection was cut`, { cause });
  try {
    const response = await fetch(url, { headers: at > 0 ? { Range: `bytes=${at}-` } : {}, signal: either });
    if (response.status === 206 && !response.headers.get("Content-Range")?.startsWith(`bytes ${at}-`)) {
      await response.body?.cancel();
      throw cut(response.headers.get("Content-Range"));
    }
    let skip = response.status === 206 ? 0 : at; // a server that knows no ranges begins anew
    for await (const chunk of response.body ?? []) {
      clearTimeout(timer); // a slow disk is not a stalled connection
      const skipped = Math.min(skip, chunk.length);
      skip -= skipped;
      if (skipped < chunk.length) yield chunk.subarray(skipped);
      timer = start();
    }
  } catch (error) {
    const network = error instanceof TypeError || (stalled.signal.aborted && !signal?.aborted);
    throw network ? cut(error) : error;
  } finally {
    clearTimeout(timer);
  }
}

function startHash({ hash, size }: HubFile): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}

/** Hashes what is in `file` and gives its length. */
async function hashFile(file: Deno.FsFile, hash: Hash): Promise<number> {
  const buffer = new Uint8Array(1 << 20);
  let at = 0;
  for (let count; (count = await file.read(buffer)) !== null; at += count) {
    hash.update(Buffer.from(buffer.buffer, 0, count));
  }
  return at;
}
