/** What the project promises about itself: its table comes from rows, its tasks ask for little, its checkpoint is what README says. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { decodeRows, loadModel, sizeOf } from "quant-dllm";
import { decodingClaims, decodingTable, usualSampler } from "../scripts/decoding_study.ts";
import { orderingLines, placesTable } from "../scripts/method_places.ts";
import { methodsTable } from "../scripts/methods_report.ts";
import { claims, mainTable, pairLines, sizeOptionsTable } from "../scripts/tables.ts";
import { secondWorldText, tuningClaims, tuningTable } from "../scripts/tuning_tables.ts";
import type { Verdict } from "../scripts/verdicts.ts";

/** The formatter pads the cells of tables. */
const plain = (text: string) => text.replaceAll(/ +/g, " ").replaceAll(/-{3,}/g, "---");

const results = "data/results";

Deno.test("README: its table is the rendering of means.jsonl", async () => {
  const means = decodeRows(await Deno.readTextFile(`${results}/means.jsonl`), "means.jsonl");
  const readme = plain(await Deno.readTextFile("README.md"));
  for (const line of mainTable(means).toMarkdown().split("\n")) assertStringIncludes(readme, plain(line));
});

Deno.test("README: what it claims of methods are the sentences of verdicts.jsonl, and nothing else", async () => {
  const lines = (await Deno.readTextFile(`${results}/verdicts.jsonl`)).split("\n").filter(Boolean);
  const flat = (text: string) => text.replaceAll(/\s+/g, " ").trim();
  const between = (await Deno.readTextFile("README.md")).split(/<!-- \/?claims -->/)[1];
  assertEquals(flat(between), flat(claims(lines.map((line) => JSON.parse(line) as Verdict))));
});

Deno.test("README: what it says of tuning is rendered from the rows and verdicts of that study, and nothing else", async () => {
  const flat = (text: string) => plain(text).replaceAll(/\s+/g, " ").trim();
  const readme = await Deno.readTextFile("README.md");
  const lines = (await Deno.readTextFile(`${results}/tuning_verdicts.jsonl`)).split("\n").filter(Boolean);
  const verdicts = lines.map((line) => JSON.parse(line) as Verdict);
  assertEquals(flat(readme.split(/<!-- \/?tuning claims -->/)[1]), flat(tuningClaims(verdicts)));
  const path = `${results}/tuning_means.jsonl`;
  const table = tuningTable(decodeRows(await Deno.readTextFile(path), path)).toMarkdown();
  for (const line of table.split("\n")) assertStringIncludes(flat(readme), flat(line));
});

Deno.test("README: what it says of the second world is rendered from that study, and nothing else", async () => {
  const flat = (text: string) => plain(text).replaceAll(/\s+/g, " ").trim();
  const between = (await Deno.readTextFile("README.md")).split(/<!-- \/?second world -->/)[1];
  const read = (file: string) => Deno.readTextFile(`${results}/second_world_${file}`);
  const verdicts = (await read("verdicts.jsonl")).split("\n").filter(Boolean).map((line) =>
    JSON.parse(line) as Verdict
  );
  const means = decodeRows(await read("means.jsonl"), "second_world_means.jsonl");
  assertEquals(flat(between), flat(secondWorldText(means, verdicts)));
});

Deno.test("README: what it says of the methods of the field is rendered from that study, and nothing else", async () => {
  const flat = (text: string) => plain(text).replaceAll(/\s+/g, " ").trim();
  const readme = await Deno.readTextFile("README.md"), path = `${results}/methods_means.jsonl`;
  const lines = (await Deno.readTextFile(`${results}/methods_verdicts.jsonl`)).split("\n").filter(Boolean);
  const sentences = pairLines(lines.map((line) => JSON.parse(line) as Verdict)).join("\n");
  assertEquals(flat(readme.split(/<!-- \/?methods claims -->/)[1]), flat(sentences));
  const means = decodeRows(await Deno.readTextFile(path), path),
    verdicts = lines.map((line) => JSON.parse(line) as Verdict);
  for (const table of [methodsTable(means), placesTable(means)]) {
    for (const line of table.toMarkdown().split("\n")) assertStringIncludes(flat(readme), flat(line));
  }
  assertEquals(flat(readme.split(/<!-- \/?orderings -->/)[1]), flat(orderingLines(verdicts)));
});

Deno.test("README: what it says of decoding is rendered from that study, and nothing else", async () => {
  const flat = (text: string) => plain(text).replaceAll(/\s+/g, " ").trim();
  const readme = await Deno.readTextFile("README.md"), path = `${results}/decoding_means.jsonl`;
  const lines = (await Deno.readTextFile(`${results}/decoding_verdicts.jsonl`)).split("\n").filter(Boolean);
  const sentences = decodingClaims(lines.map((line) => JSON.parse(line) as Verdict));
  assertEquals(flat(readme.split(/<!-- \/?decoding claims -->/)[1]), flat(sentences));
  const table = decodingTable(decodeRows(await Deno.readTextFile(path), path), [usualSampler]).toMarkdown();
  for (const line of table.split("\n")) assertStringIncludes(flat(readme), flat(line));
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
