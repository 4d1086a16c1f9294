/** What the notebooks promise: one claim each, few short cells, outputs that a fresh kernel made; and how the kernel finds this project. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  type Cell,
  failureOf,
  formatNotebook,
  machinePaths,
  normalised,
  type Notebook,
  parseNotebook,
  textOf,
  withPictures,
} from "../scripts/notebooks/format.ts";
import { installKernel, jupyterDataDir, kernelName, kernelSpec, pinnedDeno } from "../scripts/kernel.ts";
import { kernelFolder } from "../scripts/notebooks/launch.ts";

const names = [
  "01_masking_shifts_activations",
  "02_daq_orders_and_scales",
  "03_abmp_where_bits_go",
  "04_main_comparison",
  "05_ablations",
  "06_from_layer_error_to_the_models_loss",
  "07_all_methods_at_equal_bits",
  "08_generation_step_by_step",
  "09_parallel_decoding_tradeoff",
  "10_table1",
  "11_figure3",
];
const files = names.map((name) => {
  const text = Deno.readTextFileSync(`notebooks/${name}.ipynb`);
  return { name, text, notebook: parseNotebook(text, name) };
});
const code = ({ cells }: Notebook) => cells.filter((cell) => cell.cell_type === "code");

for (const { name, text, notebook } of files) {
  Deno.test(`${name}: one claim, at most 12 cells of at most 15 lines, imports from quant-dllm only`, () => {
    const { cells } = notebook;
    assert(cells.length <= 12, `${cells.length} cells`);
    assertStringIncludes(textOf(cells[0].source), "**Claim.**");
    assertStringIncludes(textOf(cells.at(-1)!.source), "**Answer.**");
    assert(!/\d\.\d/.test(textOf(cells.at(-1)!.source)), "the answer quotes a number; let a cell compute it");
    for (const [i, cell] of cells.entries()) {
      const lines = textOf(cell.source).split("\n");
      if (cell.cell_type === "code") assert(lines.length <= 15, `cell ${i + 1} has ${lines.length} lines`);
      for (const line of lines) assert(line.length <= 180, `cell ${i + 1} has a line of ${line.length} characters`);
    }
    const sources = code(notebook).map(({ source }) => textOf(source)).join("\n");
    for (const [, module] of sources.matchAll(/(?:\bfrom|\bimport\s*\(?)\s*"([^"]+)"/g)) {
      assert(module === "quant-dllm" || module === "quant-dllm/testbed", module);
    }
  });

  Deno.test(`${name}: the last code cell shows the verdicts on the claim, as \`verdictLine\` words them`, () => {
    const last = code(notebook).at(-1)!;
    assertEquals(notebook.cells.at(-2), last, "the answer does not stand right below it");
    assertStringIncludes(textOf(last.source), "verdictLine(");
    const shown = textOf(last.outputs!.at(-1)!.data!["text/markdown"] as string);
    const [, , ...parts] = shown.split("\n").filter((line) => line.startsWith("| "));
    assert(parts.length > 0, "no verdict");
    for (const part of parts) assertMatch(part, /\| (holds|does not hold|too few seeds)\b[^|]*: [+-]?[\d.]+ ± [\d.]+ /);
    // The kernel may lose the end of what is printed: it goes on before the last lines have arrived.
    const outputs = notebook.cells.flatMap(({ outputs = [] }) => outputs);
    assertEquals(outputs.filter(({ output_type }) => output_type === "stream"), []);
  });

  Deno.test(`${name}: outputs are those of a fresh kernel, with pictures that every viewer shows`, () => {
    assertEquals(code(notebook).map((cell) => cell.execution_count), code(notebook).map((_, i) => i + 1));
    assertEquals(failureOf(notebook), undefined);
    assertEquals(text, formatNotebook(normalised(notebook)));
    assertEquals((notebook.metadata.kernelspec as Record<string, string>).name, kernelName);
    const data = notebook.cells.flatMap(({ outputs = [] }) => outputs.map((output) => output.data ?? {}));
    assert(data.some((bundle) => "image/png" in bundle), "no picture");
    assert(data.some((bundle) => "text/markdown" in bundle), "no table");
    assert(data.every((bundle) => !("image/svg+xml" in bundle)), "an SVG, which GitHub leaves out");
    const home = Deno.env.get("HOME");
    assertEquals(machinePaths(notebook, [Deno.cwd(), ...(home && home.length > 1 ? [home] : [])]), []);
    assert(!/\/home\/|\/Users\/|[A-Z]:\\\\Users/.test(text), "a folder of a user");
  });
}

Deno.test("notebooks: there are no others", () => {
  const found = [...Deno.readDirSync("notebooks")].map((entry) => entry.name).filter((name) => name.endsWith(".ipynb"));
  assertEquals(found.sort(), names.map((name) => `${name}.ipynb`));
});

Deno.test("notebooks: their cells type-check", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const { name, notebook } of files) {
      const cells = code(notebook).map(({ source }, i) => `// code cell ${i + 1}\n${textOf(source)}\n`);
      await Deno.writeTextFile(`${folder}/${name}.ts`, cells.join("\n"));
    }
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "check",
        "--quiet",
        "--config",
        await Deno.realPath("deno.json"),
        ...names.map((n) => `${folder}/${n}.ts`),
      ],
      env: { NO_COLOR: "1" },
    }).output();
    assert(success, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const cell = (outputs: Cell["outputs"]): Cell => ({ cell_type: "code", id: "a", source: "", metadata: {}, outputs });
const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"></svg>';
const shown = (data: Record<string, unknown>): Notebook => ({
  cells: [cell([{ output_type: "display_data", data, metadata: {} }])],
  metadata: {},
  nbformat: 4,
  nbformat_minor: 5,
});

Deno.test("withPictures: SVG becomes PNG of its size, once; what did not change is not rendered again", async () => {
  const sizes: unknown[] = [];
  const render = (_: string, size: unknown) => Promise.resolve(`picture ${sizes.push(size)}`);
  const first = await withPictures(shown({ "image/svg+xml": [svg], "text/plain": "x" }), undefined, render);
  assertEquals(first.cells[0].outputs![0].data, { "image/png": "picture 1", "text/plain": "x" });
  const again = await withPictures(shown({ "image/svg+xml": svg, "text/plain": "x" }), first, render);
  assertEquals(again, first);
  await withPictures(shown({ "image/svg+xml": svg.replace("40", "50") }), first, render);
  assertEquals(sizes, [{ width: 40, height: 30 }, { width: 50, height: 30 }]);
});

Deno.test("withPictures: without a browser the SVG stays", async () => {
  const notebook = shown({ "image/svg+xml": svg });
  assertEquals(await withPictures(notebook, undefined, () => Promise.resolve(undefined)), notebook);
});

Deno.test("normalised: execution times and an editor's metadata go, sources and outputs stay", () => {
  const plain = shown({ "text/plain": "x" });
  const busy: Notebook = {
    ...plain,
    cells: [{ ...plain.cells[0], metadata: { execution: { "iopub.status.busy": "2026-01-01" }, tags: ["a"] } }],
    metadata: { kernelspec: { name: "deno" }, vscode: {}, language_info: { version: "9" } },
  };
  const { cells, metadata } = normalised(busy);
  assertEquals(cells, [{ ...plain.cells[0], metadata: { tags: ["a"] } }]);
  assertEquals(Object.keys(metadata), ["kernelspec", "language_info"]);
  assertEquals(normalised(normalised(busy)), normalised(busy));
});

Deno.test("failureOf and machinePaths name the cell", () => {
  const failing = cell([{ output_type: "error", ename: "RangeError", evalue: "too much", traceback: [] }]);
  const notebook = { ...shown({}), cells: [cell([]), failing] };
  assertEquals(failureOf(notebook), { cell: 2, message: "RangeError: too much" });
  assertEquals(failureOf(shown({})), undefined);
  assertEquals(machinePaths(shown({ "text/plain": "see /srv/kit/lib" }), ["/srv/kit"]), ["cell 1 contains /srv/kit"]);
});

Deno.test("parseNotebook names the file", () => {
  assertThrows(() => parseNotebook("{", "a.ipynb"), SyntaxError, "a.ipynb");
  assertThrows(() => parseNotebook("{}", "a.ipynb"), SyntaxError, "a.ipynb");
});

Deno.test("kernel: Jupyter's folder on each system", () => {
  const at = (os: typeof Deno.build.os, env: Record<string, string>) =>
    jupyterDataDir({ os, env: (name) => env[name] });
  assertEquals(at("linux", { HOME: "/u" }), "/u/.local/share/jupyter");
  assertEquals(at("linux", { HOME: "/u", XDG_DATA_HOME: "/d" }), "/d/jupyter");
  assertEquals(at("darwin", { HOME: "/u" }), "/u/Library/Jupyter");
  assertEquals(at("windows", { APPDATA: "C:\\u" }), "C:\\u\\jupyter");
  assertEquals(at("linux", { HOME: "/u", JUPYTER_DATA_DIR: "/j" }), "/j");
  assertThrows(() => at("linux", {}), Error, "HOME");
});

Deno.test("kernel: the pinned Deno itself, or through npx where it is another or may vanish", () => {
  const start = (os: typeof Deno.build.os, execPath: string, version: string) =>
    kernelSpec({ os, execPath, version }, "/p/launch.ts").argv.slice(0, 3);
  assertEquals(start("linux", "/bin/deno", pinnedDeno)[0], "/bin/deno");
  assertEquals(start("linux", "/bin/deno", "2.0.0"), ["npx", "-y", `deno@${pinnedDeno}`]);
  assertEquals(start("darwin", "/u/.npm/_npx/1a/node_modules/deno/deno", pinnedDeno)[0], "npx");
  assertEquals(start("windows", "C:\\deno.exe", "2.0.0")[0], "npx.cmd");
});

Deno.test("kernel: a notebook in the project keeps its folder, one elsewhere gets the project's", () => {
  assertEquals(kernelFolder("/p/notebooks", "/p"), "/p/notebooks");
  assertEquals(kernelFolder("/p", "/p"), "/p");
  assertEquals(kernelFolder("/p2/notebooks", "/p"), "/p");
  assertEquals(kernelFolder("C:\\p\\notebooks", "C:\\p", "\\"), "C:\\p\\notebooks");
});

Deno.test("kernel: what is installed starts an existing launcher", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const spec = JSON.parse(await Deno.readTextFile(`${await installKernel(folder, { A: "1" })}/kernel.json`));
    assertEquals(spec.argv.at(-1), "{connection_file}");
    assert((await Deno.stat(spec.argv.at(-2))).isFile);
    assertEquals(spec.env.A, "1");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const permissions = ["--allow-read", "--allow-write=results", "--allow-env", "--allow-run=jupyter"];

async function script(args: readonly string[], env: Record<string, string> = {}) {
  const command = new Deno.Command(Deno.execPath(), { args: ["run", "--quiet", ...permissions, ...args], env });
  const { code, stderr } = await command.output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("kernel and notebooks: bad arguments are named, and a missing jupyter is exit code 3", async () => {
  const runs = [
    { args: ["scripts/kernel.ts", "--folder", "x"], code: 2, says: /--folder/ },
    { args: ["scripts/kernel.ts", "--prefix"], code: 2, says: /--prefix/ },
    { args: ["scripts/notebooks.ts", "--all"], code: 2, says: /--all/ },
    { args: ["scripts/notebooks.ts", "99"], code: 2, says: /"99".*01_masking/s },
    { args: ["scripts/notebooks.ts"], env: { PATH: "" }, code: 3, says: /jupyter-nbconvert/ },
  ];
  for (const { args, env, code, says } of runs) {
    const result = await script(args, env);
    assertEquals(result.code, code, args.join(" "));
    assertMatch(result.stderr, says);
  }
});
