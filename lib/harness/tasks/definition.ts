/** What a task is: data that say where its rows lie, how a row is asked, and how an answer counts. Texts are those of lm-evaluation-harness 0.4.13. */

/** A row of a data set, in that set's own schema. */
export type Doc = Readonly<Record<string, unknown>>;

/** Where the rows of a task lie. */
export interface DataSource {
  /** Id of the data set on the Hub. */
  readonly repo: string;
  /** Its configuration. */
  readonly config: string;
  /** The folder below a local data folder: "piqa", "mmlu/anatomy". */
  readonly folder: string;
}

interface TaskBase {
  readonly id: string;
  /** As lm-evaluation-harness numbers it; with what differs here after a "+". */
  readonly version: string;
  readonly data: DataSource;
  /** The split that is evaluated. */
  readonly split: string;
  /** The group that it is a part of, whose accuracy is the mean over all rows. */
  readonly group?: string;
  readonly shots: number;
  /** The split that few-shot examples come from; absent where the data set has none to give. */
  readonly shotSplit?: string;
  /**
   * Which: drawn anew for each row by Python's `random.Random(1234).sample`; the first ones; or those of a file, where the official ones are fixed texts that
   * this kit does not carry (`ShotFile`), with the first ones in their place and the version saying so.
   */
  readonly sampler: "sample" | "first" | "file";
  /** One more is drawn, and the row itself left out: what the harness does where it names neither a split for examples nor one for tests. */
  readonly oneMore?: boolean;
  /** The rows of that split that are used, where not all are. */
  shotPool?(docs: readonly Doc[]): readonly Doc[];
  /** Before the examples. */
  readonly description?: string;
  /** What is done to all rows of a split first. */
  prepare?(docs: readonly Doc[]): readonly Doc[];
}

/** The options of a row: option i is the continuation i after the context i. */
export interface Question {
  readonly contexts: readonly string[];
  readonly continuations: readonly string[];
  /** Index of the right option. */
  readonly gold: number;
  /** What is written as the target; the index by default. */
  readonly target?: string;
}

/** Multiple choice by likelihood. */
export interface ChoiceDefinition extends TaskBase {
  readonly kind: "choice";
  readonly metrics: readonly ("acc" | "acc_norm")[];
  question(doc: Doc): Question;
}

/** An answer that is generated and looked at. */
export interface GeneratedDefinition extends TaskBase {
  readonly kind: "generated";
  prompt(doc: Doc): string;
  /** What the answer is compared with, and what samples show. */
  target(doc: Doc): string;
  /** The answer of a few-shot example, when it is not the target. */
  shotTarget?(doc: Doc): string;
  /** Between a prompt and its answer in examples; a space by default. */
  readonly delimiter?: string;
  /** Texts at which an answer ends. */
  readonly stops: readonly string[];
  /** Tokens of an answer, as the authors of LLaDA ask for it. */
  readonly length: number;
  readonly metric: "exact_match" | "pass@1";
  /** Ways of finding the answer in the text, by name: each gives a score of its own. */
  readonly filters: Readonly<Record<string, (text: string, doc: Doc) => string>>;
  /** Whether a found answer is right; for code, its program is run. */
  right(answer: string, target: string): boolean;
  /** The program that shows an answer right by ending without an error. */
  program?(answer: string, doc: Doc): string;
}

/** A task: multiple choice, or an answer that is generated. */
export type TaskDefinition = ChoiceDefinition | GeneratedDefinition;

/** A string of a row. Throws `SyntaxError` that names the field. */
export function text(doc: Doc, field: string): string {
  const value = doc[field];
  return typeof value === "string" ? value : refuse(doc, field, "a string");
}

/** A list of strings of a row. */
export function texts(doc: Doc, field: string): readonly string[] {
  const value = doc[field];
  const list = Array.isArray(value) && value.every((x) => typeof x === "string");
  return list ? value : refuse(doc, field, "a list of strings");
}

/** An integer of a row, also where it is written as text. */
export function integer(doc: Doc, field: string): number {
  const value = typeof doc[field] === "string" && doc[field] !== "" ? Number(doc[field]) : doc[field];
  return typeof value === "number" && Number.isInteger(value) ? value : refuse(doc, field, "an integer");
}

function refuse(doc: Doc, field: string, wanted: string): never {
  const found = JSON.stringify(doc[field])?.slice(0, 60) ?? "nothing";
  throw new SyntaxError(
    `Cannot read a row: ${JSON.stringify(field)} is ${found}, wanted ${wanted}; its fields are ${
      Object.keys(doc).join(", ")
    }`,
  );
}
