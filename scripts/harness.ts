/** The field's tasks from the command line: options of `deno task evaluate`, and what it does with them. */
import {
  checkSandbox,
  compare,
  dreamLikelihood,
  dreamSampler,
  harnessNames,
  harnessOutcomes,
  harnessTasks,
  hubRows,
  lladaLikelihood,
  lladaSampler,
  localRows,
  type Model,
  nanoRows,
  readHarnessRun,
  readShotFiles,
  type Row,
  runHarness,
  type Score,
  sentenceOf,
  sizeOf,
  version,
} from "quant-dllm";
import { count, meter, number, type Option, refuse, whole } from "./cli.ts";

/** Names of tasks and groups that are run here: those of the field, and NanoWorld's that generate. */
export const fieldNames: readonly string[] = [...harnessNames, "bbh"];

function listOfCommits(text: string): string | undefined {
  const fits = text.split(",").every((pair) => /^[\w.-]+(\/[\w.-]+)?=[0-9a-f]{40}$/.test(pair));
  return fits ? undefined : "DATASET=COMMIT with commas between, each commit of 40 hexadecimal digits";
}

/** Options beside those of other tasks. */
export const harnessOptions = {
  data: {
    default: "hub",
    help: "of the field's tasks: hub, or a folder with piqa/validation.jsonl or .parquet and so on",
  },
  out: { default: "results/harness", help: "folder of results and sample rows, one below it per model", path: true },
  "mc-num": { default: "128", help: "masks per option", check: count() },
  "mc-batch": { default: "32", help: "masks that are stratified together; divides --mc-num", check: count() },
  cfg: { default: "0", help: "weight of classifier-free guidance of likelihoods", check: number() },
  common: { default: false, help: "equally long options of a question share their masks" },
  shots: { default: "auto", help: "few-shot examples; auto: the task's own number", check: whole("auto") },
  "shot-file": { default: "", help: "JSON with the fixed examples of tasks, by name", path: true },
  "gen-length": { default: "auto", help: "tokens of a generated answer; auto: the task's own", check: count("auto") },
  "gen-steps": { default: "auto", help: "denoising steps; auto: as many as tokens", check: count("auto") },
  "gen-block": { default: "auto", help: "llada: tokens per block; auto: all in one", check: count("auto") },
  "gen-chat": { default: false, help: "put prompts of generated answers through the checkpoint's chat template" },
  commits: {
    default: "",
    help:
      "of the Hub's Parquet branch, DATASET=COMMIT with commas between; the newest when not given, named in the results",
    check: listOfCommits,
  },
  against: {
    default: "",
    help: "results file of another model on the same tasks and seed: tells the difference, row by row",
    path: true,
  },
  "across-devices": {
    default: false,
    help: "compare with --against also where it ran on another device or other versions",
  },
  "run-code": { default: false, help: "run code answers, in a Python confined by Landlock and seccomp" },
  together: { default: "8", help: "sequences in one pass: what memory allows, no part of the results", check: count() },
} satisfies Record<string, Option>;

type Values = {
  readonly [K in keyof typeof harnessOptions]: (typeof harnessOptions)[K]["default"] extends boolean ? boolean
    : string;
};

/** With fewer masks than a batch, they are one. */
function masksOf(options: Values) {
  const draws = Number(options["mc-num"]);
  return { draws, batch: Math.min(draws, Number(options["mc-batch"])) };
}

/** Refuses what can be refused before a model is opened. */
export async function checkHarness(options: Values, names: readonly string[]): Promise<void> {
  const code = harnessTasks(names).filter((task) => task.kind === "generated" && task.program).map(({ id }) => id);
  if (code.length > 0 && !options["run-code"]) refuse(`${code.join(", ")}: code answers are run; pass --run-code`);
  if (code.length > 0) await checkSandbox();
  const { draws, batch } = masksOf(options);
  if (draws % batch !== 0) refuse(`--mc-batch is ${batch}, wanted a divisor of --mc-num ${draws}`);
  if (options.against !== "") await readHarnessRun(options.against);
}

