/** Multiple-choice tasks, as lm-evaluation-harness 0.4.13 defines them. */
import { pythonRandom } from "../python_random.ts";
import { type ChoiceDefinition, type DataSource, type Doc, integer, type Question, text, texts } from "./definition.ts";
import { capitalize, strip, withoutBrackets } from "./words.ts";

/** Options after one context. */
function options(context: string, continuations: readonly string[], gold: number): Question {
  if (!(gold >= 0 && gold < continuations.length)) {
    throw new SyntaxError(`Cannot read a row: its answer is option ${gold} of ${continuations.length}`);
  }
  return { contexts: continuations.map(() => context), continuations, gold };
}

const source = (repo: string, config: string, folder: string): DataSource => ({ repo, config, folder });

const bothMetrics = ["acc", "acc_norm"] as const;
const common = { kind: "choice", version: "1.0", shots: 0, shotSplit: "train", sampler: "sample" } as const;

const piqa: ChoiceDefinition = {
  ...common,
  id: "piqa",
  data: source("baber/piqa", "default", "piqa"),
  split: "validation",
  oneMore: true,
  metrics: bothMetrics,
  question: (doc) =>
    options(`Question: ${text(doc, "goal")}\nAnswer:`, [text(doc, "sol1"), text(doc, "sol2")], integer(doc, "label")),
};

function arc(id: string, config: string): ChoiceDefinition {
  return {
    ...common,
    id,
    data: source("allenai/ai2_arc", config, `ai2_arc/${config}`),
    split: "test",
    metrics: bothMetrics,
    question(doc) {
      const choices = (doc.choices ?? {}) as Doc; // parallel lists of texts and labels
      const gold = texts(choices, "label").indexOf(text(doc, "answerKey"));
      return options(`Question: ${text(doc, "question")}\nAnswer:`, texts(choices, "text"), gold);
    },
  };
}

const hellaswag: ChoiceDefinition = {
  ...common,
  id: "hellaswag",
  data: source("Rowan/hellaswag", "default", "hellaswag"),
  split: "validation",
  oneMore: true,
  metrics: bothMetrics,
  question(doc) {
    const context = `${text(doc, "activity_label")}: ${text(doc, "ctx_a")} ${capitalize(text(doc, "ctx_b"))}`;
    return options(withoutBrackets(context), texts(doc, "endings").map(withoutBrackets), integer(doc, "label"));
  },
};

/** Partial scoring: what follows the gap, after either filling. */
const winogrande: ChoiceDefinition = {
  ...common,
  id: "winogrande",
  data: source("allenai/winogrande", "winogrande_xl", "winogrande/winogrande_xl"),
  split: "validation",
  oneMore: true,
  shots: 5,
  metrics: ["acc"],
  question(doc) {
    const sentence = text(doc, "sentence");
    const gap = sentence.indexOf("_");
    if (gap < 0) throw new SyntaxError(`Cannot read a row: ${JSON.stringify(sentence)} has no gap "_"`);
    const rest = strip(sentence.slice(gap + 1));
    const contexts = [text(doc, "option1"), text(doc, "option2")].map((filling) => sentence.slice(0, gap) + filling);
    const { gold } = options("", contexts, integer(doc, "answer") - 1);
    return { contexts, continuations: [rest, rest], gold, target: rest };
  },
};

const boolq: ChoiceDefinition = {
  ...common,
  id: "boolq",
  version: "2.0",
  data: source("aps/super_glue", "boolq", "super_glue/boolq"),
  split: "validation",
  oneMore: true,
  metrics: ["acc"],
  question: (doc) =>
    options(
      `${text(doc, "passage")}\nQuestion: ${text(doc, "question")}?\nAnswer:`,
      ["no", "yes"],
      integer(doc, "label"),
    ),
};

