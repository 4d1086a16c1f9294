import { assert, assertEquals } from "@std/assert";
import { hashTokens, splitOf } from "../../lib/nanoworld/split.ts";
import { type TaskItem, taskItems, TASKS } from "../../lib/nanoworld/tasks.ts";
import { createWorld, SEQUENCE_LENGTH, WORLD_SEED } from "../../lib/nanoworld/world.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { expectedAnswer, tableOfEntries } from "./oracle.ts";

const world = createWorld({ seed: WORLD_SEED });
const asked = new Set<string>();
const tasks = TASKS.map((spec) => ({ spec, items: taskItems(world, spec, asked) }));
const entries = new Map([...tableOfEntries(world)].map(({ text, split }) => [text, split]));

const scored = (item: TaskItem, choice = item.answer) =>
  [item.context, item.choices[choice], item.suffix ?? ""].join(" ").trim();
const splitOfText = (text: string) => {
  const tokens = world.encode(text);
  return entries.get(text) ?? splitOf(hashTokens(tokens, tokens.length, world.seed));
};

for (const { spec, items } of tasks) {
  Deno.test(`${spec.name}: at least 300 items that fit, with choices of one length and the answer at every place equally often`, () => {
    assert(items.length >= 300);
    assertEquals(new Set(items.map((item) => item.id)).size, items.length);
    for (const item of items) {
      const lengths = item.choices.map((choice) => world.encode(choice).length);
      assertEquals(new Set(lengths).size, 1, item.id);
      assertEquals(new Set(item.choices).size, item.choices.length, item.id);
      assert(world.encode(scored(item)).length <= SEQUENCE_LENGTH, item.id);
    }
    for (const { family, items: count, choices } of spec.parts) {
      const places = new Array(choices).fill(0);
      for (const item of items) if (item.family === family) places[item.answer]++;
      assert(places.every((n) => Math.abs(n - count / choices) <= 1), `${family}: ${places}`);
    }
  });

  Deno.test(`${spec.name}: questions are test statements, shots are training statements, answers are right and the others wrong`, () => {
    for (const item of items) {
      const statements = scored(item).split(" . ").map((text, i, all) => i === all.length - 1 ? text : `${text} .`);
      assertEquals(splitOfText(statements.at(-1)!), "test", item.id);
      for (const shot of statements.slice(0, -1)) assertEquals(splitOfText(shot), "train", `${item.id}: ${shot}`);
      assert(statements.length - 1 >= Math.min(spec.shots, 2), item.id);
      const expected = expectedAnswer(item.family, statements.at(-1)!);
      if (expected !== undefined) assertEquals(item.choices[item.answer], expected, item.id);
      // A wrong choice must not make a statement that is true.
      item.choices.forEach((_, i) => {
        const text = scored(item, i).split(" . ").at(-1)!;
        if (i !== item.answer) assert(!entries.has(text), `${item.id}: ${text} is true`);
      });
    }
  });

  Deno.test(`${spec.name}: a reader of the choices alone stays at chance`, () => {
    const chance = items.reduce((sum, item) => sum + 1 / item.choices.length, 0) / items.length;
    const bound = chance + 3.5 * Math.sqrt(chance * (1 - chance) / items.length);
    for (const [name, score] of Object.entries(heuristics())) {
      const value = accuracy(items, score);
      assert(value <= bound, `"${name}" gets ${value} where chance is ${chance}`);
    }
  });
}

Deno.test("no question is asked twice", () => {
  const texts = tasks.flatMap(({ items }) => items.map((item) => scored(item).split(" . ").at(-1)!));
  assertEquals(new Set(texts).size, texts.length);
});

type Score = (choice: string, item: TaskItem) => number;

/** Ways to answer without the question; ties share the point. */
function heuristics(): Record<string, Score> {
  const answers = new Map<string, number>();
  const random = rng(1, "majority");
  for (let i = 0; i < 60_000; i++) {
    const { tokens, answers: flags } = world.statement(random, "train");
    const text = world.decode(tokens.filter((_, j) => flags[j] === 1));
    answers.set(text, (answers.get(text) ?? 0) + 1);
  }
  const shared = (a: string, b: string) => {
    const other = b.split(" ");
    return a.split(" ").filter((word, i) => word === other[i]).length;
  };
  const central: Score = (choice, item) => item.choices.reduce((sum, other) => sum + shared(choice, other), 0);
  const shots: Score = (choice, item) => item.context.split(` ${choice} `).length;
  return {
    "most frequent answer": (choice) => answers.get(choice) ?? 0,
    "least frequent answer": (choice) => -(answers.get(choice) ?? 0),
    "most like the others": central,
    "least like the others": (choice, item) => -central(choice, item),
    "last in the dictionary": (choice) => choice.charCodeAt(choice.length - 1),
    "often in the shots": shots,
    "seldom in the shots": (choice, item) => -shots(choice, item),
  };
}

function accuracy(items: readonly TaskItem[], score: Score): number {
  let sum = 0;
  for (const item of items) {
    const scores = item.choices.map((choice) => score(choice, item));
    const best = Math.max(...scores);
    if (scores[item.answer] === best) sum += 1 / scores.filter((value) => value === best).length;
  }
  return sum / items.length;
}
