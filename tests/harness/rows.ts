/** Invented rows in the schemas of the real data sets. */
import type { Doc } from "../../lib/harness/tasks/definition.ts";

const many = (count: number, row: (i: number) => Doc) => Array.from({ length: count }, (_, i) => row(i));

export const piqaRows = many(6, (i) => ({
  goal: `Warm ${i} stones.`,
  sol1: `Leave them in the sun for ${i} hours.`,
  sol2: "Sing.",
  label: i % 2,
}));

export const arcRows: readonly Doc[] = [
  {
    id: "a",
    question: "Which floats?",
    choices: { text: ["cork", "iron", "lead"], label: ["A", "B", "C"] },
    answerKey: "A",
  },
  {
    id: "b",
    question: "Which sinks?",
    choices: { text: ["wood", "iron", "ash", "oil"], label: ["1", "2", "3", "4"] },
    answerKey: "2",
  },
];

export const hellaswagRows: readonly Doc[] = [
  {
    ind: 4,
    activity_label: "Baking bread",
    ctx_a: "[header] How to bake [title] Mix it  well.",
    ctx_b: "the BAKER then",
    ctx: "unused",
    endings: ["kneads [step] the dough.", "sells the oven. ", "swims.", "sleeps [title] at noon."],
    label: "2",
    split: "val",
  },
];

export const winograndeRows = (count: number) =>
  many(count, (i) => ({
    sentence: `Tarn gave Oslin a kettle because _ was thirsty ${i} times. `,
    option1: "Tarn",
    option2: "Oslin",
    answer: String(1 + i % 2),
  }));

export const mmluRows = (count: number, subject = "anatomy") =>
  many(count, (i) => ({
    question: ` What is ${i} plus one? `,
    subject,
    choices: [`${i}`, `${i + 1}`, `${i + 2}`, "none"],
    answer: 1,
  }));

export const gpqaRows = (count: number) =>
  many(count, (i) => ({
    Question: `What has mass ${i}?`,
    "Correct Answer": ` right ${i} `,
    "Incorrect Answer 1": `wrong ${i}`,
    "Incorrect Answer 2": `worse ${i} [note]`,
    "Incorrect Answer 3": i === 0 ? null : `worst ${i}`,
  }));

export const boolqRows: readonly Doc[] = [{ question: "is snow cold", passage: "Snow is frozen.", idx: 0, label: 1 }];

export const gsm8kRows = (count: number) =>
  many(count, (i) => ({
    question: `Ila has ${i} pears and gets 2. How many?`,
    answer: `She has ${i} + 2 = <<${i}+2=${i + 2}>>${i + 2}.\n#### ${i + 2}`,
  }));
