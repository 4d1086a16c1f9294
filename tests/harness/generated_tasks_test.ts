/** Generated tasks: prompts, where answers end, how they are found and compared; code in the sandbox. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { lladaLikelihood } from "../../lib/harness/likelihood/choose.ts";
import { runHarness } from "../../lib/harness/run.ts";
import type { ChatMessage } from "../../lib/checkpoint/tokenizer/tokenizer.ts";
import { sha256 } from "../../lib/harness/samples.ts";
import { checkSandbox } from "../../lib/harness/sandbox.ts";
import type { Doc } from "../../lib/harness/tasks/definition.ts";
import { findBy, notFound, same } from "../../lib/harness/tasks/find_answer.ts";
import { finalAnswer, lastBoxed, normalMath } from "../../lib/harness/tasks/math_answer.ts";
import { generatedDefinitions } from "../../lib/harness/tasks/generated_tasks.ts";
import { harnessTasks } from "../../lib/harness/tasks/named.ts";
import { contextsOf, versionAsked } from "../../lib/harness/tasks/shots.ts";
import { asciiModel, given, inTempFolder, readJson, readLines } from "./model.ts";
import { python } from "./python.ts";
import { gpqaRows, gsm8kRows } from "./rows.ts";

const task = (id: string) => generatedDefinitions.find((t) => t.id === id)!;
const found = (id: string, answer: string, doc: Doc = {}) =>
  Object.fromEntries(Object.entries(task(id).filters).map(([name, find]) => [name, find(answer, doc)]));

Deno.test("answers are found by pattern: the first or last match, the first group that holds something", () => {
  assertEquals(findBy(/#### (-?[0-9.,]+)/g)("#### 1,200\n#### 7"), "1,200");
  assertEquals(findBy(/(x+)|(y+)/g, -1)("x yy"), "yy");
  assertEquals(findBy(/(x+)/g)("none"), notFound);
  assertEquals(findBy(/a (.*?) b/g)("a  c  b"), "c");
});

Deno.test("gsm8k: strictly after ####, flexibly the last number; commas, dollars and a last dot do not count", () => {
  const [doc] = gsm8kRows(1);
  const answer = " She has 3 + 4 = <<3+4=7>>7 of $9.\n#### 1,002";
  assertEquals(found("gsm8k", answer), { "strict-match": "1,002", "flexible-extract": "1,002" });
  assertEquals(found("gsm8k", "So it is $12.").valueOf(), { "strict-match": notFound, "flexible-extract": "$12." });
  const { right, target } = task("gsm8k");
  assert(
    right("$2.", target(doc)) && right("2", target(doc)) && !right("3", target(doc)) && !right(notFound, target(doc)),
  );
  assertEquals(found("gsm8k_cot", "So 3. The answer is 1,002. Or 7."), {
    "strict-match": "1,002.",
    "flexible-extract": "7.",
  });
  assert(task("gsm8k_cot").right("1,002.", "1002"));
});

Deno.test("fixed examples come from a file; the first rows of a split stand in for them, and the version says so", () => {
  const cot = task("gsm8k_cot");
  const rows = gsm8kRows(9);
  assertEquals(contextsOf(cot, rows.slice(0, 1), rows, { shots: 1 }), [
    "Q: Ila has 0 pears and gets 2. How many?\nA: She has 0 + 2 = 2. The answer is 2.\n\n",
  ]);
  assertEquals(versionAsked(cot, 8, undefined), "3.0+first-8-of-train");
  assertEquals([versionAsked(cot, 0, undefined), versionAsked(cot, 8, { shots: [] })], ["3.0", "3.0"]);
  const bbh = task("bbh_cot_fewshot_snarks");
  assertThrows(() => contextsOf(bbh, [{}], []), RangeError, "fixed texts, which a file must give");
  assertEquals(contextsOf(bbh, [{}], [], { shots: 0 }), [""]);
  const file = {
    description: "About irony.\n\n",
    shots: [{ prompt: "Q: a\nA: Let's think step by step.\n", target: "So." }],
  };
  assertEquals(contextsOf(bbh, [{}], [], { shots: 1, file }), [
    "About irony.\n\nQ: a\nA: Let's think step by step.\nSo.\n\n",
  ]);
});

Deno.test("bbh: what follows 'the answer is', without its last character", () => {
  assertEquals(found("bbh_cot_fewshot_navigate", "Step. So the answer is (A) yes.\nMore"), { "get-answer": "(A) yes" });
  assertEquals(found("bbh_cot_fewshot_navigate", "no"), { "get-answer": notFound });
  const zero = task("bbh_cot_zeroshot_navigate");
  assertEquals(found(zero.id, "The answer is Yes."), { "strict-match": "Yes" });
  assert(zero.right("(a)", "(A)"));
  assertEquals(zero.prompt({ input: "Left?", target: "No" }), "Q: Left?\nA: Let's think step by step.");
});

Deno.test("gpqa: the letter in the sentence asked for, or the last letter in brackets", () => {
  const own = task("gpqa_main_generative_n_shot");
  const [doc] = own.prepare!(gpqaRows(2));
  assertEquals(found(own.id, "As (B) is not it, The answer is (C). ", doc), {
    "strict-match": "(C).",
    "flexible-extract": "(C)",
  });
  assert(own.right("(C).", "(C)"));
  assert(own.prompt(doc).startsWith("Question: What has mass 0?\nChoices:\n(A) "));
});

Deno.test("math: the boxed answer, the final one, and one spelling for both", () => {
  assertEquals(lastBoxed("so \\boxed{1} and \\boxed{\\frac{1}{2}}."), "\\frac{1}{2}");
  assertEquals([lastBoxed("\\boxed 5 $"), lastBoxed("none"), lastBoxed("\\boxed{1")], ["5 ", undefined, undefined]);
  assertEquals(finalAnswer("x\nFinal Answer: The final answer is $3$. I hope it is correct."), "$3$");
  assertEquals(finalAnswer("x"), "[invalidanswer]");
  const alike: readonly (readonly [string, string])[] = [
    ["$3$", "3"],
    ["x = 1,000", "1000"],
    ["\\frac12", "\\frac{1}{2}"],
    ["\\sqrt2", "\\sqrt{2}"],
    ["12 \\text{ cm}", "12"],
    ["the value is $\\boxed{4}$ here", "4"],
    ["90^\\circ", "90"],
    ["\\text{(A)}", "(A)"],
    ["\\$5.00", "5.00"],
  ];
  for (const [a, b] of alike) assertEquals(normalMath(a), normalMath(b), a);
  assert(normalMath("\\frac{1}{2}") !== normalMath("0.5"), "values are compared as strings");
  const own = task("minerva_math_algebra");
  const doc = { problem: "What is $1+1$?", solution: "It is $\\boxed{2}$.", level: "Level 1", type: "Algebra" };
  assertEquals(own.target(doc), "2");
  assertEquals(
    own.shotTarget!(doc),
    "It is $\\boxed{2}$.\nFinal Answer: The final answer is $2$. I hope it is correct.",
  );
  assertEquals(own.filters.none(" $2$ Final Answer: The final answer is $2$. I hope it is correct.", doc), "2");
});

Deno.test("answers that are the same but for what is ignored", () => {
  assert(same({ ignoreCase: true, ignorePunctuation: true })("(a)!", "A"));
  assert(!same()("a", "A"));
});

const options = { likelihood: lladaLikelihood(), seed: 1, now: () => 0 };

Deno.test("a generated task: the answer ends at the first stop, and each filter has a score", () =>
  inTempFolder(async (out) => {
    const rows = given({ "gsm8k/test": gsm8kRows(4), "gsm8k/train": gsm8kRows(40).slice(20) });
    // Right and strict, right and loose, wrong, and right with more behind a stop.
    const answers = [
      " Two.\n#### 2",
      " It is 3 of them",
      " It is 5.\n#### 5",
      " #### 5\n\nQuestion: Next?\nAnswer: #### 8",
    ];
    const script = (prompt: string) =>
      answers[Number(/Ila has (\d+)[^]*?$/.exec(prompt.split("Question:").at(-1)!)![1])];
    const { model } = asciiModel({ script });
    const generation = { length: 48, steps: 12 };
    const run = await runHarness(model, { ...options, tasks: harnessTasks(["gsm8k"]), rows, generation, out });
    const scores = Object.fromEntries(run.scores.gsm8k.map(({ filter, value }) => [filter, value]));
    assertEquals(scores, { "strict-match": 0.5, "flexible-extract": 0.75 });
    const { results } = await readJson(run.results);
    assertEquals(results.gsm8k["exact_match,flexible-extract"], 0.75);
    assert(!Object.keys(results.gsm8k).some((key) => key.includes("mc_stderr")));
    const samples = await readLines(run.samples.gsm8k);
    assertEquals(samples.map(({ doc_id, filter }) => `${doc_id} ${filter}`).slice(0, 3), [
      "0 strict-match",
      "0 flexible-extract",
      "1 strict-match",
    ]);
    assertEquals(samples[6].resps, [[" #### 5\n\n"]]);
    assertEquals(samples[6].arguments.gen_args_0.arg_1, {
      until: ["Question:", "</s>", "<|im_end|>"],
      max_gen_toks: 48,
    });
    assertEquals(samples[6].arguments.gen_args_0.arg_0.split("Question:").length, 7, "five examples");
  }));

Deno.test("a chat template is applied to generated prompts on request, and the results hold it", () =>
  inTempFolder(async (out) => {
    const rows = given({ "gsm8k/test": gsm8kRows(1) });
    const prompts: string[] = [];
    const script = (prompt: string) => (prompts.push(prompt), " #### 2");
    const { model } = asciiModel({ script });
    const tokenizer = {
      ...model.tokenizer,
      hasChatTemplate: true,
      chatTemplate: "{{ messages }}",
      applyChatTemplate: ([{ content }]: readonly ChatMessage[]) => `<${content}>`,
    };
    const generation = { length: 8, chat: true };
    const chatting = { ...model, tokenizer } as typeof model;
    const run = await runHarness(chatting, {
      ...options,
      tasks: harnessTasks(["gsm8k"]),
      rows,
      shots: 0,
      generation,
      out,
    });
    assertEquals(prompts, ["<Question: Ila has 0 pears and gets 2. How many?\nAnswer:>"]);
    const results = await readJson(run.results);
    assertEquals([results.chat_template, results.chat_template_sha], [
      "{{ messages }}",
      await sha256("{{ messages }}"),
    ]);
  }));

const codeRows: readonly Doc[] = [
  {
    task_id: "Own/0",
    prompt: "def twice(x):\n",
    canonical_solution: "    return 2 * x\n",
    test: "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    entry_point: "twice",
  },
];
const mbppRow = (id: number) => ({
  task_id: id,
  text: `Write a function that adds ${id}.`,
  code: `def add(x):\r\n    return x + ${id}`,
  test_list: [`assert add(1) == ${id + 1}`, `assert add(0) == ${id}`, `assert add(-1) == ${id - 1}`],
});

Deno.test("code is not run unless that is asked for", () =>
  inTempFolder(async (out) => {
    const run = () =>
      runHarness(asciiModel().model, { ...options, tasks: harnessTasks(["humaneval"]), rows: given({}), out });
    await assertRejects(run, RangeError, "code answers are run; pass --run-code");
  }));

Deno.test("mbpp shows three rows of its prompt split before the task", () => {
  const own = task("mbpp");
  const pool = own.shotPool!([1, 2, 3, 4, 5].map(mbppRow));
  const [context] = contextsOf(own, [mbppRow(11)], pool);
  assertEquals(context.split("[DONE]\n\n").length, 4);
  assert(
    context.startsWith(
      "You are an expert Python programmer, and here is your task: Write a function that adds 2. Your code",
    ),
  );
  assert(context.includes("[BEGIN]\ndef add(x):\n    return x + 2\n[DONE]\n\n"));
});

const missing = python === undefined
  ? "install python3"
  : await checkSandbox({ python }).then(() => "", (e) => e.message);
if (missing) console.log(`SKIPPED code answers: ${missing}`);
Deno.test({
  name: "code answers are right when their tests end without an error",
  ignore: missing !== "",
  fn: () =>
    inTempFolder(async (out) => {
      const rows = given({
        "openai_humaneval/test": codeRows,
        "mbpp/test": [mbppRow(11), mbppRow(12)],
        "mbpp/prompt": [1, 2, 3, 4].map(mbppRow),
      });
      const script = (prompt: string) => {
        if (prompt.startsWith("def")) return "    return x + x\n\ndef other():\n    pass";
        return "def add(x):\n    return x + 11\n[DONE]\nmore";
      };
      const { model } = asciiModel({ script });
      const tasks = harnessTasks(["humaneval", "mbpp"]);
      const generation = { length: 60, steps: 4 };
      const sandbox = { python };
      const run = await runHarness(model, { ...options, tasks, rows, generation, sandbox, runCode: true, out });
      assertEquals([run.scores.humaneval[0].value, run.scores.mbpp[0].value], [1, 0.5]);
      const [sample] = await readLines(run.samples.humaneval);
      assertEquals([sample["pass@1"], sample.outcome], [1, "passed"]);
      assertEquals(sample.filtered_resps, ["def twice(x):\n    return x + x\n"]);
      const [, wrong] = await readLines(run.samples.mbpp);
      assertEquals([wrong["pass@1"], wrong.outcome], [0, "AssertionError: "]);
    }),
});
