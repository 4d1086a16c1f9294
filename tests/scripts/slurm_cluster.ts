/** A Slurm cluster of one node on this machine, with keys, ports and folders of its own. */
import { join } from "@std/path";

/** Where Debian puts them; a user's PATH may lack sbin. */
const PATH = `${Deno.env.get("PATH")}:/usr/sbin:/sbin`;
const wanted = ["munged", "slurmctld", "slurmd", "sbatch", "squeue"];

/** What is missing for a cluster, or undefined. */
export function clusterLacks(): string | undefined {
  if (Deno.build.os !== "linux") return "Linux";
  if (Deno.uid() !== 0) return "the rights of root, for daemons";
  const has = (name: string) =>
    PATH.split(":").some((folder) => {
      try {
        return Deno.statSync(join(folder, name)).isFile;
      } catch {
        return false;
      }
    });
  const missing = wanted.filter((name) => !has(name));
  return missing.length > 0 ? `${missing.join(", ")} (Debian: slurm-wlm, munge)` : undefined;
}

export interface Cluster extends AsyncDisposable {
  /** What Slurm's commands want in their environment. */
  readonly env: Record<string, string>;
}

/** Starts it in `folder` and waits until its node is idle. Disposed, it has no process left. */
export async function startCluster(folder: string): Promise<Cluster> {
  for (const part of ["run", "state", "spool", "log"]) await Deno.mkdir(join(folder, part), { mode: 0o755 });
  await Deno.chmod(folder, 0o755);
  const at = (...parts: string[]) => join(folder, ...parts), host = Deno.hostname(), socket = at("run", "munge.socket");
  await Deno.writeFile(at("munge.key"), crypto.getRandomValues(new Uint8Array(1024)), { mode: 0o600 });
  const [controller, node] = [freePort(), freePort()];
  const conf = {
    ...{
      ClusterName: "test",
      SlurmctldHost: `${host}(127.0.0.1)`,
      AuthType: "auth/munge",
      AuthInfo: `socket=${socket}`,
    },
    ...{ SlurmUser: "root", SlurmdUser: "root", SlurmctldPort: controller, SlurmdPort: node },
    ...{ StateSaveLocation: at("state"), SlurmdSpoolDir: at("spool") },
    ...{ SlurmctldPidFile: at("run", "controller.pid"), SlurmdPidFile: at("run", "node.pid") },
    ...{ ProctrackType: "proctrack/linuxproc", TaskPlugin: "task/none", SelectType: "select/cons_tres" },
    ...{
      SelectTypeParameters: "CR_CPU",
      MpiDefault: "none",
      ReturnToService: 2,
      SchedulerParameters: "sched_interval=1",
    },
  };
  const lines = Object.entries(conf).map(([key, value]) => `${key}=${value}`);
  lines.push(`NodeName=${host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN`);
  lines.push("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP");
  await Deno.writeTextFile(at("slurm.conf"), lines.join("\n") + "\n");
  const env = { PATH, SLURM_CONF: at("slurm.conf") }, running: Deno.ChildProcess[] = [];
  const quiet = { stdin: "null", stdout: "null", stderr: "null" } as const;
  const start = (command: string, ...args: string[]) => {
    running.unshift(new Deno.Command(command, { args, env, ...quiet }).spawn());
  };
  const stop = async () => {
    // Tasks are processes of their own, which would outlive the daemons.
    for (let i = 0; i < 50 && await queue(env) !== ""; i++) {
      await new Deno.Command("scancel", { args: ["--user=root", "--signal=KILL", "--full"], env, ...quiet }).output();
      await new Deno.Command("scancel", { args: ["--user=root"], env, ...quiet }).output();
      await new Promise((next) => setTimeout(next, 200));
    }
    for (const child of running) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It ended by itself.
      }
      await child.status;
    }
  };
  try {
    const munge = [`--key-file=${at("munge.key")}`, `--socket=${socket}`, `--pid-file=${at("run", "munged.pid")}`];
    start(
      "munged",
      "--foreground",
      "--force",
      ...munge,
      `--log-file=${at("log", "munged")}`,
      `--seed-file=${at("seed")}`,
    );
    await until("munged", () => exists(socket));
    start("slurmctld", "-D", "-f", at("slurm.conf"));
    start("slurmd", "-D", "-f", at("slurm.conf"), "-N", host);
    await until("the node", async () => {
      const { stdout } = await new Deno.Command("sinfo", { args: ["--noheader", "--format=%t"], env, stderr: "null" })
        .output();
      return new TextDecoder().decode(stdout).trim() === "idle";
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { env, [Symbol.asyncDispose]: stop };
}

/** The jobs that are there; nothing where no controller answers. */
async function queue(env: Record<string, string>): Promise<string> {
  const { stdout } = await new Deno.Command("squeue", { args: ["--noheader"], env, stderr: "null" }).output();
  return new TextDecoder().decode(stdout).trim();
}

async function until(what: string, done: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 150; i++) {
    if (await done()) return;
    await new Promise((next) => setTimeout(next, 200));
  }
  throw new Error(`Cannot start the cluster: ${what} did not come up in 30 s`);
}

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}
