/** Few-shot examples before a question, drawn as lm-evaluation-harness draws them. */
import { pythonRandom } from "../python_random.ts";
import type { Doc, TaskDefinition } from "./definition.ts";

/** The seed of `set_fewshot_seed`. */
const shotSeed = 1234;

/** Fixed examples of a task, each as it stands before a question, and what stands before the first. */
export interface ShotFile {
  readonly description?: string;
  readonly shots: readonly { readonly prompt: string; readonly target: string }[];
}

/** A question with its answer, as it stands before another. */
export function example(task: TaskDefinition, doc: Doc): string {
  if (task.kind === "choice") {
    const { contexts, continuations, gold } = task.question(doc);
    return `${contexts[gold]} ${continuations[gold]}\n\n`;
  }
  const { delimiter = " " } = task;
  return `${task.prompt(doc)}${delimiter}${(task.shotTarget ?? task.target)(doc)}\n\n`;
}

/** The version of a task as it is asked: without their file, the first rows of a split stand in for fixed examples. */
export function versionAsked(task: TaskDefinition, shots: number, file: ShotFile | undefined): string {
  const other = task.sampler === "file" && shots > 0 && file === undefined;
  return other ? `${task.version}+first-${shots}-of-${task.shotSplit}` : task.version;
}

/**
 * What stands before the question of each row, rows in order: description and examples. Draws of one row go on where those of the row before ended, so a part
 * of the rows has the examples that it has among all. Throws `RangeError` where there are fewer examples than wanted.
 *
 * @param docs the rows that are evaluated, prepared.
 * @param pool the rows that examples come from, prepared.
 */
export function contextsOf(
  task: TaskDefinition,
  docs: readonly Doc[],
  pool: readonly Doc[],
  { shots = task.shots, file }: { readonly shots?: number; readonly file?: ShotFile } = {},
): string[] {
  const description = file?.description ?? task.description ?? "";
  if (shots === 0) return docs.map(() => description);
  if (file) {
    checkEnough(task, shots, file.shots.length);
    const delimiter = task.kind === "choice" ? " " : task.delimiter ?? " ";
    const texts = file.shots.slice(0, shots).map(({ prompt, target }) => `${prompt}${delimiter}${target}\n\n`);
    return docs.map(() => description + texts.join(""));
  }
  if (task.shotSplit === undefined) {
    throw new RangeError(
      `Cannot draw ${shots} examples for ${task.id}: the official ones are fixed texts, which a file must give, and its data set has no others; ` +
        "give the file, or ask for 0",
    );
  }
  const wanted = shots + Number(Boolean(task.oneMore));
  checkEnough(task, task.sampler === "sample" ? wanted : shots, pool.length);
  if (task.sampler !== "sample") {
    const texts = pool.slice(0, shots).map((doc) => example(task, doc));
    return docs.map(() => description + texts.join(""));
  }
  const random = pythonRandom(shotSeed);
  const same = (a: Doc, b: Doc) => a === b || JSON.stringify(a) === JSON.stringify(b);
  return docs.map((doc) => {
    const others = random.sample(pool, wanted).filter((drawn) => !same(drawn, doc)).slice(0, shots);
    return description + others.map((drawn) => example(task, drawn)).join("");
  });
}

function checkEnough({ id, shotSplit }: TaskDefinition, wanted: number, there: number): void {
  if (wanted <= there) return;
  throw new RangeError(`Cannot draw ${wanted} examples for ${id}: there are ${there} in ${shotSplit}; ask for fewer`);
}
