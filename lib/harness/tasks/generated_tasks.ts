/**
 * Tasks whose answers are generated, as lm-evaluation-harness 0.4.13 defines them. Where its few-shot examples are fixed texts, they are read from a file
 * (`ShotFile`); without one the first rows of the training split stand in for them, and the version says so.
 */
import { gpqaContext, gpqaSource, shuffledOptions } from "./choice_tasks.ts";
import { type DataSource, type Doc, type GeneratedDefinition, integer, text, texts } from "./definition.ts";
import { findBy, same } from "./find_answer.ts";
import { finalAnswer, lastBoxed, normalMath } from "./math_answer.ts";
import { strip } from "./words.ts";

const source = (repo: string, config: string, folder: string): DataSource => ({ repo, config, folder });

/** Tokens of an answer in the main table of the paper of LLaDA. */
const length = 1024;

const numberPattern = /(-?[$0-9.,]{2,})|(-?[0-9]+)/g;
const sameNumber = same({ ignore: [/,/g, /\$/g, /[^]*#### /, /\.$/], ignoreCase: true });
const gsm8kData = source("openai/gsm8k", "main", "gsm8k");

const gsm8k: GeneratedDefinition = {
  kind: "generated",
  id: "gsm8k",
  version: "3.0",
  data: gsm8kData,
  split: "test",
  shots: 5,
  shotSplit: "train",
  sampler: "sample",
  prompt: (doc) => `Question: ${text(doc, "question")}\nAnswer:`,
  target: (doc) => text(doc, "answer"),
  stops: ["Question:", "</s>", "<|im_end|>"],
  length,
  metric: "exact_match",
  filters: { "strict-match": findBy(/#### (-?[0-9.,]+)/g), "flexible-extract": findBy(numberPattern, -1) },
  right: sameNumber,
};

const resultOf = (doc: Doc) => strip(text(doc, "answer").split("####").at(-1)!);

const gsm8kCot: GeneratedDefinition = {
  ...gsm8k,
  id: "gsm8k_cot",
  shots: 8,
  sampler: "file",
  prompt: (doc) => `Q: ${text(doc, "question")}\nA:`,
  target: resultOf,
  shotTarget: (doc) => {
    const steps = strip(text(doc, "answer").split("####")[0]).replace(/<<.*?>>/g, "").replaceAll("\n", " ");
    return `${steps} The answer is ${resultOf(doc)}.`;
  },
  stops: ["Q:", "</s>", "<|im_end|>"],
  filters: {
    "strict-match": findBy(/The answer is (-?[0-9.,]+)./g),
    "flexible-extract": findBy(numberPattern, -1),
  },
};

const mathSubjects: Readonly<Record<string, string>> = {
  algebra: "algebra",
  counting_and_prob: "counting_and_probability",
  geometry: "geometry",
  intermediate_algebra: "intermediate_algebra",
  num_theory: "number_theory",
  prealgebra: "prealgebra",
  precalc: "precalculus",
};

function boxed(doc: Doc): string {
  const answer = lastBoxed(text(doc, "solution"));
  if (answer !== undefined) return answer;
  throw new SyntaxError(`Cannot read a row: its solution boxes no answer: ${text(doc, "solution").slice(0, 60)}`);
}

function math(id: string, config: string): GeneratedDefinition {
  return {
    kind: "generated",
    id: `minerva_math_${id}`,
    group: "minerva_math",
    version: "3.0+string-match",
    data: source("EleutherAI/hendrycks_math", config, `hendrycks_math/${config}`),
    split: "test",
    shots: 4,
    shotSplit: "train",
    sampler: "file",
    prompt: (doc) => `Problem:\n${text(doc, "problem")}\n\nSolution:`,
    target: (doc) => normalMath(boxed(doc)),
    shotTarget: (doc) =>
      `${text(doc, "solution")}\nFinal Answer: The final answer is $${boxed(doc)}$. I hope it is correct.`,
    stops: ["Problem:"],
    length,
    metric: "exact_match",
    filters: { none: (answer) => normalMath(finalAnswer(answer)) },
    right: (answer, target) => answer === target,
  };
}

const bbhTasks = (
  "boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages formal_fallacies " +
  "geometric_shapes hyperbaton logical_deduction_five_objects logical_deduction_seven_objects " +
  "logical_deduction_three_objects movie_recommendation multistep_arithmetic_two navigate object_counting " +
  "penguins_in_a_table reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks " +
  "sports_understanding temporal_sequences tracking_shuffled_objects_five_objects " +
  "tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects web_of_lies word_sorting"
).split(" ");

/** With no examples it is what `bbh` with `num_fewshot` 0 asks: the question and "Let's think step by step." */
function bbh(name: string): GeneratedDefinition {
  return {
    kind: "generated",
    id: `bbh_cot_fewshot_${name}`,
    group: "bbh_cot_fewshot",
    version: "4.0",
    data: source("SaylorTwift/bbh", name, `bbh/${name}`),
    split: "test",
    shots: 3,
    sampler: "file", // and nothing stands in for them: it has no training split
    prompt: (doc) => `Q: ${text(doc, "input")}\nA: Let's think step by step.\n`,
    target: (doc) => text(doc, "target"),
    delimiter: "",
    stops: ["</s>", "Q", "\n\n"],
    length,
    metric: "exact_match",
    filters: { "get-answer": findBy(/(?<=the answer is )(.*)(?=.)/g) },
    right: same(),
  };
}

function bbhZeroshot(name: string): GeneratedDefinition {
  const pattern = /(?<=[Tt]he answer is )(.*)(?=.)/g;
  return {
    ...bbh(name),
    id: `bbh_cot_zeroshot_${name}`,
    group: "bbh_cot_zeroshot",
    version: "4.0+strict-match",
    shots: 0,
    prompt: (doc) => `Q: ${text(doc, "input")}\nA: Let's think step by step.`,
    stops: ["</s>", "Q:", "<|im_end|>"],
    filters: { "strict-match": findBy(pattern) },
    right: same({ ignoreCase: true, ignorePunctuation: true }),
  };
}

function gpqa(part: string): GeneratedDefinition {
  return {
    kind: "generated",
    id: `gpqa_${part}_generative_n_shot`,
    version: "2.2+regex",
    data: gpqaSource(part),
    split: "train",
    oneMore: true,
    shots: 5,
    shotSplit: "train",
    sampler: "sample",
    description:
      "Here are some example questions from experts. Answer the final question yourself, following the format of the previous " +
      'questions exactly, that is finish your answer with "The answer is (X)." where X is the correct letter choice.\n',
    prepare: shuffledOptions,
    prompt: gpqaContext,
    target: (doc) => text(doc, "answer"),
    shotTarget: (doc) => `The answer is ${text(doc, "answer")}.`,
    stops: ["</s>", "Question:", "<|im_end|>"],
    length,
    metric: "exact_match",
    filters: {
      "strict-match": findBy(/(?<=The answer is )(.*)(?=.)/g),
      "flexible-extract": findBy(/(\([A-Z]\))/g, -1), // without the harness's further search for the words of an option
    },
    right: same({ ignoreCase: true, ignorePunctuation: true }),
  };
}

const humaneval: GeneratedDefinition = {
  kind: "generated",
  id: "humaneval",
  version: "1.0",
  data: source("openai/openai_humaneval", "openai_humaneval", "openai_humaneval"),
  split: "test",
  shots: 0,
  sampler: "first",
  prompt: (doc) => text(doc, "prompt"),
  target: (doc) => `${text(doc, "test")}\ncheck(${text(doc, "entry_point")})`,
  stops: ["\nclass", "\ndef", "\n#", "\nif", "\nprint"],
  length,
  metric: "pass@1",
  filters: { create_test: (answer, doc) => text(doc, "prompt") + answer },
  right: () => false, // its program says
  program: (answer, doc) => `${answer}\n${humaneval.target(doc)}`,
};

const tests = (doc: Doc) => texts(doc, "test_list").slice(0, 3).join("\n");

const mbpp: GeneratedDefinition = {
  kind: "generated",
  id: "mbpp",
  version: "1.0",
  data: source("google-research-datasets/mbpp", "full", "mbpp"),
  split: "test",
  shots: 3,
  shotSplit: "prompt",
  sampler: "first",
  shotPool: (docs) => docs.filter((doc) => [2, 3, 4].includes(integer(doc, "task_id"))),
  prompt: (doc) =>
    `You are an expert Python programmer, and here is your task: ${text(doc, "text")} ` +
    `Your code should pass these tests:\n\n${tests(doc)}\n[BEGIN]\n`,
  target: tests,
  shotTarget: (doc) => `${text(doc, "code").replaceAll("\r\n", "\n")}\n[DONE]`,
  delimiter: "",
  stops: ["[DONE]"],
  length,
  metric: "pass@1",
  filters: { none: (answer) => answer },
  right: () => false,
  program: (answer, doc) => `${answer}\n${tests(doc)}`,
};

/** All of them. */
export const generatedDefinitions: readonly GeneratedDefinition[] = [
  gsm8k,
  gsm8kCot,
  ...Object.entries(mathSubjects).map(([id, config]) => math(id, config)),
  ...bbhTasks.map(bbh),
  ...bbhTasks.map(bbhZeroshot),
  ...["main", "diamond"].map(gpqa),
  humaneval,
  mbpp,
];