/** Subjects of MMLU, by the four groups of its authors. */
export const mmluSubjects: Readonly<Record<string, readonly string[]>> = {
  stem: [
    ..."abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science".split(" "),
    ..."college_mathematics college_physics computer_security conceptual_physics electrical_engineering".split(" "),
    ..."elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science".split(" "),
    ..."high_school_mathematics high_school_physics high_school_statistics machine_learning".split(" "),
  ],
  other: [
    ..."business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing".split(" "),
    ..."medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology".split(" "),
  ],
  social_sciences: [
    ..."econometrics high_school_geography high_school_government_and_politics".split(" "),
    ..."high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality".split(" "),
    ..."professional_psychology public_relations security_studies sociology us_foreign_policy".split(" "),
  ],
  humanities: [
    ..."formal_logic high_school_european_history high_school_us_history high_school_world_history".split(" "),
    ..."international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy".split(" "),
    ..."prehistory professional_law world_religions".split(" "),
  ],
};

const letters = ["A", "B", "C", "D"];

function mmlu(subject: string): ChoiceDefinition {
  return {
    ...common,
    id: `mmlu_${subject}`,
    group: "mmlu",
    data: source("cais/mmlu", subject, `mmlu/${subject}`),
    split: "test",
    shots: 5,
    shotSplit: "dev",
    sampler: "first",
    description: `The following are multiple choice questions (with answers) about ${
      subject.replaceAll("_", " ")
    }.\n\n`,
    metrics: ["acc"],
    question(doc) {
      const lines = letters.map((letter, i) => `${letter}. ${texts(doc, "choices")[i]}`);
      const context = [strip(text(doc, "question")), ...lines, "Answer:"].join("\n");
      return options(context, letters, integer(doc, "answer"));
    },
  };
}

/**
 * The options of each row in an order by Python's `Random(42)`, which goes on from row to row: (A) to (D), as `choice1` to `choice4`, and the letter of the
 * right one as `answer`. The harness shuffles again each time it reads the split; here it is once, in the order of the rows.
 */
export function shuffledOptions(docs: readonly Doc[]): Doc[] {
  const random = pythonRandom(42);
  const clean = (doc: Doc, field: string) => doc[field] === null ? " " : withoutBrackets(text(doc, field));
  return docs.map((doc) => {
    const right = clean(doc, "Correct Answer");
    const choices = random.shuffle([...[1, 2, 3].map((i) => clean(doc, `Incorrect Answer ${i}`)), right]);
    const [choice1, choice2, choice3, choice4] = choices;
    return { ...doc, choice1, choice2, choice3, choice4, answer: `(${letters[choices.indexOf(right)]})` };
  });
}

/** What GPQA asks, of a row with shuffled options. */
export function gpqaContext(doc: Doc): string {
  const lines = letters.map((letter, i) => `(${letter}) ${text(doc, `choice${i + 1}`)}`);
  return [`Question: ${text(doc, "Question")}`, "Choices:", ...lines, "Answer:"].join("\n");
}

export const gpqaSource = (part: string): DataSource => source("Idavidrein/gpqa", `gpqa_${part}`, `gpqa/gpqa_${part}`);

function gpqa(part: string): ChoiceDefinition {
  const marked = letters.map((letter) => `(${letter})`);
  return {
    ...common,
    id: `gpqa_${part}_n_shot`,
    version: "2.2",
    data: gpqaSource(part),
    split: "train",
    oneMore: true,
    shots: 5,
    description:
      "Here are some example questions from experts. Answer the final question yourself, following the format of the previous questions exactly.\n",
    metrics: bothMetrics,
    prepare: shuffledOptions,
    question(doc) {
      const target = text(doc, "answer");
      return { ...options(gpqaContext(doc), marked, marked.indexOf(target)), target };
    },
  };
}

/** All of them. */
export const choiceDefinitions: readonly ChoiceDefinition[] = [
  piqa,
  arc("arc_easy", "ARC-Easy"),
  arc("arc_challenge", "ARC-Challenge"),
  hellaswag,
  winogrande,
  boolq,
  ...Object.values(mmluSubjects).flat().map(mmlu),
  ...["main", "diamond", "extended"].map(gpqa),
];
