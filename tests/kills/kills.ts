/**
 * kill -9 at random moments of quantising, tuning, training, evaluating and exporting: the same command goes on, and ends with the bytes of a run that was
 * left alone.
 *   deno task kills [--count 100] [--seed 1]
 */
import { assertEquals } from "@std/assert";
import { rng } from "../../lib/tensor/rng.ts";
import { count, readOptions, whole } from "../../scripts/options.ts";
import { contents } from "../pipeline/checkpoints.ts";

const options = readOptions("deno task kills [options]", {
  count: { default: "100", help: "kills, over all commands", check: count() },
  seed: { default: "1", help: "of the moments", check: whole() },
});

const folder = await Deno.makeTempDir();
const nano = "data/nano-llada", cpu = ["--device", "cpu"];
const small = ["--calibration", "data/nanoworld/calibration.jsonl", "--windows", "8", "--length", "48"];
const tiny = ["--width", "32", "--hidden", "32", "--heads", "2", "--batch", "2", "--steps", "520"];
/** What is typed, given the folder of what is made. */
const commands: Readonly<Record<string, (out: string) => readonly string[]>> = {
  quantize: (out) => ["quantize", nano, "--out", `${out}/made`, "--group", "128", ...small, ...cpu],
  tune: (out) => [
    ...["quantize", nano, "--out", `${out}/made`, "--method", "rtn", "--group", "128", "--calibration", "nanoworld"],
    ...["--tune", "codes", "--tune-steps", "120", "--tune-batch", "2", ...cpu],
  ],
  "tune by block": (out) => [
    ...["quantize", nano, "--out", `${out}/made`, "--method", "rtn", "--group", "128", "--calibration", "nanoworld"],
    ...["--tune", "codes", "--tune-by", "block", "--tune-steps", "20", "--tune-batch", "2", ...cpu],
  ],
  train: (out) => ["train-nano", ...tiny, ...cpu, "--out", `${out}/made`, "--work", `${out}/work`],
  "export hf": (out) => ["export", nano, "--format", "hf", "--out", `${out}/made`],
  "export onnx": (out) => ["export", nano, "--format", "onnx", "--out", `${out}/made`],
  evaluate: () => ["evaluate", nano, "--tasks", "nano_piqa", "--limit", "40", ...cpu],
  "evaluate tasks": (out) => [
    ...["evaluate", nano, "--tasks", "winogrande,nano_gsm8k", "--data", `${folder}/data`, "--out", `${out}/made`],
    ...["--shots", "0", "--limit", "40", "--mc-num", "16", "--mc-batch", "16", "--gen-length", "6", ...cpu],
  ],
};

const r = rng(Number(options.seed), "kills"), tally: Record<string, { kills: number; runs: number }> = {};
try {
  await Deno.mkdir(`${folder}/data/winogrande/winogrande_xl`, { recursive: true });
  const row = { sentence: "the pet of doren brinwick is _ .", option1: "horse", option2: "hen", answer: "1" };
  await Deno.writeTextFile(
    `${folder}/data/winogrande/winogrande_xl/validation.jsonl`,
    `${JSON.stringify(row)}\n`.repeat(40),
  );
  const wanted: Record<string, { result: Record<string, string>; milliseconds: number }> = {};
  for (const [name, typed] of Object.entries(commands)) {
    const begun = performance.now(), result = await finished(name, typed(`${folder}/${name}`), `${folder}/${name}`);
    wanted[name] = { result, milliseconds: performance.now() - begun };
    tally[name] = { kills: 0, runs: 0 };
  }
  const names = Object.keys(commands);
  for (let kills = 0, run = 0; kills < Number(options.count); run++) {
    const name = names[run % names.length], out = `${folder}/${run}`;
    // One to three kills of a run, so that what a kill left is killed again.
    for (let more = 1 + r.int(3); more > 0 && kills < Number(options.count); more--) {
      const child = start(commands[name](out));
      await new Promise((resolve) => setTimeout(resolve, r.next() * wanted[name].milliseconds));
      try {
        child.kill("SIGKILL");
      } catch {
        // It was done already.
      }
      const { signal } = await child.output();
      if (signal !== "SIGKILL") break;
      kills++;
      tally[name].kills++;
    }
    const begun = await contents(`${out}/made`).catch(() => ({} as Record<string, string>));
    // Killed behind its last step: what it made is whole, and a command that makes it again refuses to.
    const done = "config.json" in begun && !Object.keys(begun).some((file) => file.startsWith(".quantizing")) &&
      name !== "train";
    const result = done ? begun : await finished(name, commands[name](out), out);
    assertEquals(
      Object.keys(result).filter((file) => result[file] !== wanted[name].result[file]),
      [],
      `${name}, run ${run}`,
    );
    assertEquals(Object.keys(result).length, Object.keys(wanted[name].result).length, `${name}, run ${run}`);
    tally[name].runs++;
    await Deno.remove(out, { recursive: true }).catch(() => {});
    console.error(`${kills} kills, ${run + 1} runs to the same bytes (${name})`);
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
console.log(JSON.stringify(tally));

function start([script, ...args]: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-check", "-A", `scripts/${script}.ts`, ...args],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs a command to its end; gives the files that it made by name, or what it printed. */
async function finished(name: string, typed: readonly string[], out: string): Promise<Record<string, string>> {
  const { success, stdout, stderr } = await start(typed).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!success) throw new Error(`${name} failed: ${text(stderr)}`);
  if (name === "evaluate") return { stdout: text(stdout) };
  return name === "evaluate tasks" ? undated(out) : await contents(`${out}/made`);
}

/** Results and sample rows of the field's tasks, without the date and the seconds that they bear. */
async function undated(out: string): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  for (const [file, hex] of Object.entries(await contents(`${out}/made`))) {
    const text = new TextDecoder().decode(Uint8Array.fromHex(hex)), results = /results_[^/]*\.json$/.test(file);
    made[file.replace(/_\d{4}-[^/]*/, "")] = results ? JSON.stringify(JSON.parse(text).results) : text;
  }
  return made;
}
