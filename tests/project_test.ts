/** What the project promises about itself: its table comes from rows, its tasks ask for little, its checkpoint is what README says. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decodeRows, loadModel, sizeOf } from "quant-dllm";
import { mainTable, sizeOptionsTable } from "../scripts/tables.ts";

/** The formatter pads the cells of tables. */
const plain = (text: string) => text.replaceAll(/ +/g, " ").replaceAll(/-{3,}/g, "---");

Deno.test("README: its table is the rendering of data/results/rows.jsonl", async () => {
  const rows = decodeRows(await Deno.readTextFile("data/results/rows.jsonl"), "data/results/rows.jsonl");
  const readme = plain(await Deno.readTextFile("README.md"));
  for (const line of mainTable(rows).toMarkdown().split("\n")) assertStringIncludes(readme, plain(line));
});

Deno.test("README: its table of sizes is the rendering of data/results/size_options.jsonl", async () => {
  const path = "data/results/size_options.jsonl";
  const readme = plain(await Deno.readTextFile("README.md"));
  for (const line of sizeOptionsTable(decodeRows(await Deno.readTextFile(path), path)).toMarkdown().split("\n")) {
    assertStringIncludes(readme, plain(line));
  }
});

Deno.test("tasks: none runs with all permissions", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile("deno.json"));
  for (const [name, { command }] of Object.entries(tasks as Record<string, { command: string }>)) {
    assert(!/(^|\s)(-A|--allow-all)(\s|$)/.test(command), name);
  }
});

Deno.test("nano-llada: an ordinary LLaDA checkpoint in bf16, 1 to 6 M parameters, at most 16 MB, eight column blocks per linear", async () => {
  await using model = await loadModel("data/nano-llada", { device: "cpu" });
  assertEquals(model.config.model_type, "llada");
  assertEquals(sizeOf(model).bitsPerWeight, 16);
  const { size } = await Deno.stat("data/nano-llada/model.safetensors");
  assert(size <= 16e6);
  const parameters = size / 2;
  assert(parameters > 1e6 && parameters < 6e6, `${parameters}`);
  for (const { shape } of model.linearNames()) assert(shape[1] >= 8 * 32);
});
