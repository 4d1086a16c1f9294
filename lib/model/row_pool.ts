/** Worker threads for row loops, over shared memory. Threads start with the first job, sleep between jobs and do not keep the process alive. */
import { Worker } from "node:worker_threads";
import { type RowArgs, type RowArray, type RowLoop, rowLoop } from "../tensor/row_loop.ts";

// Several chunks per thread even out threads of different speed; fewer, larger ones cost less to hand out.
const CHUNKS_PER_THREAD = 8;

/** What the pool sends to a worker. */
export interface RowJob {
  readonly name: string;
  readonly module: string;
  readonly args: RowArgs;
  readonly rowCount: number;
  readonly chunk: number;
  /** `[1]` over shared memory: the next row that nobody has taken. */
  readonly next: Int32Array;
}

/** What a worker answers: nothing when the job is done, or what went wrong. */
export type RowAnswer = { readonly error?: string };

/** Takes chunks of rows until none is left; the calling thread and the workers all run this. */
export function takeChunks({ name, args, rowCount, chunk, next }: RowJob): void {
  const { run } = rowLoop(name);
  for (;;) {
    const start = Atomics.add(next, 0, chunk);
    if (start >= rowCount) return;
    run(args, start, Math.min(start + chunk, rowCount));
  }
}

export class RowPool implements AsyncDisposable {
  readonly #helpers: Worker[] = [];
  readonly #scratch = new Map<string, SharedArrayBuffer>();
  #last: Promise<void> = Promise.resolve();
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
      name: loop.name,
      module: loop.module,
      args: shared,
      rowCount,
      chunk: Math.max(1, Math.ceil(rowCount / (this.threads * CHUNKS_PER_THREAD))),
      next: new Int32Array(new SharedArrayBuffer(4)),
    };
    const answers = this.#workers().map((worker) => ask(worker, job));
    let failure: unknown;
    try {
      takeChunks(job);
    } catch (error) {
      failure = error;
      Atomics.store(job.next, 0, rowCount);
    }
    const settled = await Promise.allSettled(answers);
    if (failure) throw failure;
    for (const answer of settled) if (answer.status === "rejected") throw answer.reason;
    for (const key of loop.writes) {
      const original = args[key] as RowArray | undefined;
      if (original && original !== shared[key]) original.set(shared[key] as RowArray);
    }
  }

  #workers(): Worker[] {
    while (this.#helpers.length < this.threads - 1) {
      const worker = new Worker(new URL("./row_worker.ts", import.meta.url));
      worker.unref();
      this.#helpers.push(worker);
    }
    return this.#helpers;
  }

  /** The arguments with every array in shared memory; buffers are kept for the next job of the same loop. */
  #share(name: string, args: RowArgs): RowArgs {
    const shared: Record<string, RowArgs[string]> = {};
    for (const [key, value] of Object.entries(args)) {
      shared[key] = isArray(value) && !(value.buffer instanceof SharedArrayBuffer)
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
    await Promise.all(this.#helpers.splice(0).map((worker) => worker.terminate()));
    this.#scratch.clear();
  }
}

/** One job on one worker, which holds the process open only until it answers. */
function ask(worker: Worker, job: RowJob): Promise<void> {
  worker.ref();
  return new Promise<void>((resolve, reject) => {
    const settle = (error?: Error) => {
      worker.off("message", answered);
      worker.off("error", settle);
      worker.unref();
      if (error) reject(error);
      else resolve();
    };
    const answered = ({ error }: RowAnswer) => settle(error === undefined ? undefined : new Error(error));
    worker.on("message", answered);
    worker.on("error", settle);
    worker.postMessage(job);
  });
}

function isArray(value: RowArgs[string]): value is RowArray {
  return ArrayBuffer.isView(value);
}
