/**
 * Sessions on another thread. onnxruntime packs weights on the thread that opens a session, and runs on the one that asks: with two hosts, two blocks
 * load at a time, and the calling thread stays free.
 */
import { Worker } from "node:worker_threads";
import type { External } from "../onnx/graph.ts";
import type { Feed, Float32Feed, Runtime, Session } from "./runtime.ts";

/** An array as a message: a thread that receives views walks over all their entries, but takes a buffer as it is. */
export interface Flat {
  readonly array: keyof typeof arrays;
  readonly buffer: ArrayBufferLike;
  readonly offset: number;
  readonly length: number;
}

type AnyArray = Feed["data"] | Uint8Array;
type Tensors<T> = Readonly<Record<string, { readonly dims: readonly number[]; readonly data: T }>>;

export type HostRequest =
  | { readonly ask: "open"; readonly model: Flat; readonly external: readonly { path: string; data: Flat }[] }
  | { readonly ask: "run"; readonly session: number; readonly feeds: Tensors<Flat>; readonly only?: readonly string[] }
  | { readonly ask: "close"; readonly session: number };

/** What a host gives back: the number of a new session, or outputs. */
export interface HostAnswer {
  readonly id: number;
  readonly session?: number;
  readonly outputs?: Tensors<Flat>;
  readonly error?: string;
}

const arrays = { Float32Array, Float64Array, BigInt64Array, Uint8Array };

export function flat(array: AnyArray): Flat {
  const { buffer, byteOffset: offset, length } = array;
  // Not by its own name: an encoder may give a Buffer, which is a Uint8Array too.
  const [name] = Object.entries(arrays).find(([, type]) => array instanceof type)!;
  return { array: name as Flat["array"], buffer, offset, length };
}

export function unflat({ array, buffer, offset, length }: Flat): AnyArray {
  return new arrays[array](buffer as ArrayBuffer, offset, length);
}

/** Whoever opens sessions: a runtime or a host. */
export interface SessionOpener extends Pick<Runtime, "session"> {
  /** Whether the arrays of `external` go to another thread and are empty here afterwards. */
  readonly takesArrays?: boolean;
}

export class SessionHost implements SessionOpener, AsyncDisposable {
  readonly takesArrays = true;
  readonly #worker: Worker;
  readonly #owed = new Map<number, { resolve: (answer: HostAnswer) => void; reject: (error: Error) => void }>();
  #asked = 0;

  /** `threads` of the runtime there; as many as the machine has cores by default. */
  constructor({ threads = 0 }: { readonly threads?: number } = {}) {
    this.#worker = new Worker(new URL("./session_worker.ts", import.meta.url), { workerData: { threads } });
    this.#worker.on("message", (answer: HostAnswer) => {
      const owed = this.#owed.get(answer.id)!;
      this.#owed.delete(answer.id);
      if (this.#owed.size === 0) this.#worker.unref();
      if (answer.error === undefined) owed.resolve(answer);
      else owed.reject(new Error(answer.error));
    });
    this.#worker.on("error", (error: Error) => {
      for (const owed of this.#owed.values()) owed.reject(error);
      this.#owed.clear();
    });
    this.#worker.unref();
  }

  /** As `Runtime.session`, on the host. */
  async session(model: Uint8Array, external: readonly External[] = []): Promise<Session> {
    const buffers = new Set(external.map(({ data }) => data.buffer as ArrayBuffer));
    const sent = external.map(({ path, data }) => ({ path, data: flat(data) }));
    const { session } = await this.#ask({ ask: "open", model: flat(model), external: sent }, [...buffers]);
    return {
      run: (feeds, into, only) => this.#run(session!, feeds, into, only),
      [Symbol.asyncDispose]: async () => {
        await this.#ask({ ask: "close", session: session! });
      },
    };
  }

  async #run(
    session: number,
    feeds: Tensors<AnyArray>,
    into: Tensors<AnyArray> = {},
    only?: readonly string[],
  ): Promise<Record<string, Float32Feed>> {
    const copies: Record<string, { dims: readonly number[]; data: Flat }> = {};
    for (const [name, { dims, data }] of Object.entries(feeds)) copies[name] = { dims, data: flat(data.slice()) };
    const buffers = Object.values(copies).map(({ data }) => data.buffer as ArrayBuffer);
    const { outputs } = await this.#ask({ ask: "run", session, feeds: copies, only }, buffers);
    const results: Record<string, Float32Feed> = {};
    for (const [name, { dims, data }] of Object.entries(outputs!)) {
      const values = unflat(data) as Float32Array, target = into[name]?.data as Float32Array | undefined;
      target?.set(values);
      results[name] = { dims, data: target ?? values };
    }
    return results;
  }

  #ask(request: HostRequest, transfer: ArrayBuffer[] = []): Promise<HostAnswer> {
    return new Promise((resolve, reject) => {
      const id = this.#asked++;
      this.#owed.set(id, { resolve, reject });
      this.#worker.ref();
      this.#worker.postMessage({ id, ...request }, transfer);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
    for (const owed of this.#owed.values()) owed.reject(new Error("Cannot answer: the session host was disposed"));
    this.#owed.clear();
  }
}
