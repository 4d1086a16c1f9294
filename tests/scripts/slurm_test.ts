/** `reproduce --launcher slurm` against a real Slurm on this machine. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decodeRows } from "../../lib/report/rows.ts";
import { inFolder } from "../model/tiny.ts";
import { clusterLacks, startCluster } from "./slurm_cluster.ts";

const lacks = clusterLacks();
if (lacks) console.error(`SKIPPED reproduce on Slurm: it wants ${lacks}`);

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", "--allow-write", "--allow-run"];
const grid = ["--study", "tuning", "--quick", "--only", "asked", "--device", "cpu"];

function reproduce(out: string, env: Record<string, string>, ...args: string[]): Deno.Command {
  const script = ["run", "--quiet", "--no-check", ...permissions, "scripts/reproduce.ts"];
  return new Deno.Command(Deno.execPath(), {
    args: [...script, ...grid, "--out", out, ...args],
    env: { NO_COLOR: "1", ...env },
    stdout: "piped",
    stderr: "piped",
  });
}

Deno.test({
  name: "a grid on Slurm, one of whose tasks is killed once, has every row of a run on this machine",
  ignore: lacks !== undefined,
  fn: () =>
    inFolder(async (folder) => {
      await using cluster = await startCluster(await Deno.makeTempDir({ dir: folder }));
      const local = reproduce(`${folder}/local`, {}).output();
      const child = reproduce(
        `${folder}/slurm`,
        cluster.env,
        "--launcher",
        "slurm",
        "--slurm-options=--cpus-per-task=1",
      )
        .spawn();
      const ended = child.output();
      const victim = await firstTask(`${folder}/slurm/slurm`);
      Deno.kill(victim, "SIGKILL");
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      const { success, stderr } = await ended;
      assert(success, text(stderr));
      assert((await local).success);
      const rows = async (out: string) => decodeRows(await Deno.readTextFile(`${folder}/${out}/rows.jsonl`));
      assertEquals(await rows("slurm"), await rows("local"));
      const arrays = new Set<string>();
      for await (const { name } of Deno.readDir(`${folder}/slurm/slurm/logs`)) arrays.add(name.split("_")[0]);
      assertEquals(arrays.size, 2, "the killed task was not queued again");
      // All is there: nothing is submitted, and no command of Slurm is asked for.
      const again = await reproduce(`${folder}/slurm`, { PATH: "/nowhere" }, "--launcher", "slurm").output();
      assert(again.success, text(again.stderr));
    }),
});

Deno.test("without Slurm's commands the launcher says what it wants", () =>
  inFolder(async (folder) => {
    const { success, stderr } = await reproduce(`${folder}/out`, { PATH: "/nowhere" }, "--launcher", "slurm").output();
    assertEquals(success, false);
    assertStringIncludes(
      new TextDecoder().decode(stderr),
      "Cannot find sbatch: --launcher slurm wants Slurm's commands",
    );
  }));

/** The process of a task of the array in that folder, once there is one. */
async function firstTask(folder: string): Promise<number> {
  for (let i = 0; i < 300; i++) {
    const { stdout } = await new Deno.Command("pgrep", { args: ["--full", `scripts/arm_task.ts ${folder}`] }).output();
    const [first] = new TextDecoder().decode(stdout).split("\n").filter(Boolean);
    if (first) return Number(first);
    await new Promise((next) => setTimeout(next, 100));
  }
  throw new Error(`Cannot find a task of ${folder}`);
}
