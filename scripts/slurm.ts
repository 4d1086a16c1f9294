/**
 * Arms measured on a cluster: an array of Slurm jobs, one for each, each a process of its own whose result is a file in a folder that all nodes see. Slurm
 * does all the scheduling; here results are gathered, and what ended without one is queued again.
 */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { join, resolve } from "@std/path";
import type { Measurement } from "quant-dllm";
import type { ArmRequest, ArmWorkerData } from "./arm_workers.ts";

/** An arm with the name of its result, and what people call it. */
export interface SlurmRequest extends ArmRequest {
  readonly key: string;
  readonly title: string;
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

/** What the jobs are called. */
const NAME = "quant-dllm";
/** How often an arm is begun before it is given up. */
const ATTEMPTS = 3;
/** Slurm is asked less and less often, up to this many seconds apart: its controller serves everybody. */
const RAREST = 60;
/** How often in a row the controller may not answer, as while it is restarted. */
const SILENCES = 10;

export const resultFile = (folder: string, key: string): string => join(folder, "results", `${key}.json`);

/** The name of an arm's result: its identity, so that results of before serve as far as they are of the same arms. */
export const keyOf = (identity: string): string => createHash("sha256").update(identity).digest("hex").slice(0, 24);

export async function readTasks(folder: string): Promise<SlurmTasks> {
  return JSON.parse(await Deno.readTextFile(join(folder, "tasks.json"))) as SlurmTasks;
}

/**
 * Measures everything that is asked for. Results that are there already serve; an array that is still queued, of a run that was stopped, is waited for. At
 * the signal it stops waiting: the jobs go on. Throws `Error` where Slurm refuses the array, and one that names the arms and their logs where some ended without
 * a result `ATTEMPTS` times.
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
  /** Of each arm, the logs of its tasks. */
  const logs = new Map<string, string[]>();
  await gather();
  let job = await Deno.readTextFile(join(folder, "job")).catch(() => "");
  while (open.size > 0) {
    if (job !== "") await untilEnded(job, { patience, signal, gather: async () => (await gather(), open.size === 0) });
    signal.throwIfAborted();
    await gather(); // what was written between the last look and the end
    const missing = [...open.values()];
    if (missing.length === 0) return;
    const lost = missing.filter(({ key }) => (logs.get(key)?.length ?? 0) >= ATTEMPTS);
    if (lost.length > 0) {
      const lines = lost.map(({ key, title }) => `  ${title}: ${logs.get(key)!.at(-1)}`);
      throw new Error(
        `Cannot measure ${lost.length} of ${requests.length} arms: of each, ${ATTEMPTS} jobs ended without a result. Their last logs:\n` +
          lines.join("\n"),
      );
    }
    job = await submit({ data, requests: missing }, { folder, sbatch });
    for (const [i, { key }] of missing.entries()) {
      logs.set(key, [...logs.get(key) ?? [], join(folder, "logs", `${job}_${i}.log`)]);
    }
  }
}

/** Waits while any task of the array is queued or at work, and something is still open. Results are looked for every few seconds. */
async function untilEnded(
  job: string,
  { patience, signal, gather }: { patience: number; signal: AbortSignal; gather: () => Promise<boolean> },
): Promise<void> {
  let silences = 0;
  for (let wait = 0; !signal.aborted; wait = Math.min(RAREST, Math.max(patience, 1.25 * wait))) {
    for (let waited = 0; waited < wait && !signal.aborted; waited += patience) {
      await pause(Math.min(patience, wait - waited), signal);
      if (await gather()) return;
    }
    if (signal.aborted) return;
    try {
      if (!await isQueued(job)) return;
      silences = 0;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || ++silences >= SILENCES) throw error;
    }
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
  const array = `--array=0-${tasks.requests.length - 1}`, log = `--output=${join(folder, "logs", "%A_%a.log")}`;
  const submitted = ["--parsable", `--job-name=${NAME}`, array, log, ...sbatch, script];
  const lines = [
    "#!/bin/sh",
    `# Submitted as: sbatch ${submitted.map(quoted).join(" ")}`,
    `cd ${quoted(root)} && exec ${command.map(quoted).join(" ")} "$SLURM_ARRAY_TASK_ID"`,
  ];
  await Deno.writeTextFile(script, lines.join("\n") + "\n");
  const job = (await slurm("sbatch", submitted)).split(";")[0];
  await Deno.writeTextFile(join(folder, "job"), job);
  return job;
}

/** Whether any task of an array is still queued or at work. */
async function isQueued(job: string): Promise<boolean> {
  try {
    return (await slurm("squeue", ["--noheader", `--name=${NAME}`, "--jobs", job])) !== "";
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
    throw new Deno.errors.NotFound(
      `Cannot find ${command}: --launcher slurm wants Slurm's commands on this machine (Debian: slurm-client)`,
    );
  }
}

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, 1000 * seconds);
    signal.addEventListener("abort", end);
  });
}
