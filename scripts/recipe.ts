/**
 * Runs one of the paper's experiments: `deno task table1`, `figure3` or `ablations`. Each model is quantised by each method and evaluated on each group of
 * tasks by the commands that a user would type; what is there already, also in part, is not made again.
 */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { join, resolve } from "@std/path";
import { knowsNanoWorld, openCheckpoint, type Row, table } from "quant-dllm";
import { count, deviceOption, main, oneOf, readOptions, refuse, seedOption, standWhereUserStands } from "./cli.ts";
import { fieldNames } from "./harness.ts";
import { acrossOption, checkOneDevice } from "./one_device.ts";
import { type ArmPlan, passesOf, planLines, sumOf, timeOf } from "./recipe_plan.ts";
import { type ModelKind, type Recipe, type RecipeMethod, recipes, type RecipeTasks } from "./recipe_values.ts";

const options = readOptions("deno task table1|figure3|ablations [options]", {
  models: { default: "", help: "folders or ids of the Hub with commas between; the paper's by default" },
  methods: { default: "", help: "labels of the recipe's methods with commas between; all by default" },
  data: { default: "hub", help: "of the tasks: hub, or a folder (see deno task evaluate)" },
  limit: { default: "auto", help: "items per task; auto: all, or 200 of the testbed's", check: count("auto") },
  seed: seedOption("of calibration windows and masks"),
  device: deviceOption,
  out: { default: "", help: "folder; results/recipes/NAME", path: true },
  "across-devices": acrossOption,
  plan: { default: false, help: "show what would be run and what it takes, and stop" },
}, 1);

const names = Object.keys(recipes) as (keyof typeof recipes)[];
const recipe = recipeOf(options._[0]);
const out = resolve(options.out || `results/recipes/${options._[0]}`);

interface Arm {
  readonly model: string;
  readonly kind: ModelKind;
  readonly method: RecipeMethod;
  readonly tasks: readonly RecipeTasks[];
  readonly folder: string;
}

const slug = (text: string) => text.replaceAll(/[^\w.-]+/g, "_").replace(/^_+/, "");
const folderOf = (out: string, model: string, { label }: RecipeMethod) => join(out, slug(model), slug(label));

/** By its tokenizer and its name: nothing but small files is read. */
async function kindOf(model: string): Promise<ModelKind> {
  if (!/^[\w.-]+\/[\w.-]+$/.test(model) || await isFolder(model)) {
    const { tokenizer, architecture } = await openCheckpoint(model);
    if (tokenizer && knowsNanoWorld(tokenizer)) return "testbed";
    return architecture.logitShift ? "dream" : "llada";
  }
  return /dream/i.test(model) ? "dream" : "llada";
}

const isFolder = (path: string) => Deno.stat(path).then(({ isDirectory }) => isDirectory, () => false);

function quantizeArgs({ model, kind, method, folder }: Arm): string[] | undefined {
  const own = method.instead?.[kind] ?? method.options;
  if (!own) return undefined;
  const text = kind === "testbed" ? ["--calibration", "nanoworld"] : [];
  return [model, "--out", join(folder, "model"), "--preset", "paper", ...text, ...own, ...common()];
}

function evaluateArgs(arm: Arm, { tasks, options: own }: RecipeTasks): string[] {
  const subject = quantizeArgs(arm) ? join(arm.folder, "model") : arm.model;
  const limit = limitOf(arm), some = limit === undefined ? [] : ["--limit", String(limit)];
  const data = arm.kind === "testbed" ? [] : ["--data", options.data], names = tasks.map(({ name }) => name);
  const out = names.some((name) => fieldNames.includes(name)) ? ["--out", join(arm.folder, "harness")] : [];
  return [subject, "--tasks", names.join(","), ...own, ...data, ...out, ...some, ...common()];
}

const common = () => ["--seed", options.seed, "--device", options.device];

/** Items per task; undefined for all. */
function limitOf({ kind }: Arm): number | undefined {
  if (options.limit !== "auto") return Number(options.limit);
  return kind === "testbed" ? 200 : undefined;
}

