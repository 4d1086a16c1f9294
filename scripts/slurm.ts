/**
 * Arms measured on a cluster: an array of Slurm jobs, one for each, each a process of its own whose result is a file in a folder that all nodes see. Slurm
 * does all the scheduling; here results are gathered, and what ended without one is queued again.
 */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { join, resolve } from "@std/path";
import type { Measurement } from "quant-dllm";
import type { ArmRequest, ArmWorkerData } from "./arm_workers.ts";

/** An arm with the name of its result. */
export interface SlurmRequest extends ArmRequest {
  readonly key: string;
}

/** What the tasks of an array are told, as a file. */
export interface SlurmTasks {
  readonly data: ArmWorkerData;
  readonly requests: readonly SlurmRequest[];
}

export interface SlurmOptions extends ArmWorkerData {
  /** A folder that every node sees. */
  readonly folder: string;
  /** Of sbatch: partition, time, memory. */
  readonly sbatch: readonly string[];
  readonly signal: AbortSignal;
  readonly onMeasured: (request: ArmRequest, measurement: Measurement) => Promise<void>;
  readonly onProgress: (done: number, latest: ArmRequest) => void;
  /** Seconds between looks at the folder. */
  readonly patience?: number;
}

/** How often an arm is begun before it is given up. */
const ATTEMPTS = 3;

export const resultFile = (folder: string, key: string): string => join(folder, "results", `${key}.json`);

/** The name of an arm's result: its identity, so that results of before serve as far as they are of the same arms. */
export const keyOf = (identity: string): string => createHash("sha256").update(identity).digest("hex").slice(0, 24);

export async function readTasks(folder: string): Promise<SlurmTasks> {
  return JSON.parse(await Deno.readTextFile(join(folder, "tasks.json"))) as SlurmTasks;
}

/**
 * Measures everything that is asked for. Results that are there already serve; an array that is still queued, of a run that was stopped, is waited for. At
 * the signal it stops waiting: the jobs go on. Throws `Error` where Slurm refuses the array, and where an arm ended without a result `ATTEMPTS` times.
 */
export async function measureOnSlurm(requests: readonly SlurmRequest[], options: SlurmOptions): Promise<void> {
  const { folder: given, sbatch, signal, onMeasured, onProgress, patience = 2, ...data } = options;
  const folder = resolve(given), open = new Map(requests.map((request) => [request.key, request]));
  for (const part of ["results", "logs"]) await Deno.mkdir(join(folder, part), { recursive: true });
  const gather = async () => {
    for (const request of [...open.values()]) {
      const text = await Deno.readTextFile(resultFile(folder, request.key)).catch(() => undefined);
      if (text === undefined) continue;
      open.delete(request.key);
      await onMeasured(request, JSON.parse(text) as Measurement);
      onProgress(requests.length - open.size, request);
    }
  };
  const begun = new Map<string, number>();
  await gather();
  let job = await Deno.readTextFile(join(folder, "job")).catch(() => "");
  while (open.size > 0) {
    signal.throwIfAborted();
    if (job !== "" && await isQueued(job)) {
      await pause(patience, signal);
      await gather();
      continue;
    }
    await gather(); // what was written between the last look and the end
    const missing = [...open.values()];
    if (missing.length === 0) return;
    const lost = missing.find(({ key }) => (begun.get(key) ?? 0) >= ATTEMPTS);
    if (lost) {
      throw new Error(
        `Cannot measure arm ${lost.arm} at seed ${lost.seed}: ${ATTEMPTS} jobs ended without a result; see ${folder}/logs`,
      );
    }
    job = await submit({ data, requests: missing }, { folder, sbatch });
    for (const { key } of missing) begun.set(key, (begun.get(key) ?? 0) + 1);
  }
}

/** Submits an array of one task for each request. Gives its number. */
async function submit(
  tasks: SlurmTasks,
  { folder, sbatch }: { folder: string; sbatch: readonly string[] },
): Promise<string> {
  await Deno.writeTextFile(join(folder, "tasks.json"), JSON.stringify(tasks));
  const root = fileURLToPath(new URL("..", import.meta.url)), script = join(folder, "job.sh");
  const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", `--allow-write=${folder}`];
  const command = [Deno.execPath(), "run", "--no-check", ...permissions, join(root, "scripts/arm_task.ts"), folder];
  await Deno.writeTextFile(
    script,
    `#!/bin/sh\ncd ${quoted(root)} && exec ${command.map(quoted).join(" ")} "$SLURM_ARRAY_TASK_ID"\n`,
  );
  const array = `--array=0-${tasks.requests.length - 1}`, log = `--output=${join(folder, "logs", "%A_%a.log")}`;
  const job =
    (await slurm("sbatch", ["--parsable", "--job-name=quant-dllm", array, log, ...sbatch, script])).split(";")[0];
  await Deno.writeTextFile(join(folder, "job"), job);
  return job;
}

/** Whether any task of an array is still queued or at work. */
async function isQueued(job: string): Promise<boolean> {
  try {
    return (await slurm("squeue", ["--noheader", "--jobs", job])) !== "";
  } catch (error) {
    // Slurm forgets jobs some minutes after they ended.
    if (error instanceof Error && error.message.includes("Invalid job id")) return false;
    throw error;
  }
}

/** What a command of Slurm prints. */
async function slurm(command: string, args: readonly string[]): Promise<string> {
  try {
    const { success, stdout, stderr } = await new Deno.Command(command, { args: [...args] }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes).trim());
    if (success) return out;
    throw new Error(`Cannot run ${command} ${args.join(" ")}: ${err || out}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      `Cannot find ${command}: --launcher slurm wants Slurm's commands on this machine (Debian: slurm-client)`,
    );
  }
}

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((done) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    }, { once: true });
  });
}
