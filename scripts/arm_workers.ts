/** Arms measured on threads of their own: small models leave the cores idle when one arm has them all. */
import { Worker } from "node:worker_threads";
import type { ArmInputs, Measurement } from "quant-dllm";
import type { PlanName } from "./plans.ts";

/** What a thread is started with. */
export interface ArmWorkerData {
  readonly name: PlanName;
  readonly model: string;
  readonly device: string;
  /** Of the thread's own runtime; 0 for all cores. */
  readonly threads: number;
  readonly inputs: ArmInputs;
}

/** An arm, as its place among the whole arms of the plan, and a seed. */
export interface ArmRequest {
  readonly arm: number;
  readonly seed: number;
}

/** Progress, the end, or what went wrong. */
export interface ArmAnswer extends ArmRequest {
  readonly share?: number;
  readonly measurement?: Measurement;
  readonly error?: string;
}

/** Measures everything that is asked for, in order, on `count` threads. Tells the arms at work after every step; breaks off at the signal. */
export async function measureAll(
  requests: readonly ArmRequest[],
  { count, signal, onMeasured, onProgress, ...data }: ArmWorkerData & {
    readonly count: number;
    readonly signal: AbortSignal;
    readonly onMeasured: (request: ArmRequest, measurement: Measurement) => Promise<void>;
    /** Arms that are done or, in part, at work. */
    readonly onProgress: (done: number, latest: ArmRequest) => void;
  },
): Promise<void> {
  let next = 0, done = 0;
  const shares = new Map<number, number>();
  const workers = Array.from(
    { length: Math.min(count, requests.length) },
    () => new Worker(new URL("./arm_worker.ts", import.meta.url), { workerData: data }),
  );
  const stop = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => stop.reject(signal.reason));
  const work = async (worker: Worker, index: number) => {
    while (next < requests.length) {
      const request = requests[next++];
      const measurement = await new Promise<Measurement>((resolve, reject) => {
        worker.removeAllListeners("message").on("message", ({ share, measurement, error }: ArmAnswer) => {
          if (error !== undefined) return reject(new Error(error));
          if (measurement) return resolve(measurement);
          shares.set(index, share!);
          onProgress(done + [...shares.values()].reduce((a, b) => a + b, 0), request);
        });
        worker.removeAllListeners("error").on("error", reject);
        worker.postMessage(request);
      });
      shares.set(index, 0);
      await onMeasured(request, measurement);
      onProgress(++done + [...shares.values()].reduce((a, b) => a + b, 0), request);
    }
  };
  try {
    await Promise.race([stop.promise, Promise.all(workers.map(work))]);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
