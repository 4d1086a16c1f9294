/**
 * Executes the notebooks in fresh kernels and keeps what they show.
 *   deno task notebooks [--check] [NAME ...]
 * A notebook is rewritten when all its cells succeeded; --check executes only. A NAME is the start of a file name: "01", "04_main".
 * Needs jupyter-nbconvert (exit code 3 without it); pictures for GitHub need Chromium.
 */
import { join } from "@std/path";
import { readOptions } from "./options.ts";
import { installKernel, kernelName } from "./kernel.ts";
import {
  failureOf,
  formatNotebook,
  machinePaths,
  normalised,
  type Notebook,
  parseNotebook,
} from "./notebooks/format.ts";
import { textOf, withPictures } from "./notebooks/format.ts";
import { renderPng } from "./render.ts";

/** Seconds that one cell may take. */
const patience = 600;
const folder = "notebooks";

const { check, _: wanted } = readOptions("deno task notebooks [--check] [NAME ...]", {
  check: { default: false, help: "leave the notebooks as they are" },
}, "any");
const present = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => name.endsWith(".ipynb")).sort();
const absent = wanted.find((start) => !present.some((name) => name.startsWith(start)));
if (absent !== undefined) exit(2, `No notebook starts with "${absent}"; there are ${present.join(", ")}`);
const chosen = present.filter((name) => wanted.length === 0 || wanted.some((start) => name.startsWith(start)));
if (!await jupyterWorks()) {
  exit(
    3,
    "Cannot execute notebooks: found no jupyter nbconvert. Install it with `apt install jupyter-nbconvert` or `pip install nbconvert`",
  );
}

await Deno.mkdir("results", { recursive: true });
const temporary = await Deno.realPath(await Deno.makeTempDir({ dir: "results", prefix: "notebooks-" }));
const executed: { notebook: string; seconds: number }[] = [];
let problem: string | undefined;
try {
  await installKernel(join(temporary, "jupyter"), { NO_COLOR: "1" });
  for (const [i, name] of chosen.entries()) {
    await say(`${name} (${i + 1} of ${chosen.length}) ... `);
    const start = performance.now();
    problem = await execute(name);
    const seconds = (performance.now() - start) / 1000;
    await say(`${problem === undefined ? "done" : "FAILED"} in ${seconds.toFixed(0)} s\n`);
    if (problem !== undefined) {
      problem = `${folder}/${name}: ${problem}`;
      break;
    }
    executed.push({ notebook: name, seconds: Number(seconds.toFixed(1)) });
  }
} finally {
  await Deno.remove(temporary, { recursive: true });
}
if (problem !== undefined) exit(1, problem);
console.log(JSON.stringify({ executed, written: !check }));

/** Executes a notebook, and keeps it unless only checking. Returns what went wrong. */
async function execute(name: string): Promise<string | undefined> {
  const path = join(folder, name);
  const { success, stderr } = await new Deno.Command("jupyter", {
    args: [
      "nbconvert",
      "--to=notebook",
      "--execute",
      "--allow-errors", // the errors are in the outputs then, with their cells
      `--ExecutePreprocessor.timeout=${patience}`,
      `--ExecutePreprocessor.kernel_name=${kernelName}`,
      `--output-dir=${temporary}`,
      path,
    ],
    // Neither the user's kernels nor the user's settings take part.
    env: {
      JUPYTER_PATH: join(temporary, "jupyter"),
      JUPYTER_RUNTIME_DIR: join(temporary, "runtime"),
      JUPYTER_NO_CONFIG: "1",
    },
    stdout: "null",
    stderr: "piped",
  }).output();
  const log = new TextDecoder().decode(stderr).trim();
  if (!success) return log.split("\n").slice(-3).join("\n") || "jupyter nbconvert failed without a message";
  const result = parseNotebook(await Deno.readTextFile(join(temporary, name)), name);
  const failure = failureOf(result);
  if (failure) return `cell ${failure.cell} failed: ${failure.message}`;
  const skipped = result.cells.findIndex((c) => c.cell_type === "code" && c.execution_count == null);
  if (skipped >= 0) return `cell ${skipped + 1} was not executed`;
  const now = parseNotebook(await Deno.readTextFile(path), path);
  const kept = await withPictures(normalised(result), now, picture);
  const folders = [Deno.cwd(), temporary, Deno.env.get("HOME") ?? ""].filter(({ length }) => length > 1);
  const paths = machinePaths(kept, folders);
  if (paths.length > 0) return `names folders of this machine: ${paths.join("; ")}`;
  if (check) return;
  // Outputs must not stand below code that did not make them, nor an edit be lost.
  if (sources(kept) !== sources(now)) return "it was edited while it ran and is left as it is; run again";
  const partial = `${path}.partial`;
  await Deno.writeTextFile(partial, formatNotebook(kept));
  await Deno.rename(partial, path);
}

function sources({ cells }: Notebook): string {
  return JSON.stringify(cells.map(({ source }) => textOf(source)));
}

/** A picture of an SVG as base64, or undefined after a message when there is no browser. */
async function picture(svg: string, size: { readonly width: number; readonly height: number }) {
  const [from, to] = [join(temporary, "figure.svg"), join(temporary, "figure.png")];
  await Deno.writeTextFile(from, svg);
  if (await renderPng(from, to, { ...size, onProblem: (message) => console.error(`\n${message}`) })) {
    return (await Deno.readFile(to)).toBase64();
  }
}

async function jupyterWorks(): Promise<boolean> {
  try {
    const args = ["nbconvert", "--version"];
    return (await new Deno.Command("jupyter", { args, stdout: "null", stderr: "null" }).output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function say(text: string): Promise<void> {
  await Deno.stderr.write(new TextEncoder().encode(text));
}

function exit(code: number, message: string): never {
  console.error(message);
  Deno.exit(code);
}
