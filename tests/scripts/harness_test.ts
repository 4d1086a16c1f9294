/** `deno task evaluate` on the field's tasks, as a person runs it. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { deno } from "../deno.ts";
import { inTempFolder, readJson, readLines } from "../harness/model.ts";

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", "--allow-write", "--allow-net"];

async function run(args: readonly string[]) {
  const command = ["run", "--quiet", "--no-check", ...permissions, "scripts/evaluate.ts", "data/nano-llada", ...args];
  const { code, stdout, stderr } = await deno([...command, "--device", "cpu"], { NO_COLOR: "1" });
  return { code, out: stdout, err: stderr };
}

Deno.test("evaluate: a task of the field from a folder, a generated one and NanoWorld's own in one command", () =>
  inTempFolder(async (folder) => {
    await Deno.mkdir(`${folder}/data/winogrande/winogrande_xl`, { recursive: true });
    const rows = Array.from({ length: 5 }, (_, i) => ({
      sentence: "the pet of doren brinwick is _ .",
      option1: "horse",
      option2: "hen",
      answer: String(1 + i % 2),
    }));
    const lines = rows.map((row) => JSON.stringify(row)).join("\n");
    await Deno.writeTextFile(`${folder}/data/winogrande/winogrande_xl/validation.jsonl`, lines);
    const args = ["--tasks", "winogrande,nano_gsm8k,nano_mmlu", "--data", `${folder}/data`, "--out", `${folder}/out`];
    const options = ["--shots", "0", "--limit", "4", "--mc-num", "4", "--cfg", "0.5", "--gen-length", "6"];
    const { code, out, err } = await run([...args, ...options]);
    assertEquals(code, 0, err);
    assert(!err.includes("difference"), err);
    const { rows: scores, results } = JSON.parse(out);
    assertEquals(scores.map(({ task, metric }: Record<string, string>) => `${task} ${metric}`), [
      "winogrande acc",
      "nano_gsm8k exact_match",
      "nano_mmlu accuracy",
    ]);
    assert(results.startsWith(`${folder}/out/data__nano-llada/results_`), results);
    const written = await readJson(results);
    assertEquals(scores[0].taskVersion, "1.0");
    for (const { platform, codeVersion } of scores) {
      assert(/^cpu, .*, deno [\d.]+, onnxruntime [\d.]+$/.test(platform), platform);
      assertEquals([platform, codeVersion], [written.quant_dllm.platform, written.quant_dllm.version]);
    }
    // The same on another device is not the same.
    const moved = results.replace("results_", "results_x");
    const elsewhere = { ...written, quant_dllm: { ...written.quant_dllm, platform: "cuda (H100)" } };
    await Deno.writeTextFile(moved, JSON.stringify(elsewhere));
    for (const task of ["winogrande", "nano_gsm8k"]) {
      const samples = results.replace("results_", `samples_${task}_`).replace(".json", ".jsonl");
      await Deno.copyFile(samples, samples.replace(`${task}_`, `${task}_x`));
    }
    const against = [...args, ...options, "--against", moved];
    const refused = await run(against);
    assertEquals(refused.code, 2, refused.err);
    assertStringIncludes(refused.err, "was measured on cuda (H100), and this is cpu");
    const asked = await run([...against, "--across-devices"]);
    assertEquals(asked.code, 0, asked.err);
    assertStringIncludes(asked.err, "difference");
    assertStringIncludes(written.config.model_args, "mc_num=4,cfg=0.5,batch_size=4");
    assertEquals(written["n-samples"].winogrande, { original: 5, effective: 4 });
    const samples = results.replace("results_", "samples_winogrande_").replace(".json", ".jsonl");
    assertEquals((await readLines(samples))[0].arguments.gen_args_1, {
      arg_0: "the pet of doren brinwick is hen",
      arg_1: " .",
    });
  }));

Deno.test("evaluate: what cannot be meant is refused before a model is opened", async () => {
  const refused = async (args: readonly string[], ...parts: readonly string[]) => {
    const { code, out, err } = await run(args);
    assert(code > 0 && out === "", err);
    for (const part of parts) assertStringIncludes(err, part);
  };
  await refused(["--tasks", "humaneval"], "pass --run-code");
  await refused(["--tasks", "piqua"], "wanted words with commas between them");
  await refused(["--tasks", "piqa", "--mc-num", "10", "--mc-batch", "4"], "wanted a divisor of --mc-num 10");
  await refused(["--tasks", "piqa", "--commits", "baber/piqa=main"], "each commit of 40 hexadecimal digits");
  await refused(["--tasks", "piqa", "--data", "/nowhere"], "/nowhere/piqa/validation.jsonl");
});
