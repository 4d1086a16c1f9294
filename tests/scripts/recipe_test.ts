/** The paper's experiments as values, and `deno task ablations` on the testbed, as a person runs it. */
import { assert, assertAlmostEquals, assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { harnessTasks, tasks as nanoTasks } from "quant-dllm";
import { methodOf, methodOptions } from "../../scripts/methods.ts";
import { type ArmPlan, passesOf, planLines, sumOf } from "../../scripts/recipe_plan.ts";
import { type RecipeMethod, recipes, type RecipeTasks } from "../../scripts/recipe_values.ts";
import { deno } from "../deno.ts";
import { inFolder } from "../model/tiny.ts";

type Typed = Parameters<typeof methodOf>[0];

/** The name of the method that options of `deno task quantize` make for LLaDA-8B, and the options that are not of methods. */
function made(options: readonly string[]): string {
  const typed: Record<string, string> = {}, rest: string[] = [];
  for (const [name, { default: usual }] of Object.entries(methodOptions)) typed[name] = usual;
  for (let i = 0; i < options.length; i++) {
    const name = options[i].replace("--", "");
    if (name in typed) typed[name] = options[++i];
    else rest.push(options[i]);
  }
  return [methodOf(typed as unknown as Typed, 4096).name, ...rest].join(" ");
}
const namesOf = (methods: readonly RecipeMethod[], kind: "llada" | "dream") =>
  Object.fromEntries(methods.map((m) => [m.label, made(m.instead?.[kind] ?? m.options ?? [])]));

Deno.test("recipes: every method is one that quantize makes, with the paper's bits, groups and shares", () => {
  assertEquals(namesOf(recipes.table1.methods.slice(1), "llada"), {
    "GPTQ": "gptq-2b-g128 --no-mcs",
    "GPTAQ": "gptaq-2b-g128 --no-mcs",
    "SliM-LLM": "slim-llm-2b-g128 --no-mcs",
    "Quant-dLLM": "daq-official-abmp2-r0.05-g128",
    "levels": "daq-plus-levels-2b-g128",
  });
  assertEquals(namesOf(recipes.table1.methods.slice(4, 5), "dream"), { "Quant-dLLM": "daq-official-abmp2-r0.1-g128" });
  const own = namesOf(recipes.ablations.methods.slice(1), "dream");
  assertEquals(own["without MCS"], "daq-official-abmp2-r0.1-g128 --no-mcs");
  assertEquals(own["ABMP 0 %"], "daq-official-2b-g128");
  assertEquals(own["ABMP 5 %"], "daq-official-abmp2-r0.05-g128");
  assertEquals(own["RSR"], "daq-official-abmp2-r0.1-g128-dor=false");
  assertEquals(own["plain fit"], "daq-official-abmp2-r0.1-g128-dor=false-rsr=false");
  assertEquals(own["64 windows"], "daq-official-abmp2-r0.1-g128 --windows 64");
  for (const { methods } of Object.values(recipes)) {
    assertEquals(new Set(methods.map(({ label }) => label)).size, methods.length);
    assertFalse(methods.some(({ label }) => label.includes(",")), "--methods has commas between labels");
  }
});

Deno.test("recipes: every task is one that evaluate knows, and takes as many passes as the protocol asks for", () => {
  for (const { tasks, means } of Object.values(recipes)) {
    const named = Object.values(tasks).flat().flatMap((group) => group.tasks.map(({ name }) => name));
    for (const name of named) assert(name in nanoTasks || harnessTasks([name]).length > 0, name);
    for (const name of Object.values(means).flat()) assert(named.includes(name), name);
    for (const { name, parts = 1 } of Object.values(tasks).flat().flatMap((group) => group.tasks)) {
      if (!(name in nanoTasks)) assertEquals(harnessTasks([name]).length, parts, name);
    }
  }
  const { llada, dream } = recipes.table1.tasks;
  const passes = (groups: readonly RecipeTasks[]) =>
    Object.fromEntries(groups.flatMap(({ tasks }) => tasks.map((task) => [task.name, passesOf([task]).passes])));
  // Rows x options x 128 masks; MMLU's one token is the same sequence for all four.
  const likelihoods = {
    ...{ mmlu: 14042, winogrande: 324352, piqa: 470528 },
    ...{ arc_challenge: 600064, arc_easy: 1216512, hellaswag: 5141504 },
  };
  assertEquals(passes(llada), { ...likelihoods, bbh_cot_fewshot: 6511 * 1024 });
  assertEquals(passes(dream), { ...likelihoods, bbh_cot_fewshot: 6511 * 512 });
  const shots = (groups: readonly RecipeTasks[]) => groups.map(({ options }) => options.join(" "));
  assertEquals(shots(llada), [
    "--mc-num 128 --mc-batch 8 --shots 5",
    "--mc-num 128 --mc-batch 8 --shots 0",
    "--gen-length 1024 --gen-steps 1024 --gen-block 1024 --shots 0",
  ]);
  assertEquals(shots(dream), [
    "--mc-num 128 --mc-batch 32 --shots 5",
    "--mc-num 128 --mc-batch 32 --shots 0",
    "--gen-length 512 --gen-steps 512 --shots 0",
  ]);
  // A limit is one of each task of a group.
  assertEquals(passesOf(llada[0].tasks, 10), { passes: 570 + 2560, tokens: 570 * 700 + 2560 * 150 });
});

Deno.test("a plan tells what it knows, and sums where it knows all", () => {
  const known: ArmPlan = {
    ...{ model: "m", label: "GPTQ", tasks: ["piqa"], passes: 470528 },
    ...{ quantizeSeconds: 7200, evaluateSeconds: 60, outputBytes: 4e9, diskBytes: 9e9 },
  };
  assertEquals(planLines(known), [
    "m, GPTQ",
    "  quantize: about 2.0 h, 4.0 GB, on the way 9.0 GB of disk",
    "  evaluate: piqa: 471 thousand forward passes, about 60 s as dense weights take them",
  ]);
  const { evaluateSeconds: _, quantizeSeconds: __, ...unknown } = known;
  assertStringIncludes(planLines(unknown)[1], "once the checkpoint is a folder here");
  assertEquals(sumOf([known, known]), { seconds: 14520, bytes: 13e9 });
  assertEquals(sumOf([known, unknown]), undefined);
});

const permissions = ["--allow-read", "--allow-env", "--allow-sys", "--allow-ffi", "--allow-write", "--allow-run"];
const run = (...args: string[]) =>
  deno(["run", "--quiet", "--no-check", ...permissions, "scripts/recipe.ts", ...args], { NO_COLOR: "1" });

Deno.test("a recipe runs on the testbed; what is there is not made again, and a plan says so", () =>
  inFolder(async (folder) => {
    const given = ["ablations", "--models", "data/nano-llada", "--methods", "full precision,plain fit"];
    const command = [...given, "--limit", "8", "--device", "cpu", "--out", `${folder}/out`];
    const { code, stdout, stderr } = await run(...command);
    assertEquals(code, 0, stderr);
    assertEquals(JSON.parse(stdout), { rows: 2, out: `${folder}/out` });
    assertStringIncludes(stderr, "In all about");
    assertEquals(stderr.match(/^deno task (quantize|evaluate) /gm), [
      "deno task evaluate ",
      "deno task quantize ",
      "deno task evaluate ",
    ]);
    const text = await Deno.readTextFile(`${folder}/out/rows.jsonl`);
    const rows = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
    assertEquals(rows.map(({ label, method, task, n }) => [label, method, task, n]), [
      ["full precision", "fp", "nano_mmlu", 8],
      ["plain fit", "daq-official-abmp2-r0.05-g128-dor=false-rsr=false", "nano_mmlu", 8],
    ]);
    const report = await Deno.readTextFile(`${folder}/out/report.md`);
    assertStringIncludes(report, `${(100 * rows[1].value).toFixed(1)}`);

    const again = await run(...command);
    assertEquals([again.code, JSON.parse(again.stdout).rows], [0, 2]);
    assertFalse(/deno task (quantize|evaluate)/.test(again.stderr), again.stderr);
    assertEquals(await Deno.readTextFile(`${folder}/out/rows.jsonl`), text);

    // One of its rows from another device: the table is made where that is asked for only.
    for await (const { name } of Deno.readDir(`${folder}/out/data_nano-llada/plain_fit`)) {
      const path = `${folder}/out/data_nano-llada/plain_fit/${name}`;
      if (!name.startsWith("rows-")) continue;
      const moved = (await Deno.readTextFile(path)).replaceAll('"platform":"cpu,', '"platform":"cuda (H100),');
      await Deno.writeTextFile(path, moved);
    }
    const refused = await run(...command);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.stderr, "and on cuda (H100)");
    assertStringIncludes(refused.stderr, "pass --across-devices");
    assertEquals((await run(...command, "--across-devices")).code, 0);

    const planned = await run(...given, "--limit", "4", "--device", "cpu", "--out", `${folder}/out`, "--plan");
    const { plans } = JSON.parse(planned.stdout) as { plans: ArmPlan[] };
    assertEquals(plans.map(({ tasks, passes, quantizeSeconds }) => [tasks.join(), passes, quantizeSeconds]), [
      ["nano_mmlu", 4, 0],
      ["nano_mmlu", 4, 0],
    ]);
    assert(plans.every(({ evaluateSeconds }) => evaluateSeconds! > 0));
    assertAlmostEquals(plans[0].evaluateSeconds!, plans[1].evaluateSeconds!);
  }));

Deno.test("a recipe refuses what it does not have by name, and plans models of the Hub without the Hub", async () => {
  for (
    const [args, message] of [
      [["table9"], 'There is no recipe "table9": wanted one of table1, figure3, ablations'],
      [["table1", "--methods", "GPTQ,QuIP"], '--methods has "QuIP", wanted of full precision, GPTQ,'],
    ] as const
  ) {
    const { code, stdout, stderr } = await run(...args);
    assertEquals([code, stdout], [2, ""]);
    assertStringIncludes(stderr, message);
  }
  const { code, stdout, stderr } = await run("table1", "--plan", "--methods", "full precision");
  assertEquals(code, 0, stderr);
  const { plans } = JSON.parse(stdout) as { plans: ArmPlan[] };
  assertEquals(plans.map(({ model }) => model), recipes.table1.models);
  assertEquals(plans[0].passes, 14042 + 324352 + 470528 + 600064 + 1216512 + 5141504 + 6511 * 1024);
});
