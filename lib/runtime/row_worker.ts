/** The worker's side of the row pool: imports the module of a loop, so that it is known by name, and joins in the job. */
import { parentPort } from "node:worker_threads";
import { type RowAnswer, type RowJob, takeChunks, unflat } from "./row_pool.ts";

parentPort!.on("message", async (job: RowJob) => {
  const answer: { id: number; error?: string } = { id: job.id };
  try {
    await import(job.module);
    takeChunks({ ...job, args: unflat(job.args) });
  } catch (error) {
    answer.error = error instanceof Error ? error.stack ?? error.message : String(error);
  }
  parentPort!.postMessage(answer satisfies RowAnswer);
});
