/** Worker threads for row loops, over shared memory. Threads start with the first job, sleep between jobs and do not keep the process alive. */
import { Worker } from "node:worker_threads";
import type { RowArgs, RowArray, RowLoop } from "../tensor/row_loop.ts";

// Several chunks per thread even out threads of different speed; fewer, larger ones cost less to hand out.
const CHUNKS_PER_THREAD = 8;
/** Entries of a job's progress: the next row that nobody has taken, and how many rows are done. */
const NEXT = 0, DONE = 1;

/** What the pool sends to a worker. */
export interface RowJob {
  readonly id: number;
  readonly name: string;
  readonly module: string;
  /** What a worker gets is flattened (`flat`). */
  readonly args: RowArgs | Record<string, unknown>;
  readonly rowCount: number;
  readonly chunk: number;
  /** `[2]` over shared memory. */
  readonly progress: Int32Array;
}

/** What a worker answers when there is nothing left to take, or something went wrong. */
export interface RowAnswer {
  readonly id: number;
  readonly error?: string;
}

/** Takes chunks of rows until none is left; the calling thread and the workers all do this. */
export function takeChunks(run: RowLoop["run"], { args, rowCount, chunk, progress }: RowJob): void {
  for (;;) {
    const start = Atomics.add(progress, NEXT, chunk);
    if (start >= rowCount) return;
    const end = Math.min(start + chunk, rowCount);
    run(args as RowArgs, start, end);
    Atomics.add(progress, DONE, end - start);
  }
}

export class RowPool implements AsyncDisposable {
  readonly #helpers: Helper[] = [];
  readonly #scratch = new Map<string, SharedArrayBuffer>();
  #last: Promise<void> = Promise.resolve();
  #jobs = 0;
  #disposed = false;

  /** `threads` counts the calling one, which works too. Throws `RangeError` unless it is a positive integer. */
  constructor(readonly threads: number = navigator.hardwareConcurrency) {
    if (!Number.isInteger(threads) || threads < 1) {
      throw new RangeError(`Cannot make a row pool of ${threads} threads: wanted a positive integer`);
    }
  }

  /** Runs `loop` over [0, rowCount); jobs run one after the other. Rethrows what the loop throws on any thread. */
  run<A extends RowArgs>(loop: RowLoop<A>, rowCount: number, args: A): Promise<void> {
    if (this.#disposed) throw new TypeError(`Cannot run the row loop "${loop.name}": the pool was disposed`);
    const job = this.#last.then(() => this.#runNow(loop, rowCount, args));
    this.#last = job.catch(() => {}); // The caller of the failed job hears of it; the next job starts all the same.
    return job;
  }

  async #runNow<A extends RowArgs>(loop: RowLoop<A>, rowCount: number, args: A): Promise<void> {
    const shared = this.#share(loop.name, args);
    const job: RowJob = {
      id: this.#jobs++,
      name: loop.name,
      module: loop.module,
      args: shared,
      rowCount,
      chunk: Math.max(1, Math.ceil(rowCount / (this.threads * CHUNKS_PER_THREAD))),
      progress: new Int32Array(new SharedArrayBuffer(8)),
    };
    const posted = { ...job, args: flat(shared) };
    const answers = this.#workers().map((helper) => helper.ask(posted));
    try {
      takeChunks(loop.run as RowLoop["run"], job);
      await finished(job, answers);
    } catch (error) {
      // Nobody may still write to the buffers when the next job takes them over.
      Atomics.store(job.progress, NEXT, rowCount);
      await Promise.allSettled(answers);
      throw error;
    }
    for (const key of loop.writes) {
      const original = args[key] as RowArray | undefined;
      if (original && original !== shared[key]) original.set(shared[key] as RowArray);
    }
  }

  #workers(): Helper[] {
    while (this.#helpers.length < this.threads - 1) this.#helpers.push(new Helper());
    return this.#helpers;
  }

  /** The arguments with every array in shared memory; buffers are kept for the next job of the same loop. */
  #share(name: string, args: RowArgs): RowArgs {
    const shared: Record<string, RowArgs[string]> = {};
    for (const [key, value] of Object.entries(args)) {
      shared[key] = ArrayBuffer.isView(value) && !(value.buffer instanceof SharedArrayBuffer)
        ? this.#copy(`${name} ${key}`, value)
        : value;
    }
    return shared;
  }

  #copy(slot: string, array: RowArray): RowArray {
    let buffer = this.#scratch.get(slot);
    if (!buffer || buffer.byteLength < array.byteLength) {
      buffer = new SharedArrayBuffer(array.byteLength);
      this.#scratch.set(slot, buffer);
    }
    const view = new (array.constructor as Float32ArrayConstructor)(buffer, 0, array.length);
    view.set(array);
    return view;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    await this.#last;
    await Promise.all(this.#helpers.splice(0).map((helper) => helper.end()));
    this.#scratch.clear();
  }
}

/** Array types by name. */
const ARRAYS = { Float32Array, Float64Array, Uint8Array, Uint16Array, Uint32Array, Int32Array };

/**
 * Arguments with each array as its buffer, to be posted: a thread that receives views walks over all their entries, looking for ports
 * (16 million take seconds), but takes a shared buffer as it is.
 */
function flat(args: RowArgs): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(args).map(([key, value]) => [
      key,
      ArrayBuffer.isView(value)
        ? { array: value.constructor.name, buffer: value.buffer, offset: value.byteOffset, length: value.length }
        : value,
    ]),
  );
}

/** Arguments as loops take them, from what `flat` made. */
export function unflat(args: Record<string, unknown>): RowArgs {
  return Object.fromEntries(
    Object.entries(args).map(([key, value]) => {
      if (typeof value !== "object" || value === null) return [key, value];
      const { array, buffer, offset, length } = value as {
        array: keyof typeof ARRAYS;
        buffer: ArrayBuffer;
        offset: number;
        length: number;
      };
      return [key, new ARRAYS[array](buffer, offset, length)];
    }),
  ) as RowArgs;
}

/** Waits until every row is done, and no longer: a worker that got no time to start has nothing to give. */
function finished({ rowCount, progress }: RowJob, answers: readonly Promise<void>[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const check = () => {
      if (Atomics.load(progress, DONE) >= rowCount) resolve();
    };
    for (const answer of answers) answer.then(check, reject);
    check();
  });
}

/** One worker. It holds the process open only while it owes an answer. */
class Helper {
  readonly #worker = new Worker(new URL("./row_worker.ts", import.meta.url));
  readonly #owed = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();

  constructor() {
    this.#worker.unref();
    this.#worker.on("message", ({ id, error }: RowAnswer) => {
      const { resolve, reject } = this.#owed.get(id)!;
      this.#settled(id);
      if (error === undefined) resolve();
      else reject(new Error(error));
    });
    this.#worker.on("error", (error: Error) => {
      for (const [id, { reject }] of [...this.#owed]) {
        this.#settled(id);
        reject(error);
      }
    });
  }

  ask(job: RowJob): Promise<void> {
    const answer = new Promise<void>((resolve, reject) => this.#owed.set(job.id, { resolve, reject }));
    answer.catch(() => {}); // Heard by whoever waits for the job; if nobody does, all its rows were done.
    this.#worker.ref();
    this.#worker.postMessage(job);
    return answer;
  }

  #settled(id: number): void {
    this.#owed.delete(id);
    if (this.#owed.size === 0) this.#worker.unref();
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
    for (const { resolve } of this.#owed.values()) resolve();
    this.#owed.clear();
  }
}