/** What an arm will take: hours and bytes where the checkpoint is a folder, forward passes in any case. Nothing is downloaded for it. */
async function planOf(arm: Arm): Promise<ArmPlan> {
  const { model, kind, method, folder } = arm;
  const open = [];
  for (const group of arm.tasks) if (!await exists(rowsFile(arm, group))) open.push(...group.tasks);
  const { passes, tokens } = passesOf(open, limitOf(arm));
  const args = quantizeArgs(arm), isDone = !args || await exists(join(folder, "model", "config.json"));
  const about = { model, label: method.label, tasks: open.map(({ name }) => name), passes };
  if (!await isFolder(model)) return isDone ? { ...about, quantizeSeconds: 0 } : about;
  const evaluateSeconds = tokens === 0 ? 0 : tokens * await speedOf(model, kind);
  if (isDone) return { ...about, quantizeSeconds: 0, evaluateSeconds, outputBytes: 0, diskBytes: 0 };
  const { totalSeconds, outputBytes, diskBytes } = await quantizationPlan(args);
  return { ...about, quantizeSeconds: totalSeconds, evaluateSeconds, outputBytes, diskBytes };
}

interface QuantizationPlan {
  readonly totalSeconds: number;
  readonly tokenSeconds: number;
  readonly outputBytes: number;
  readonly diskBytes: number;
}

async function quantizationPlan(args: readonly string[]): Promise<QuantizationPlan> {
  const { stdout } = await deno("quantize", [...args, "--plan"], "null");
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}

const speeds = new Map<string, number>();

/** Seconds that a token takes through the blocks of a model here, from the plan of a method that reads data. */
async function speedOf(model: string, kind: ModelKind): Promise<number> {
  let speed = speeds.get(model);
  if (speed === undefined) {
    const method = { label: "speed", options: ["--method", "gptq"] };
    const args = quantizeArgs({ model, kind, method, tasks: [], folder: join(out, "plan") })!;
    speeds.set(model, speed = (await quantizationPlan(args)).tokenSeconds);
  }
  return speed;
}

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

/** The rows of a group of tasks under the options that they were made with. */
function rowsFile(arm: Arm, tasks: RecipeTasks): string {
  const key = createHash("sha256").update(JSON.stringify(evaluateArgs(arm, tasks))).digest("hex").slice(0, 12);
  return join(arm.folder, `rows-${key}.json`);
}

async function run(arm: Arm): Promise<Row[]> {
  const args = quantizeArgs(arm);
  if (args && !await exists(join(arm.folder, "model", "config.json"))) await deno("quantize", args);
  const rows: Row[] = [];
  for (const tasks of arm.tasks) {
    const file = rowsFile(arm, tasks);
    if (!await exists(file)) {
      await Deno.mkdir(arm.folder, { recursive: true });
      const { stdout } = await deno("evaluate", evaluateArgs(arm, tasks));
      const part = `${file}.part`;
      await Deno.writeTextFile(part, stdout.trim().split("\n").at(-1)!);
      await Deno.rename(part, file);
    }
    const read = JSON.parse(await Deno.readTextFile(file)) as { readonly rows: readonly Row[] };
    rows.push(...read.rows.map((row) => ({ ...row, model: arm.model, label: arm.method.label })));
  }
  return rows;
}

/** Runs a task of this project; its progress is shown. Throws `Error` that names the command where it fails. */
async function deno(task: string, args: readonly string[], stderr: "inherit" | "null" = "inherit") {
  if (stderr === "inherit") console.error(`\ndeno task ${task} ${args.join(" ")}`);
  const command = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "--config", fileURLToPath(new URL("../deno.json", import.meta.url)), task, ...args],
    stdout: "piped",
    stderr,
  });
  const { success, code, stdout } = await command.output();
  if (!success) {
    throw new Error(
      `deno task ${task} ${args.join(" ")} ended with ${code}; the same command goes on where this one was`,
    );
  }
  return { stdout: new TextDecoder().decode(stdout) };
}

/** What counts as a task's accuracy, the first that it has. */
const accuracies = [
  /^acc(uracy)?$/,
  /^exact_match, (flexible|get-answer|remove)/,
  /^exact_match/,
  /^pass@1|^pass_at_1/,
];

