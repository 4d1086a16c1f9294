/** What `reproduce` knows arms by: stored ones serve only where model, data and code are those of today. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { type Arm, choiceTasks, identityOf, rtn, type Task, tasks, visible } from "quant-dllm";
import { armInputs, codeVersion } from "../../scripts/inputs.ts";
import { edgesOf } from "../architecture.ts";
import { checkpointTensors, inFolder, tinyConfig, tinyWeights, writeCheckpoint } from "../model/tiny.ts";

/** A model, a text and a task in `folder`, and the identity of an arm over them. */
async function study(folder: string, seed = 1) {
  const config = tinyConfig();
  await Deno.mkdir(`${folder}/model`);
  await writeCheckpoint(`${folder}/model`, config, checkpointTensors(config, tinyWeights(config, seed)));
  await Deno.writeTextFile(`${folder}/model/tokenizer.json`, await Deno.readTextFile("data/nano-llada/tokenizer.json"));
  await Deno.writeTextFile(`${folder}/text.jsonl`, '{"text":"a"}\n');
  await Deno.copyFile(tasks.nano_bbh.data!, `${folder}/task.jsonl`);
  const task: Task = { ...tasks.nano_bbh, data: new URL(`file://${folder}/task.jsonl`) };
  const arm: Arm = {
    label: "RTN",
    method: rtn({ bits: 2, group: 16 }),
    calibration: visible,
    windows: 4,
    tasks: [{ task, limit: 6 }],
  };
  return async (length = 64) => {
    const given = { model: `${folder}/model`, device: "cpu", corpus: `${folder}/text.jsonl`, length, tasks: [task] };
    return identityOf(arm, { seed: 1, inputs: await armInputs(given) });
  };
}

async function append(path: string, text: string) {
  await Deno.writeTextFile(path, text, { append: true });
}

Deno.test("arms: equal folders have one identity, another model has another", () =>
  inFolder(async (folder) => {
    for (const name of ["a", "b", "c"]) await Deno.mkdir(`${folder}/${name}`);
    const [a, b, c] = [await study(`${folder}/a`), await study(`${folder}/b`), await study(`${folder}/c`, 2)];
    assertEquals(await a(), await a());
    assertEquals(await b(), await a());
    assertNotEquals(await c(), await a());
    assertNotEquals(await a(32), await a());
  }));

Deno.test("arms: edited weights, config, tokenizer, text or items make another identity, a README does not", () =>
  inFolder(async (folder) => {
    const identity = await study(folder);
    const seen = [await identity()];
    await append(`${folder}/model/README.md`, "words");
    assertEquals(await identity(), seen[0]);
    const weights = await Deno.readFile(`${folder}/model/model.safetensors`);
    weights[weights.length - 1] ^= 1;
    await Deno.writeFile(`${folder}/model/model.safetensors`, weights);
    seen.push(await identity());
    for (const file of ["model/config.json", "model/tokenizer.json", "text.jsonl", "task.jsonl"]) {
      await append(`${folder}/${file}`, "\n");
      seen.push(await identity());
    }
    assertEquals(new Set(seen).size, seen.length);
  }));

Deno.test("arms: the tasks that ship are known by their files, one without a file is refused", async () => {
  const given = { model: "data/nano-llada", device: "cpu", corpus: "data/nanoworld/calibration.jsonl", length: 64 };
  const { tasks: digests, code } = await armInputs({ ...given, tasks: [...choiceTasks, tasks.elbo] });
  assertEquals(Object.keys(digests).length, 8);
  assertEquals(new Set(Object.values(digests)).size, 8);
  assertEquals(code, await codeVersion());
  const { data: _, ...nameless } = tasks.elbo;
  await assertRejects(() => armInputs({ ...given, tasks: [nameless] }), RangeError, 'the task "elbo" is of');
});

Deno.test("arms: edited code and other packages make another version, figures do not", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/lib/report`, { recursive: true });
    await Deno.mkdir(`${folder}/lib/quant/forms`, { recursive: true });
    const write = (path: string, text: string) => Deno.writeTextFile(`${folder}/${path}`, text);
    await write("deno.json", '{ "imports": { "a": "npm:a@1" }, "tasks": {} }');
    await write("lib/a.ts", "1");
    await write("lib/quant/forms/b.ts", "2");
    await write("lib/report/c.ts", "3");
    const first = await codeVersion(folder);
    assertMatch(first, /^\d+\.\d+\.\d+\+[0-9a-f]{12}$/);
    await write("lib/report/c.ts", "4");
    await write("deno.json", '{ "imports": { "a": "npm:a@1" }, "tasks": { "x": "y" } }');
    assertEquals(await codeVersion(folder), first);
    const seen = [first];
    for (
      const [path, text] of [
        ["lib/quant/forms/b.ts", "5"],
        ["lib/a.ts", "2"],
        ["lib/quant/c.ts", ""],
        ["deno.json", '{ "imports": { "a": "npm:a@2" } }'],
      ]
    ) {
      await write(path, text);
      seen.push(await codeVersion(folder));
    }
    assertEquals(new Set(seen).size, seen.length);
  }));

Deno.test("arms: no number is made in lib/report, which their code version leaves out", async () => {
  const entries = [
    "evaluate/study.ts",
    "evaluate/tasks.ts",
    "corpus/corpus.ts",
    "checkpoint/open.ts",
    "runtime/kernels.ts",
  ];
  const methods = ["rtn.ts", "gptq.ts", "abmp.ts", "daq/daq.ts", "daq/levels.ts"].map((name) => `methods/${name}`);
  const reached = new Set([...entries, ...methods].map((path) => `lib/${path}`));
  for (const path of reached) {
    if (!path.startsWith("lib/")) continue;
    const edges = edgesOf({ path, text: await Deno.readTextFile(path) });
    for (const { to, types } of edges) if (!types) reached.add(to);
  }
  assert(reached.size > 80, `only ${reached.size} files were reached`);
  // The card of a checkpoint on disk says what it holds; nothing reads it.
  assertEquals([...reached].filter((path) => path.startsWith("lib/report/")), ["lib/report/model_card.ts"]);
});
