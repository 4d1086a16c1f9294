/** A task of a Slurm array: measures one arm and writes what it measured. `slurm.ts` writes the list and submits. */
import { join } from "@std/path";
import { openArms } from "./arms.ts";
import { readTasks, resultFile } from "./slurm.ts";

const [folder, task] = Deno.args;
const { data, requests } = await readTasks(folder), { key, title: _, ...request } = requests[Number(task)];
// Of the node's cores, those that Slurm gives to the task.
const threads = Number(Deno.env.get("SLURM_CPUS_ON_NODE") ?? data.threads);
const measureArm = await openArms({ ...data, threads });
const measurement = await measureArm(request);
// Under another name first: what is there is whole.
const part = join(folder, "results", `${key}.${Deno.pid}.part`);
await Deno.writeTextFile(part, JSON.stringify(measurement));
await Deno.rename(part, resultFile(folder, key));
Deno.exit(0); // Sessions and their threads end with the process.
