/** The weights beside an ONNX model: files that its initializers point into. They appear under their names only when all of them are whole. */
import { join } from "@std/path";

/** Where the bytes of an initializer lie. */
export interface Place {
  /** Name of the file, in the model's folder. */
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

export interface DataOptions {
  /** Largest file; browsers and 32-bit runtimes want less than 2 GB. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
  /** Bytes written so far. */
  readonly onProgress?: (done: number) => void;
}

/** Offsets are multiples of this, so that runtimes can map weights into memory. */
const PAGE = 4096;

export class DataFiles implements AsyncDisposable {
  readonly #files: { readonly name: string; readonly temporary: string }[] = [];
  #open?: Deno.FsFile;
  #at = 0;
  #done = 0;

  /** Files `${stem}`, `${stem}.1`, ... in `dir`. */
  constructor(readonly dir: string, readonly stem: string, readonly options: DataOptions = {}) {}

  /** Appends `length` bytes that come in pieces. Throws `RangeError` when they fit into no file, `TypeError` when there are more or fewer. */
  async append(
    name: string,
    pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    { length }: { readonly length: number },
  ): Promise<Place> {
    const { maxBytes = Infinity, signal, onProgress } = this.options;
    if (length > maxBytes) {
      throw new RangeError(
        `Cannot export "${name}": it takes ${length} bytes, a data file may take ${maxBytes}; allow at least ${length}`,
      );
    }
    let offset = Math.ceil(this.#at / PAGE) * PAGE;
    if (!this.#open || offset + length > maxBytes) {
      await this.#next();
      offset = 0;
    }
    const file = this.#files.at(-1)!;
    await this.#write(new Uint8Array(offset - this.#at));
    for await (const piece of pieces) {
      signal?.throwIfAborted();
      await this.#write(piece);
      onProgress?.(this.#done += piece.length);
    }
    if (this.#at !== offset + length) {
      throw new TypeError(`Cannot export "${name}": it has ${this.#at - offset} bytes, wanted ${length}`);
    }
    return { file: file.name, offset, length };
  }

  /** Gives the files their names, and returns them. */
  async finish(): Promise<string[]> {
    await this.#close();
    for (const { name, temporary } of this.#files) {
      await named(join(this.dir, name), Deno.rename(temporary, join(this.dir, name)));
    }
    return this.#files.splice(0).map(({ name }) => name);
  }

  /** Removes what was not finished. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#open?.close();
    this.#open = undefined;
    for (const { temporary } of this.#files.splice(0)) await Deno.remove(temporary).catch(() => {}); // may be renamed
  }

  async #next(): Promise<void> {
    await this.#close();
    const name = this.#files.length === 0 ? this.stem : `${this.stem}.${this.#files.length}`;
    const temporary = join(this.dir, `${name}.${crypto.randomUUID()}.part`);
    this.#open = await named(join(this.dir, name), Deno.open(temporary, { write: true, createNew: true }));
    this.#files.push({ name, temporary });
    this.#at = 0;
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    await named(join(this.dir, this.#files.at(-1)!.name), this.#open.sync());
    this.#open.close();
    this.#open = undefined;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    const path = join(this.dir, this.#files.at(-1)!.name);
    for (let at = 0; at < bytes.length;) at += await named(path, this.#open!.write(bytes.subarray(at)));
    this.#at += bytes.length;
  }
}

/** An error of the system ("No space left on device") does not name the file: this one does. */
async function named<T>(path: string, action: Promise<T>): Promise<T> {
  try {
    return await action;
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `Cannot write "${path}": ${what}; free space on that disk or choose another folder, then run again`,
      { cause },
    );
  }
}
