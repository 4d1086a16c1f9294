/** Evaluates a checkpoint, full precision or packed: see `deno task evaluate --help`. */
import {
  boundOn,
  checkText,
  evaluate,
  knowsNanoWorld,
  loadCorpus,
  loadModel,
  type Model,
  type Row,
  table,
  type Task,
  tasks,
} from "quant-dllm";
import {
  count,
  interruptSignal,
  isGiven,
  listOf,
  loadOptions,
  main,
  meter,
  readOptions,
  refuse,
  runOptions,
  seedOption,
  standWhereUserStands,
} from "./cli.ts";
import { checkHarness, fieldNames, harness, harnessOptions } from "./harness.ts";

const options = readOptions("deno task evaluate MODEL [options]      MODEL: a folder, or org/name on the Hub", {
  tasks: {
    default: Object.keys(tasks).join(","),
    help: "comma-separated",
    check: listOf(...Object.keys(tasks), ...fieldNames),
  },
  text: { default: "", help: "of the task elbo: wikitext (its test split), .txt, .jsonl, ...; NanoWorld's by default" },
  length: {
    default: "auto",
    help: "tokens per window of --text; auto: 512, or the model's longest",
    check: count("auto"),
  },
  limit: {
    default: "auto",
    help: "items per task; auto: 200, 32 windows of --text, all rows of the field's tasks",
    check: count("auto"),
  },
  seed: seedOption("of the masks and the windows of --text: one seed gives all models the same"),
  ...harnessOptions,
  ...runOptions,
}, 1);

await main(async () => {
  const all = options.tasks.split(",");
  const names = all.filter((name) => !fieldNames.includes(name)), field = all.filter((name) => !names.includes(name));
  if (options.text && !names.includes("elbo")) refuse("--text is for the task elbo: add it to --tasks");
  if (!options.text && options.length !== "auto") refuse("--length is for --text: NanoWorld's windows have their own");
  const idle = field.length > 0 ? undefined : Object.keys(harnessOptions).find(isGiven);
  if (idle) refuse(`--${idle} is for tasks of the field and generated ones, of which --tasks names none`);
  const signal = interruptSignal();
  standWhereUserStands();
  if (options.text) await checkText(options.text);
  if (field.length > 0) await checkHarness(options, field);
  await using model = await loadModel(options._[0], loadOptions(options, signal));
  const strangers = names.filter((name) => !(name === "elbo" && options.text));
  if (strangers.length > 0 && !knowsNanoWorld(model.tokenizer)) {
    refuse(
      `Cannot evaluate ${model.name} on ${
        strangers.join(", ")
      }: they are made of NanoWorld's words, and its tokenizer ` +
        "has another vocabulary; give a text of its language: --tasks elbo --text wikitext, or --text FILE",
    );
  }
  const rows: Row[] = [];
  let results: string | undefined;
  if (field.length > 0) {
    const run = await harness(model, field, options, signal);
    rows.push(...run.rows);
    results = run.results;
  }
  const progress = meter("evaluate", names.length, "tasks");
  for (const [i, name] of names.entries()) {
    const own = name === "elbo" && options.text !== "";
    const task = own ? await textTask(model, signal) : tasks[name as keyof typeof tasks];
    rows.push(
      ...await evaluate(model, [task], {
        seed: Number(options.seed),
        limit: limit(own),
        batch: own ? batchOf(model) : undefined,
        signal,
        onProgress: (done, total) => progress.update(i + done / total, name),
      }),
    );
  }
  if (names.length > 0) progress.finish();
  const lines = rows.map((row) => ({ ...row, result: "value ± s.e." }));
  console.error(table(lines, { row: ["task", "metric"], column: "result", digits: 4 }).toText());
  console.log(JSON.stringify({ rows, results }));
});

function limit(ofText: boolean): number {
  return options.limit === "auto" ? ofText ? 32 : 200 : Number(options.limit);
}

/** Tokens per window of --text. */
function lengthOf({ name, architecture: { maxLength } }: Model): number {
  if (options.length === "auto") return Math.min(512, maxLength);
  const length = Number(options.length);
  return length <= maxLength ? length : refuse(`--length is ${length}, but ${name} reads ${maxLength} tokens at most`);
}

/** Windows that run together: as many as leave the logits, of which a window may ask for all its rows, in half a GiB. */
function batchOf(model: Model): number {
  return Math.max(1, Math.min(64, Math.floor(2 ** 27 / (lengthOf(model) * model.vocabSize))));
}

/** The likelihood bound on windows of --text. */
async function textTask(model: Model, signal: AbortSignal): Promise<Task> {
  // Calibration draws from WikiText's training split: what is measured on must be another text.
  const text = options.text === "wikitext" ? "wikitext-test" : options.text;
  const length = lengthOf(model);
  const draw = { tokenizer: model.tokenizer, count: limit(true), length, seed: Number(options.seed), signal };
  const name = text.slice(text.lastIndexOf("/") + 1);
  return boundOn(await loadCorpus(text, draw), { id: `elbo ${name}`, version: `1x${length}` });
}
