import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { deno } from "../deno.ts";
import { deviation, runOnnx } from "../onnx/onnx_run.ts";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { inFolder, randomTokens } from "../model/tiny.ts";
import { LOGITS_CPU } from "../tolerances.ts";

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", "--allow-write"];

const script = (...args: string[]) =>
  deno(["run", "--no-check", "--quiet", ...permissions, "scripts/export.ts", ...args], { NO_COLOR: "1" });

Deno.test("deno task export: nano-llada as weights that load again, and as a graph that answers", () =>
  inFolder(async (folder) => {
    await using model = await loadModel("data/nano-llada", { device: "cpu" });
    const tokens = randomTokens(20, 2, 400);
    const wanted = (await model.logits(tokens)).data;
    for (const format of ["hf", "onnx"]) {
      const out = `${folder}/${format}`;
      const { code, stdout, stderr } = await script("data/nano-llada", "--format", format, "--out", out);
      assertEquals(code, 0, stderr);
      const said = JSON.parse(stdout.trim().split("\n").at(-1)!);
      assertEquals([said.out, said.format, said.packed, said.decoded], [out, format, 0, 0]);
      const sizes = await Promise.all(
        (await Array.fromAsync(Deno.readDir(out))).map(async ({ name }) => (await Deno.stat(`${out}/${name}`)).size),
      );
      assertEquals(said.bytes, sizes.reduce((sum, size) => sum + size));
    }
    await using loaded = await loadModel(`${folder}/hf`, { device: "cpu" });
    assertEquals((await loaded.logits(tokens)).data, wanted);
    assertEquals(loaded.tokenizer.encode("a"), model.tokenizer.encode("a"));
    const { largest } = deviation((await runOnnx(`${folder}/onnx`, tokens, 1)).data, wanted);
    assert(largest <= LOGITS_CPU, `off by ${largest}`);
    const again = await script("data/nano-llada", "--format", "hf", "--out", `${folder}/hf`);
    assertEquals(again.code, 1);
    assertStringIncludes(again.stderr, "the folder is not empty");
  }));

Deno.test("deno task export: wrong options are named before anything is read", async () => {
  for (
    const [args, code, message] of [
      [["data/nano-llada", "--out", "x"], 2, "--format is missing"],
      [["data/nano-llada", "--format", "gguf", "--out", "x"], 2, '--format is "gguf", wanted one of hf, onnx'],
      [["data/nano-llada", "--format", "onnx", "--out", "x", "--max-length", "no"], 2, '--max-length is "no"'],
      [["tests/no-such-folder/", "--format", "hf", "--out", "x"], 1, "no-such-folder"],
    ] as const
  ) {
    const said = await script(...args);
    assertEquals([said.code, said.stderr.includes(message)], [code, true], said.stderr);
  }
});
