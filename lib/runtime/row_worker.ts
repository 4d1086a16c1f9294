/** The worker's side of the row pool: imports the module of a loop, finds it among what that exports, and joins in the job. */
import { parentPort } from "node:worker_threads";
import { exportedLoop } from "../tensor/row_loop.ts";
import { type RowAnswer, type RowJob, takeChunks, unflat } from "./row_pool.ts";

parentPort!.on("message", async (job: RowJob) => {
  const answer: { id: number; error?: string } = { id: job.id };
  try {
    const { run } = exportedLoop(await import(job.module), job);
    takeChunks(run, { ...job, args: unflat(job.args) });
  } catch (error) {
    answer.error = error instanceof Error ? error.stack ?? error.message : String(error);
  }
  parentPort!.postMessage(answer satisfies RowAnswer);
});
