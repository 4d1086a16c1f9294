/** Runs: the files that they write, stopping and going on, and pairs of models. */
import { assert, assertAlmostEquals, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { compare } from "../../lib/evaluate/compare.ts";
import { lladaLikelihood } from "../../lib/harness/likelihood/choose.ts";
import { type HarnessOptions, type HarnessProgress, runHarness } from "../../lib/harness/run.ts";
import { readHarnessRun } from "../../lib/harness/read_run.ts";
import { sha256 } from "../../lib/harness/samples.ts";
import { harnessOutcomes } from "../../lib/harness/summary.ts";
import { harnessNames, harnessTasks } from "../../lib/harness/tasks/named.ts";
import { asciiModel, given, inTempFolder, readJson, readLines } from "./model.ts";
import { mmluRows, piqaRows, winograndeRows } from "./rows.ts";

const rows = given({
  "piqa/validation": piqaRows,
  "piqa/train": piqaRows,
  "mmlu/anatomy/test": mmluRows(5),
  "mmlu/anatomy/dev": mmluRows(5),
  "mmlu/virology/test": mmluRows(11, "virology"),
  "mmlu/virology/dev": mmluRows(5, "virology"),
  "winogrande/winogrande_xl/validation": winograndeRows(4),
  "winogrande/winogrande_xl/train": winograndeRows(40),
});

const tasks = harnessTasks(["piqa", "mmlu_anatomy", "mmlu_virology", "winogrande"]);
const noon = Date.UTC(2026, 0, 31, 12);
const base: Omit<HarnessOptions, "out"> = {
  tasks,
  rows,
  likelihood: lladaLikelihood({ draws: 8, batch: 4 }),
  seed: 5,
  saveEvery: 2,
  about: { method: "none", bitsPerWeight: 16 },
  now: () => noon,
};

Deno.test("results have the fields of the layout, and each number where it belongs", () =>
  inTempFolder(async (out) => {
    const { model } = asciiModel();
    const run = await runHarness(model, { ...base, out });
    assertEquals(run.results, `${out}/org__fake/results_2026-01-31T12-00-00.000000.json`);
    assertEquals(run.samples.piqa, `${out}/org__fake/samples_piqa_2026-01-31T12-00-00.000000.jsonl`);
    assertEquals([...Deno.readDirSync(`${out}/org__fake`)].length, 5, "nothing is left unfinished");
    const results = await readJson(run.results);
    const fields =
      "results groups group_subtasks configs versions n-shot higher_is_better n-samples config git_hash date " +
      "pretty_env_info transformers_version lm_eval_version upper_git_hash tokenizer_pad_token tokenizer_eos_token " +
      "tokenizer_bos_token eot_token_id max_length task_hashes model_source model_name model_name_sanitized " +
      "system_instruction system_instruction_sha fewshot_as_multiturn chat_template chat_template_sha start_time end_time " +
      "total_evaluation_time_seconds";
    for (const field of fields.split(" ")) assert(Object.hasOwn(results, field), field);
    const settings =
      "model model_args batch_size batch_sizes device use_cache limit bootstrap_iters gen_kwargs random_seed " +
      "numpy_seed torch_seed fewshot_seed";
    for (const field of settings.split(" ")) assert(Object.hasOwn(results.config, field), field);
    assertMatch(results.config.model_args, /^pretrained=org\/fake,likelihood=llada,mc_num=8,cfg=0,batch_size=4/);
    assertEquals(results.versions, { piqa: 1, mmlu_anatomy: 1, mmlu_virology: 1, winogrande: 1 });
    assertEquals(results["n-shot"], { piqa: 0, mmlu_anatomy: 5, mmlu_virology: 5, winogrande: 5 });
    assertEquals(results["n-samples"].piqa, { original: 6, effective: 6 });
    assertEquals(results.group_subtasks, { mmlu: ["mmlu_anatomy", "mmlu_virology"], piqa: [], winogrande: [] });
    assertEquals(results.higher_is_better.piqa, { acc: true, acc_norm: true });
    assertEquals(results.date, noon / 1000);
    assertEquals(results.quant_dllm.bitsPerWeight, 16);

    const samples = await readLines(run.samples.piqa);
    const acc = samples.map((row) => row.acc as number);
    const mean = acc.reduce((a, b) => a + b) / 6;
    const { piqa, mmlu, mmlu_anatomy, mmlu_virology } = results.results;
    assertEquals(piqa["acc,none"], mean);
    assertAlmostEquals(piqa["acc_stderr,none"], Math.sqrt(mean * (1 - mean) / 5), 1e-12);
    const variance = samples.reduce((sum, row) => sum + row.acc_mc_variance, 0);
    assertAlmostEquals(piqa["acc_mc_stderr,none"], Math.sqrt(variance) / 6, 1e-12);
    assert(Object.hasOwn(piqa, "acc_norm,none") && !Object.hasOwn(mmlu_anatomy, "acc_norm,none"));
    assertEquals(mmlu_anatomy["acc_mc_stderr,none"], 0, "one token: no noise of masks");
    assertAlmostEquals(mmlu["acc,none"], (5 * mmlu_anatomy["acc,none"] + 11 * mmlu_virology["acc,none"]) / 16, 1e-12);
    const pooled = (4 * mmlu_anatomy["acc_stderr,none"] ** 2 * 5 + 10 * mmlu_virology["acc_stderr,none"] ** 2 * 11) /
      14;
    assertAlmostEquals(mmlu["acc_stderr,none"], Math.sqrt(pooled / 16), 1e-12);
    assertEquals(results.groups, { mmlu });
    assertEquals(run.scores.mmlu[0].value, mmlu["acc,none"]);
  }));

Deno.test("sample rows hold what was asked and answered, and their hashes", () =>
  inTempFolder(async (out) => {
    const { model, count } = asciiModel();
    const run = await runHarness(model, { ...base, out });
    const [first] = await readLines(run.samples.piqa);
    assertEquals(Object.keys(first), [
      ..."doc_id doc target arguments resps filtered_resps filter metrics doc_hash prompt_hash target_hash".split(" "),
      ..."acc acc_norm acc_mc_variance acc_norm_mc_variance".split(" "),
    ]);
    assertEquals(first.doc, piqaRows[0]);
    assertEquals(first.target, "0");
    const prompt = "Question: Warm 0 stones.\nAnswer:";
    assertEquals(first.arguments, {
      gen_args_0: { arg_0: prompt, arg_1: " Leave them in the sun for 0 hours." },
      gen_args_1: { arg_0: prompt, arg_1: " Sing." },
    });
    assertEquals(first.metrics, ["acc", "acc_norm"]);
    const [[[likelihood, greedy]]] = first.resps;
    assert(Number(likelihood) < 0 && greedy === "False");
    assertEquals(first.filtered_resps, first.resps.map(([response]: unknown[]) => response));
    assertEquals(first.prompt_hash, await sha256(prompt));
    assertEquals(first.doc_hash, await sha256(JSON.stringify(piqaRows[0], null, 2)));
    assertEquals(first.target_hash, await sha256("0"));
    const all = await readLines(run.samples.piqa);
    const results = await readJson(run.results);
    const joined = all.map((row) => row.doc_hash + row.prompt_hash + row.target_hash).join("");
    assertEquals(results.task_hashes.piqa, await sha256(joined));
    const own = await readLines(run.samples.winogrande);
    assertEquals(own[1].target, "was thirsty 1 times.");
    assertEquals(own[1].arguments.gen_args_0.arg_0.split("\n\n").length, 6);
    // piqa and winogrande ask two options of several tokens 8 masks each; mmlu asks a question once.
    assert(count.passes <= 6 * 16 + 4 * 16 + 16 && count.passes > 16, String(count.passes));
  }));

Deno.test("a run that is stopped anywhere goes on to the same bytes", () =>
  inTempFolder(async (out) => {
    const whole = await runHarness(asciiModel().model, { ...base, out: `${out}/whole` });
    for (const stop of [3, 4, 7, 12, 25]) {
      const { model } = asciiModel();
      const options = { ...base, out: `${out}/${stop}` };
      const abort = new AbortController();
      let seen = 0;
      const onProgress = () => void (++seen === stop && abort.abort(new Error("stopped")));
      await assertRejects(() => runHarness(model, { ...options, onProgress, signal: abort.signal }), Error, "stopped");
      const folder = `${out}/${stop}/org__fake`;
      for (const { name } of [...Deno.readDirSync(folder)]) { // a kill may cut a line
        if (name.startsWith("samples_")) {
          await Deno.writeTextFile(`${folder}/${name}`, '{"doc_id": 9', { append: true });
        }
      }
      const later = { ...options, now: () => noon + 3600_000 };
      await assertRejects(() => runHarness(model, { ...later, seed: 6 }), RangeError, "begun with seed 5, now 6");
      const run = await runHarness(model, later);
      for (const id of Object.keys(run.samples)) {
        assertEquals(
          await Deno.readTextFile(run.samples[id]),
          await Deno.readTextFile(whole.samples[id]),
          `${stop} ${id}`,
        );
      }
      const [a, b] = await Promise.all([readJson(run.results), readJson(whole.results)]);
      for (const field of ["start_time", "end_time"]) delete a[field], delete b[field];
      assertEquals(a, b);
    }
  }));

Deno.test("what was begun without a row is begun anew, and missing rows of any task are told before the first", () =>
  inTempFolder(async (out) => {
    const options = { ...base, tasks: harnessTasks(["piqa"]), out };
    const abort = new AbortController();
    const onProgress = () => abort.abort(new Error("stopped"));
    const stopped = () => runHarness(asciiModel().model, { ...options, onProgress, signal: abort.signal });
    await assertRejects(stopped, Error, "stopped");
    const run = await runHarness(asciiModel().model, { ...options, seed: 6, now: () => noon + 1000 });
    assertMatch(run.results, /12-00-01/);
    const { model, count } = asciiModel();
    const missing = () => runHarness(model, { ...base, tasks: harnessTasks(["piqa", "arc_easy"]), out: `${out}/2` });
    await assertRejects(missing, RangeError, "no rows ai2_arc");
    assertEquals(count.passes, 0);
  }));

Deno.test("a run does not go on with other rows", () =>
  inTempFolder(async (out) => {
    const abort = new AbortController();
    const onProgress = ({ done }: HarnessProgress) => done === 4 && abort.abort(new Error("stopped"));
    const options = { ...base, tasks: harnessTasks(["piqa"]), out };
    const stopped = () => runHarness(asciiModel().model, { ...options, onProgress, signal: abort.signal });
    await assertRejects(stopped, Error, "stopped");
    const other = given({ "piqa/validation": [...piqaRows].reverse() });
    await assertRejects(
      () => runHarness(asciiModel().model, { ...options, rows: other }),
      RangeError,
      "its row 0 is not the one",
    );
  }));

Deno.test("a limit takes the first rows, and progress tells how far and how long", () =>
  inTempFolder(async (out) => {
    let time = 0;
    const told: HarnessProgress[] = [];
    const options = { ...base, tasks: harnessTasks(["winogrande"]), limit: 3, now: () => time += 500 };
    const run = await runHarness(asciiModel().model, { ...options, out, onProgress: (p) => told.push(p) });
    assertEquals(told.map(({ done, total, index, task }) => [done, total, index, task]), [
      [1, 3, 0, "winogrande"],
      [2, 3, 0, "winogrande"],
      [3, 3, 0, "winogrande"],
    ]);
    assertEquals(told.map(({ seconds }) => seconds), [1, 0.5, 0]);
    const results = await readJson(run.results);
    assertEquals([results["n-samples"].winogrande, results.config.limit], [{ original: 4, effective: 3 }, 3]);
    assertEquals(Object.hasOwn(results, "groups"), false);
    const full = await runHarness(asciiModel().model, {
      ...base,
      tasks: harnessTasks(["winogrande"]),
      out: `${out}/full`,
    });
    const [some, all] = await Promise.all([run, full].map(({ samples }) => readLines(samples.winogrande)));
    assertEquals(some, all.slice(0, 3));
    await assertRejects(() => runHarness(asciiModel().model, { ...options, out, limit: 0 }), RangeError, "limit is 0");
  }));

Deno.test("two models of one run setting are paired row by row, and others are not", () =>
  inTempFolder(async (out) => {
    const run = (name: string, more = {}) =>
      runHarness(asciiModel({ name, sharpness: name === "a" ? 1 : 2 }).model, { ...base, out, ...more });
    const [a, b, c] = [await run("a"), await run("b"), await run("c", { shots: 1 })];
    const comparison = compare(harnessOutcomes("a", [a]), harnessOutcomes("b", [b]));
    assertEquals(comparison.n, 6 + 5 + 11 + 4);
    assert(comparison.verdict !== "too few seeds");
    const byTask = (r: typeof a) => Object.values(r.items).map((x) => x.reduce((s, v) => s + v, 0) / x.length);
    const mean = (x: number[]) => x.reduce((s, v) => s + v, 0) / x.length;
    assertAlmostEquals(comparison.difference, mean(byTask(a)) - mean(byTask(b)), 1e-12);
    for (const { items, seed, results } of [a, b]) {
      assertEquals(await readHarnessRun(results), { items, seed }, "as it was written");
    }
    const [h, other] = [await run("a", { platform: "cuda (H100)", out: `${out}/h` }), "cuda (A100)"];
    assertEquals(await readHarnessRun(h.results), { items: h.items, seed: h.seed, platform: "cuda (H100)" });
    const elsewhere = { ...b, platform: other };
    assertThrows(() => compare(harnessOutcomes("h", [h]), harnessOutcomes("b", [elsewhere])), RangeError, other);
    assertThrows(() => harnessOutcomes("h", [h, { ...h, platform: other }]), RangeError, "--across-devices");
    assertEquals(harnessOutcomes("h", [h, { ...h, platform: other }], { acrossPlatforms: true }).platform, undefined);
    assertEquals(compare(harnessOutcomes("h", [h]), harnessOutcomes("b", [b])).difference, comparison.difference);
    await Deno.writeTextFile(`${out}/other.json`, '{"config": {"model": "hf"}}');
    await assertRejects(
      () => readHarnessRun(`${out}/other.json`),
      SyntaxError,
      "no results of this kit",
    );
    assertThrows(() => compare(harnessOutcomes("a", [a]), harnessOutcomes("c", [c])), RangeError, "the tasks are");
  }));

Deno.test("tasks and groups have names, and others are refused", () => {
  assertEquals(harnessTasks(["mmlu"]).length, 57);
  assertEquals(harnessTasks(["bbh"]).length, 27);
  assertEquals(harnessTasks(["piqa", "piqa"]).length, 1);
  assert(harnessNames.includes("minerva_math") && !harnessNames.includes("mmlu_anatomy"));
  assertThrows(() => harnessTasks(["nothing"]), RangeError, 'Cannot evaluate on "nothing": wanted piqa');
});

Deno.test("a prompt longer than the model reads is refused with a remedy", () =>
  inTempFolder(async (out) => {
    const { model } = asciiModel({ maxLength: 40 });
    await assertRejects(
      () => runHarness(model, { ...base, out }),
      RangeError,
      "and the model reads 40; ask for fewer shots",
    );
  }));
