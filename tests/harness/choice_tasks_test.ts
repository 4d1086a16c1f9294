/** Multiple-choice tasks: what is asked of invented rows, and the few-shot examples that Python draws. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { choiceDefinitions, mmluSubjects } from "../../lib/harness/tasks/choice_tasks.ts";
import type { Doc } from "../../lib/harness/tasks/definition.ts";
import { contextsOf } from "../../lib/harness/tasks/shots.ts";
import { capitalize, characters, strip } from "../../lib/harness/tasks/words.ts";
import { python, pythonPrints } from "./python.ts";
import { arcRows, boolqRows, gpqaRows, hellaswagRows, mmluRows, piqaRows, winograndeRows } from "./rows.ts";

const task = (id: string) => choiceDefinitions.find((t) => t.id === id)!;
const ask = (id: string, doc: Doc) => task(id).question(doc);

Deno.test("piqa, arc and boolq: a question, its options, the right one", () => {
  const context = "Question: Warm 1 stones.\nAnswer:";
  assertEquals(ask("piqa", piqaRows[1]), {
    contexts: [context, context],
    continuations: ["Leave them in the sun for 1 hours.", "Sing."],
    gold: 1,
  });
  const easy = ask("arc_easy", arcRows[0]);
  assertEquals([easy.contexts[2], easy.continuations, easy.gold], ["Question: Which floats?\nAnswer:", [
    "cork",
    "iron",
    "lead",
  ], 0]);
  assertEquals(ask("arc_challenge", arcRows[1]).gold, 1, "labels may be digits");
  assertEquals(ask("boolq", boolqRows[0]).contexts[0], "Snow is frozen.\nQuestion: is snow cold?\nAnswer:");
  assertEquals(ask("boolq", boolqRows[0]).continuations, ["no", "yes"]);
});

Deno.test("hellaswag is cleaned: headings become stops, brackets go, double spaces become single once", () => {
  const { contexts, continuations, gold } = ask("hellaswag", hellaswagRows[0]);
  assertEquals(contexts[0], "Baking bread: How to bake. Mix it well. The baker then");
  assertEquals(continuations, ["kneads the dough.", "sells the oven.", "swims.", "sleeps. at noon."]);
  assertEquals(gold, 2);
});

Deno.test("winogrande fills the gap in the context and scores what follows it", () => {
  assertEquals(ask("winogrande", winograndeRows(2)[1]), {
    contexts: ["Tarn gave Oslin a kettle because Tarn", "Tarn gave Oslin a kettle because Oslin"],
    continuations: ["was thirsty 1 times.", "was thirsty 1 times."],
    gold: 1,
    target: "was thirsty 1 times.",
  });
  assertThrows(() => ask("winogrande", { ...winograndeRows(1)[0], sentence: "none" }), SyntaxError, "has no gap");
});

Deno.test("mmlu has 57 subjects, and the first five of dev before every question", () => {
  assertEquals(new Set(Object.values(mmluSubjects).flat()).size, 57);
  assertEquals(choiceDefinitions.filter(({ group }) => group === "mmlu").length, 57);
  const own = task("mmlu_us_foreign_policy");
  const [context] = contextsOf(own, mmluRows(1), mmluRows(7));
  assert(
    context.startsWith(
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nWhat is 0",
    ),
  );
  assert(context.endsWith("What is 4 plus one?\nA. 4\nB. 5\nC. 6\nD. none\nAnswer: B\n\n"));
  assertEquals(context.split("\n\n").length, 7);
  assertThrows(() => contextsOf(own, mmluRows(1), mmluRows(4)), RangeError, "there are 4 in dev");
});

Deno.test("gpqa shuffles its options by one generator over all rows", () => {
  const own = task("gpqa_main_n_shot");
  const docs = own.prepare!(gpqaRows(3));
  const orders = docs.map((doc) => [1, 2, 3, 4].map((i) => String(doc[`choice${i}`]).split(" ")[0]));
  // Python 3.11.2: r = random.Random(42); x = ["wrong", "worse", "", "right"] ("worst" after the first row); r.shuffle(x), three times.
  assertEquals(orders, [["", "worse", "right", "wrong"], ["right", "worst", "wrong", "worse"], [
    "worse",
    "right",
    "worst",
    "wrong",
  ]]);
  docs.forEach((doc, i) => {
    const { gold, contexts, target } = own.question(doc);
    assertEquals(target, `(${"ABCD"[gold]})`);
    assertEquals(orders[i][gold], "right");
    assert(contexts[0].includes(`(${"ABCD"[gold]}) right ${i}\n`));
  });
});

Deno.test("examples are drawn for one row after another, one more where the row itself may be among them", () => {
  const own = task("winogrande");
  const pool = winograndeRows(300), docs = winograndeRows(3);
  const numbers = contextsOf(own, docs, pool).map((text) =>
    [...text.matchAll(/thirsty (\d+)/g)].map(([, n]) => Number(n))
  );
  // Python 3.11.2: r = random.Random(1234); three times r.sample(range(300), 6), without the row's own number, the first five.
  assertEquals(numbers, [[225, 59, 3, 46, 298], [42, 50, 181, 121, 8], [8, 177, 247, 237, 76]]);
  const [first] = contextsOf(own, docs, pool, { shots: 1 });
  assertEquals(first.split("\n\n").length, 2);
  assertEquals(
    contextsOf(own, docs.slice(0, 2), pool),
    contextsOf(own, docs, pool).slice(0, 2),
    "a limit changes nothing",
  );
  assertEquals(contextsOf(own, docs, pool, { shots: 0 }), ["", "", ""]);
  const file = { description: "Fill.\n\n", shots: [{ prompt: "A", target: "b" }, { prompt: "C", target: "d" }] };
  assertEquals(contextsOf(own, docs.slice(1), pool, { shots: 2, file })[0], "Fill.\n\nA b\n\nC d\n\n");
  assertThrows(() => contextsOf(own, docs, pool, { shots: 3, file }), RangeError, "there are 2");
});

Deno.test("a row of another schema is refused by the field", () => {
  assertThrows(() => ask("piqa", { goal: 3 }), SyntaxError, '"goal" is 3, wanted a string; its fields are goal');
  assertThrows(() => ask("arc_easy", { ...arcRows[0], answerKey: "Z" }), SyntaxError, "option -1 of 3");
  assertThrows(() => ask("hellaswag", { ...hellaswagRows[0], label: "" }), SyntaxError, "wanted an integer");
});

Deno.test("strings are Python's", () => {
  assertEquals(strip("\x1f\u0085 a b \u2003\n"), "a b");
  assertEquals(strip("\uFEFF a "), "\uFEFF a");
  assertEquals([capitalize("ab CD"), capitalize(""), capitalize("ñU")], ["Ab cd", "", "Ñu"]);
  assertEquals(characters("a😀é"), 3);
  if (!python) return;
  const all = ["\x1f\u0085 a b \u2003\n", "\uFEFF a ", " \uFEFF ", "x\u200b ", ""];
  const theirs = pythonPrints(
    `import json; print(json.dumps([s.strip() for s in json.loads(${JSON.stringify(JSON.stringify(all))})]))`,
  );
  assertEquals(all.map(strip), theirs);
});
