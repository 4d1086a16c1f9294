/** `reproduce --launcher slurm` against a real Slurm on this machine. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decodeRows } from "../../lib/report/rows.ts";
import { checkpointTensors, inFolder, tinyWeights, writeCheckpoint } from "../model/tiny.ts";
import { clusterLacks, startCluster } from "./slurm_cluster.ts";

const lacks = clusterLacks();
if (lacks) console.error(`SKIPPED reproduce on Slurm: it wants ${lacks}`);

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", "--allow-write", "--allow-run"];
const grid = ["--study", "tuning", "--quick", "--only", "asked", "--device", "cpu"];

/** A model of NanoWorld's words that is smaller than the testbed's, and knows nothing. */
async function writeModel(folder: string): Promise<void> {
  const config = { ...JSON.parse(await Deno.readTextFile("data/nano-llada/config.json")), ...small };
  await Deno.mkdir(folder);
  await writeCheckpoint(folder, config, checkpointTensors(config, tinyWeights(config)));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`data/nano-llada/${file}`, `${folder}/${file}`);
  }
}
const small = { d_model: 32, mlp_hidden_size: 32, n_layers: 1 };

function reproduce(out: string, env: Record<string, string>, ...args: string[]): Deno.Command {
  const script = ["run", "--quiet", "--no-check", ...permissions, "scripts/reproduce.ts"];
  return new Deno.Command(Deno.execPath(), {
    args: [...script, ...grid, "--out", out, ...args],
    env: { NO_COLOR: "1", ...env },
    stdout: "piped",
    stderr: "piped",
  });
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const readLines = async (path: string) => (await Deno.readTextFile(path)).split("\n").filter(Boolean);

Deno.test({
  name: "a grid on Slurm, stopped, gone on with, and one of its tasks killed, has every row of a run on this machine",
  ignore: lacks !== undefined,
  fn: () =>
    inFolder(async (folder) => {
      await writeModel(`${folder}/model`);
      const model = ["--model", `${folder}/model`];
      const starting = startCluster(await Deno.makeTempDir({ dir: folder }));
      const local = await reproduce(`${folder}/local`, {}, ...model).output();
      await using cluster = await starting;
      assert(local.success, text(local.stderr));
      // Some arms are stored already.
      const stored = await readLines(`${folder}/local/arms.jsonl`), kept = stored.slice(0, 3);
      await Deno.mkdir(`${folder}/slurm`);
      await Deno.writeTextFile(`${folder}/slurm/arms.jsonl`, kept.map((line) => `${line}\n`).join(""));
      const options = [...model, "--launcher", "slurm", "--slurm-options=--cpus-per-task=1"];
      const first = reproduce(`${folder}/slurm`, cluster.env, ...options).spawn(), ended = first.output();
      const victim = await firstTask(`${folder}/slurm/slurm`);
      first.kill("SIGINT");
      Deno.kill(victim, "SIGKILL");
      const stopped = await ended;
      assertEquals(stopped.code, 130, text(stopped.stderr));
      assertStringIncludes(text(stopped.stderr), "stopped after 3 of 6 arms (the jobs go on; scancel");
      const { success, stderr } = await reproduce(`${folder}/slurm`, cluster.env, ...options).output();
      assert(success, text(stderr));
      const rows = async (out: string) => decodeRows(await Deno.readTextFile(`${folder}/${out}/rows.jsonl`));
      assertEquals(await rows("slurm"), await rows("local"));
      assertEquals((await readLines(`${folder}/slurm/arms.jsonl`)).slice(0, 3), kept);
      const logs: string[] = [];
      for await (const { name } of Deno.readDir(`${folder}/slurm/slurm/logs`)) logs.push(name);
      assertEquals(logs.length, 4, "three arms, and one of them again");
      assertEquals(new Set(logs.map((name) => name.split("_")[0])).size, 2, "the killed task was not queued again");
      // All is there: nothing is submitted, and no command of Slurm is asked for.
      const again = await reproduce(`${folder}/slurm`, { PATH: "/nowhere" }, ...options).output();
      assert(again.success, text(again.stderr));
      // A store of two devices is reported on where that is asked for only.
      const lines = await readLines(`${folder}/slurm/arms.jsonl`);
      lines[0] = lines[0].replaceAll('"platform":"cpu,', '"platform":"cuda (H100),');
      await Deno.writeTextFile(`${folder}/slurm/arms.jsonl`, lines.map((line) => `${line}\n`).join(""));
      const mixed = await reproduce(`${folder}/slurm`, {}, ...model, "--report").output();
      assertEquals(mixed.success, false);
      assertStringIncludes(text(mixed.stderr), "cuda (H100), linux");
      assertStringIncludes(text(mixed.stderr), "pass --across-devices");
      const asked = await reproduce(`${folder}/slurm`, {}, ...model, "--report", "--across-devices").output();
      assert(asked.success, text(asked.stderr));
    }),
});

Deno.test("arms whose jobs leave no result are given up by name, with their logs; a controller may be silent for a while", () =>
  inFolder(async (folder) => {
    const command = (name: string, script: string) =>
      Deno.writeTextFile(`${folder}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    await command("sbatch", `echo x >> ${folder}/submitted; echo "7;cluster"`);
    await command(
      "squeue",
      `[ -e ${folder}/asked ] && exit 0; touch ${folder}/asked; echo "Unable to contact" >&2; exit 1`,
    );
    const env = { PATH: `${folder}:${Deno.env.get("PATH")}` };
    const { success, stderr } = await reproduce(`${folder}/out`, env, "--launcher", "slurm").output();
    assertEquals(success, false);
    const logs = `${Deno.realPathSync(folder)}/out/slurm/logs`;
    assertStringIncludes(
      text(stderr),
      "Cannot measure 6 of 6 arms: of each, 3 jobs ended without a result. Their last logs:\n" +
        `  full precision, seed 1: ${logs}/7_0.log\n  levels, seed 1: ${logs}/7_1.log\n`,
    );
    assertEquals((await readLines(`${folder}/submitted`)).length, 3);
    const [, told] = await readLines(`${folder}/out/slurm/job.sh`);
    assertStringIncludes(told, "# Submitted as: sbatch '--parsable' '--job-name=quant-dllm' '--array=0-5'");
  }));

Deno.test("without Slurm's commands the launcher says what it wants", () =>
  inFolder(async (folder) => {
    const { success, stderr } = await reproduce(`${folder}/out`, { PATH: "/nowhere" }, "--launcher", "slurm").output();
    assertEquals(success, false);
    assertStringIncludes(
      text(stderr),
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