async function report(
  { title, means }: Recipe,
  arms: readonly Arm[],
  rows: readonly Row[],
  out: string,
): Promise<void> {
  const cells: Row[] = [];
  for (const { model, method: { label }, tasks } of arms) {
    const own = rows.filter((row) => row.model === model && row.label === label);
    const found = tasks.flatMap(({ tasks }) => tasks).map(({ name }) => ({
      ...scoreOf(own, name),
      task: name,
      model,
      label,
    }));
    cells.push(...found);
    for (const [mean, names] of Object.entries(means)) {
      const parts = found.filter(({ task }) => names.includes(task));
      if (parts.length === 0) continue;
      const value = parts.reduce((sum, row) => sum + row.value, 0) / parts.length;
      const standardError = Math.sqrt(parts.reduce((sum, row) => sum + row.standardError ** 2, 0)) / parts.length;
      cells.push({ ...parts[0], task: mean, value, standardError });
    }
  }
  const shown = table(cells, {
    row: ["model", "label"],
    column: "task",
    scale: 100,
    digits: 1,
    caption: `${title}, %`,
  });
  await Deno.writeTextFile(join(out, "rows.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  await Deno.writeTextFile(join(out, "report.md"), `# ${title}\n\n${shown.toMarkdown()}\n`);
  console.error(`\n${shown.toText()}\n\nReport: ${out}/report.md`);
  console.log(JSON.stringify({ rows: rows.length, out }));
}

/** The accuracy of a task, or of a group by its own row or the mean of its tasks. */
function scoreOf(rows: readonly Row[], name: string): Row {
  for (const metric of accuracies) {
    const own = rows.find((row) => row.task === name && metric.test(row.metric));
    if (own) return own;
  }
  const parts = rows.filter((row) =>
    row.task.startsWith(`${name}_`) && accuracies.some((metric) => metric.test(row.metric))
  );
  if (parts.length === 0) {
    throw new RangeError(`There is no accuracy of ${name} among ${rows.map(({ task }) => task).join(", ")}`);
  }
  const n = parts.reduce((sum, row) => sum + row.n, 0);
  const value = parts.reduce((sum, row) => sum + row.n * row.value, 0) / n;
  const standardError = Math.sqrt(parts.reduce((sum, row) => sum + (row.n * row.standardError) ** 2, 0)) / n;
  return { ...parts[0], task: name, value, standardError, n };
}

function recipeOf(name: string): Recipe {
  const wrong = oneOf(...names)(name);
  if (wrong) refuse(`There is no recipe ${JSON.stringify(name)}: wanted ${wrong}`);
  return recipes[name as keyof typeof recipes];
}

await main(async () => {
  standWhereUserStands();
  const models = options.models ? options.models.split(",") : recipe.models;
  const labels = options.methods ? options.methods.split(",") : recipe.methods.map(({ label }) => label);
  const methods = labels.map((label) =>
    recipe.methods.find((m) => m.label === label) ??
      refuse(`--methods has ${JSON.stringify(label)}, wanted of ${recipe.methods.map((m) => m.label).join(", ")}`)
  );
  const arms: Arm[] = [];
  for (const model of models) {
    const kind = await kindOf(model);
    for (const method of methods) {
      arms.push({ model, kind, method, tasks: recipe.tasks[kind], folder: folderOf(out, model, method) });
    }
  }
  console.error(`${recipe.title}\n`);
  const plans: ArmPlan[] = [];
  for (const arm of arms) {
    const plan = await planOf(arm);
    plans.push(plan);
    console.error(planLines(plan).join("\n"));
  }
  const sum = sumOf(plans);
  if (sum) console.error(`In all about ${timeOf(sum.seconds)}, ${(sum.bytes / 1e9).toPrecision(2)} GB of disk`);
  if (options.plan) return console.log(JSON.stringify({ arms: arms.length, out, plans }));
  const rows: Row[] = [];
  for (const arm of arms) rows.push(...await run(arm));
  checkOneDevice(rows, { across: options["across-devices"] });
  await report(recipe, arms, rows, out);
});