/** Runs the tasks, writes their files, and gives a row per score. */
export async function harness(
  model: Model,
  names: readonly string[],
  options: Values & { readonly seed: string; readonly limit: string; readonly device: string },
  signal: AbortSignal,
): Promise<{ readonly rows: Row[]; readonly results: string }> {
  const tasks = harnessTasks(names), { platform } = model.engine.runtime;
  const acrossPlatforms = options["across-devices"];
  const other = options.against === "" ? undefined : await readHarnessRun(options.against);
  // Before hours are spent on what would be refused after them.
  if (other?.platform && platform && other.platform !== platform && !acrossPlatforms) {
    refuse(
      `--against ${options.against} was measured on ${other.platform}, and this is ${platform}, which alone changes numbers; ` +
        "measure both on one, or pass --across-devices",
    );
  }
  const optional = (text: string) => text === "auto" ? undefined : Number(text);
  const progress = meter("evaluate", tasks.length, "tasks");
  const method = String(model.provenance.method ?? "fp");
  const block = optional(options["gen-block"]);
  const dream = model.architecture.logitShift;
  const run = await runHarness(model, {
    tasks,
    rows: nanoRows(options.data === "hub" ? hubRows({ revisions: commitsOf(options) }) : localRows(options.data)),
    likelihood: likelihoodOf(model, options),
    seed: Number(options.seed),
    limit: optional(options.limit),
    shots: optional(options.shots),
    shotFiles: options["shot-file"] === "" ? undefined : await readShotFiles(options["shot-file"]),
    generation: {
      length: optional(options["gen-length"]),
      steps: optional(options["gen-steps"]),
      chat: options["gen-chat"],
      sampler: dream ? dreamSampler({ topP: 0.95 }) : lladaSampler({ block }),
    },
    runCode: options["run-code"],
    out: options.out,
    together: Number(options.together),
    about: { method, ...sizeOf(model) },
    device: model.engine.runtime.device,
    platform,
    signal,
    onProgress: ({ task, done, total, index, seconds }) =>
      progress.update(index + done / total, `${task} ${done} of ${total}${seconds ? `, ${timeOf(seconds)} left` : ""}`),
  });
  progress.finish();
  if (other) {
    const [ours, theirs] = [harnessOutcomes(model.name, [run]), harnessOutcomes(options.against, [other])];
    console.error(sentenceOf(compare(ours, theirs, { acrossPlatforms })));
  }
  const rows = Object.entries(run.scores).flatMap(([task, scores]) =>
    scores.map((score) =>
      rowOf(score, {
        ...{ task, method, ...sizeOf(model), seed: run.seed, taskVersion: run.versions[task], codeVersion: version },
        ...(platform === undefined ? {} : { platform }),
      })
    )
  );
  return { rows, results: run.results };
}

function rowOf(
  { metric, filter, value, standardError, mcStandardError, n }: Score,
  identity: Omit<Row, "metric" | "value">,
): Row {
  const name = filter === "none" ? metric : `${metric}, ${filter}`;
  const errors = { standardError, ...(mcStandardError === undefined ? {} : { mcStandardError }) };
  return { ...identity, metric: name, value, n, ...errors } as Row;
}

function commitsOf({ commits }: Values): Record<string, string> {
  return Object.fromEntries(commits.split(",").filter(Boolean).map((pair) => pair.split("=")));
}

/** The estimator of the model's authors. */
function likelihoodOf(model: Model, options: Values) {
  const guidance = Number(options.cfg);
  const common = { ...masksOf(options), common: options.common };
  if (!model.architecture.logitShift) return lladaLikelihood({ ...common, guidance });
  if (guidance > 0) refuse("--cfg is for models without a logit shift: Dream's evaluation has no guidance");
  const { bos_token_id: bos, eos_token_id: eos } = model.config;
  if (typeof bos !== "number" || typeof eos !== "number") {
    throw new RangeError(`Cannot score ${model.name}: its config.json has no bos_token_id and eos_token_id; add them`);
  }
  return dreamLikelihood({ ...common, bos: model.tokenizer.decode([bos]), eos, maxLength: 2048 });
}

function timeOf(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
