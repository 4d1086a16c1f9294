import { assert, assertEquals } from "@std/assert";
import {
  circles,
  type Edge,
  edgesOf,
  foreignEdges,
  foreignRuntimes,
  fullRooms,
  importsOf,
  impureLines,
  longFiles,
  type Source,
  statefulLines,
} from "./architecture.ts";
import { deno } from "./deno.ts";

const root = new URL("../", import.meta.url);

/** The files of a folder that end in `end`, by path from the root; none when the folder is missing. */
async function read(folder: string, end: string): Promise<Source[]> {
  const sources: Source[] = [];
  const walk = async (path: string) => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(path, root))) {
      const inside = `${path}/${name}`;
      if (isDirectory && !name.startsWith(".")) await walk(inside);
      else if (name.endsWith(end)) sources.push({ path: inside, text: await Deno.readTextFile(new URL(inside, root)) });
    }
  };
  await walk(folder);
  return sources;
}

/** The code cells of notebooks, as one source each. */
async function readNotebooks(): Promise<Source[]> {
  return (await read("notebooks", ".ipynb")).map(({ path, text }) => {
    const { cells } = JSON.parse(text) as { cells: { cell_type: string; source: string | string[] }[] };
    const code = cells.filter((c) => c.cell_type === "code").map((c) => [c.source].flat().join("")).join("\n;\n");
    return { path, text: code };
  });
}

/** Edges as Deno itself resolves them, types included. */
async function graphOf(entry: string): Promise<Edge[]> {
  const { code, stdout, stderr } = await deno(["info", "--json", new URL(entry, root).href]);
  assertEquals(code, 0, stderr);
  type Dependency = { specifier: string; code?: { specifier: string }; type?: { specifier: string } };
  const { modules } = JSON.parse(stdout) as { modules: { specifier: string; dependencies?: Dependency[] }[] };
  const local = (specifier: string) =>
    specifier.startsWith(root.href) && !specifier.includes("/node_modules/") ? specifier.slice(root.href.length) : "";
  return modules.filter((m) => local(m.specifier) !== "").flatMap(({ specifier, dependencies = [] }) =>
    dependencies.map((d) => {
      const to = (d.code ?? d.type)?.specifier ?? d.specifier;
      return { from: local(specifier), to: local(to) || to, types: d.code === undefined };
    })
  );
}

const [lib, scripts, notebooks] = await Promise.all([read("lib", ".ts"), read("scripts", ".ts"), readNotebooks()]);
const map = { "quant-dllm": "lib/mod.ts", "quant-dllm/testbed": "lib/testbed.ts" };

Deno.test("imports keep to the rooms and make no circle, as Deno resolves them from lib/mod.ts", async () => {
  const edges = await graphOf("lib/mod.ts");
  assert(edges.length > 100, `only ${edges.length} edges were read`);
  // Deno does not tell which code imports take types only; the texts below do.
  assertEquals(circles(edges), []);
  assertEquals(foreignRuntimes(edges), []);
  assert(edges.some(({ from, to }) => from === "lib/runtime/runtime.ts" && /onnxruntime-node/.test(to)));
});

Deno.test("imports keep to the rooms in every file of lib, scripts and notebooks", () => {
  const edges = [...lib, ...scripts, ...notebooks].flatMap((source) => edgesOf(source, map));
  assert(edges.length > 150, `only ${edges.length} edges were read`);
  assertEquals(foreignEdges(edges), []);
  assertEquals(circles(edges), []);
  assertEquals(foreignRuntimes(edges), []);
});

Deno.test("the lower rooms are pure, one file rounds, no file is long, no room is full", () => {
  assert(lib.length > 50);
  assertEquals(impureLines(lib), []);
  assertEquals(statefulLines(lib), []);
  assertEquals(longFiles([...lib, ...scripts]), []);
  assertEquals(fullRooms(lib.map(({ path }) => path)), []);
});

Deno.test("edges between rooms that the table does not allow are found", () => {
  const planted: [string, string, boolean | "types"][] = [
    ["lib/quant/obs.ts", "lib/model/model.ts", true],
    ["lib/quant/obs.ts", "lib/quant/forms/decode.ts", true],
    ["lib/quant/forms/binary.ts", "lib/quant/method.ts", false],
    ["lib/quant/forms/binary.ts", "lib/methods/daq/group.ts", true],
    ["lib/methods/daq/daq.ts", "lib/methods/abmp.ts", false],
    ["lib/methods/abmp.ts", "lib/methods/daq/daq.ts", true],
    ["lib/methods/daq/daq.ts", "lib/diffusion/mcs.ts", true],
    ["lib/methods/gptq.ts", "lib/quant/obs.ts", false],
    ["lib/methods/gptq.ts", "lib/runtime/kernels.ts", true],
    ["lib/format/bits.ts", "lib/quant/obs.ts", true],
    ["lib/report/rows.ts", "lib/evaluate/evaluate.ts", true],
    ["lib/tensor/rng.ts", "lib/format/bits.ts", true],
    ["lib/onnx/ops.ts", "lib/model/block.ts", true],
    ["lib/runtime/runtime.ts", "lib/onnx/graph.ts", false],
    ["lib/model/engine.ts", "lib/runtime/runtime.ts", "types"],
    ["lib/model/model.ts", "lib/diffusion/denoiser.ts", "types"],
    ["lib/model/model.ts", "lib/packed/forward.ts", true],
    ["lib/model/model.ts", "lib/tensor/rng.ts", false],
    ["lib/packed/forward.ts", "lib/checkpoint/open.ts", true],
    ["lib/checkpoint/open.ts", "lib/packed/forward.ts", false],
    ["lib/checkpoint/files/file_source.ts", "lib/checkpoint/open.ts", true],
    ["lib/pipeline/walk.ts", "lib/evaluate/evaluate.ts", true],
    ["lib/evaluate/study.ts", "lib/pipeline/quantize.ts", false],
    ["lib/evaluate/elbo.ts", "lib/model/model.ts", "types"],
    ["lib/evaluate/study.ts", "lib/mod.ts", true],
    ["lib/evaluate/evaluate.ts", "lib/evaluate/decoding/decode.ts", true],
    ["lib/evaluate/decoding/decoding.ts", "lib/evaluate/evaluate.ts", false],
    ["lib/diffusion/apd/apd.ts", "lib/diffusion/sampler.ts", false],
    ["lib/diffusion/sampler.ts", "lib/diffusion/apd/apd.ts", true],
    ["lib/version.ts", "lib/report/rows.ts", true],
    ["lib/pipeline/walk.ts", "lib/version.ts", false],
    ["lib/tensor/rng.ts", "lib/version.ts", true],
    ["lib/mod.ts", "scripts/cli.ts", true],
    ["lib/testbed.ts", "lib/train/train.ts", false],
    ["lib/train/train.ts", "lib/testbed.ts", true],
    ["scripts/train-nano.ts", "lib/testbed.ts", false],
    ["lib/mod.ts", "lib/model/model.ts", false],
    ["lib/model/model.ts", "tests/layers.ts", true],
    ["lib/model/model.ts", "lib/unheard-of.ts", true],
    ["lib/attic/model.ts", "lib/tensor/rng.ts", true],
    ["lib/model/model.ts", "npm:onnx-proto", false],
    ["scripts/quantize.ts", "lib/mod.ts", false],
    ["scripts/quantize.ts", "scripts/cli.ts", false],
    ["scripts/quantize.ts", "lib/methods/rtn.ts", true],
    ["scripts/make-world.ts", "lib/nanoworld/world.ts", false],
    ["scripts/make-world.ts", "lib/methods/rtn.ts", true],
    ["scripts/notebooks/format.ts", "lib/report/figure.ts", true],
    ["notebooks/01.ipynb", "lib/mod.ts", false],
    ["notebooks/01.ipynb", "lib/methods/rtn.ts", true],
    ["notebooks/01.ipynb", "scripts/cli.ts", true],
    ["tests/bench/gptq.ts", "lib/methods/gptq.ts", false],
  ];
  for (const [from, to, wrong] of planted) {
    assertEquals(foreignEdges([{ from, to }]), wrong ? [`${from} imports ${to}`] : [], `${from} -> ${to}`);
    const types = wrong === true ? [`${from} imports types of ${to}`] : [];
    assertEquals(foreignEdges([{ from, to, types: true }]), types, `types: ${from} -> ${to}`);
  }
});

Deno.test("circles among files are found, types included", () => {
  const edge = (from: string, to: string, types = false) => ({ from, to, types });
  const line = [edge("lib/a.ts", "lib/b.ts"), edge("lib/b.ts", "lib/c.ts"), edge("lib/a.ts", "lib/c.ts")];
  assertEquals(circles(line), []);
  assertEquals(circles([...line, edge("lib/c.ts", "lib/b.ts", true)]), ["lib/b.ts > lib/c.ts > lib/b.ts"]);
  assertEquals(circles([...line, edge("lib/c.ts", "lib/a.ts")]), ["lib/a.ts > lib/b.ts > lib/c.ts > lib/a.ts"]);
  assertEquals(circles([edge("lib/a.ts", "lib/a.ts")]), ["lib/a.ts > lib/a.ts"]);
  // As planted in the texts of the house: a type that a stored form takes from a method.
  const texts = [
    { path: "lib/quant/forms/grouped.ts", text: 'import type { Group } from "../../methods/daq/group.ts";' },
    { path: "lib/methods/daq/group.ts", text: 'import { groupOf } from "../../quant/forms/grouped.ts";' },
  ];
  assertEquals(circles(texts.flatMap((source) => edgesOf(source))).length, 1);
  assertEquals(foreignEdges(texts.flatMap((source) => edgesOf(source))), [
    "lib/quant/forms/grouped.ts imports types of lib/methods/daq/group.ts",
  ]);
});

Deno.test("full rooms are found", () => {
  const files = (room: string, count: number) => Array.from({ length: count }, (_, i) => `lib/${room}/${i}.ts`);
  assertEquals(fullRooms([...files("a", 14), ...files("a/b", 3)]), []);
  assertEquals(fullRooms(files("a", 15)), ["lib/a holds 15 files"]);
});

Deno.test("a second importer of onnxruntime is found", () => {
  for (const to of ["onnxruntime-node", "npm:onnxruntime-node@1.30.0", "npm:/onnxruntime-common@1.30.0"]) {
    assertEquals(foreignRuntimes([{ from: "lib/runtime/runtime.ts", to }]), []);
    for (const from of ["lib/model/engine.ts", "scripts/quantize.ts"]) {
      assertEquals(foreignRuntimes([{ from, to }]), [`${from} imports ${to}`]);
    }
  }
});

Deno.test("impure lines are found, in code only", () => {
  const lines = (path: string, text: string) => impureLines([{ path, text }]);
  const impure = ['console.log("x")', "const t = Date.now();", "performance.now()", "Math.random()", "Deno.cwd()"];
  for (const line of [...impure, "x = `${Deno.cwd()}`", "const { log } = console;".replace(";", "[0];")]) {
    for (
      const folder of [
        "tensor",
        "quant",
        "quant/forms",
        "diffusion",
        "diffusion/apd",
        "format",
        "report",
        "nanoworld",
        "methods",
        "methods/daq",
        "onnx",
      ]
    ) {
      assertEquals(lines(`lib/${folder}/a.ts`, `// fine\n${line}`).length, 1, `${folder}: ${line}`);
    }
    assertEquals(lines("lib/model/a.ts", line), []);
    assertEquals(lines("lib/quant/a.ts", `// ${line}\n/* ${line}\n${line} */ const x = 1;`), []);
  }
  assertEquals(
    lines("lib/report/a.ts", 'throw new Error("Deno.cwd() and console.log are refused"); // Date.now()'),
    [],
  );
  assertEquals(lines("lib/quant/a.ts", "a;\nb = Math.round(c);"), ["lib/quant/a.ts:2 uses Math.round"]);
  assertEquals(lines("lib/evaluate/a.ts", "[1].map(Math.round)"), ["lib/evaluate/a.ts:1 uses Math.round"]);
  assertEquals(lines("lib/tensor/rounding.ts", "Math.round(c)"), []);
});

Deno.test("module-level state is found in the pure rooms", () => {
  const lines = (text: string, path = "lib/quant/a.ts") => statefulLines([{ path, text }]).length;
  for (
    const state of [
      "let last = 1;",
      "export let n;",
      "const kept = new WeakMap<object, Kept>();",
      "const all: X[] = [];",
    ]
  ) {
    assertEquals(lines(`// fine\n${state}`), 1, state);
    assertEquals(lines(state, "lib/runtime/a.ts"), 0);
    assertEquals(lines(`  ${state}`), 0, "inside a function");
  }
  assertEquals(lines('const names = new Set(["a"]);\nconst half = new Float16Array(1);\nconst letter = "let x";'), 0);
});

Deno.test("long files are found", () => {
  const of = (path: string, lines: number) => ({ path, text: "x;\n".repeat(lines) });
  assertEquals(longFiles([of("lib/a.ts", 300), of("scripts/a.ts", 300), of("tests/a.ts", 900)]), []);
  assertEquals(longFiles([of("lib/a.ts", 301)]), ["lib/a.ts has 301 lines"]);
  assertEquals(longFiles([of("scripts/a.ts", 301)]), ["scripts/a.ts has 301 lines"]);
});

Deno.test("imports are read from text in all their forms", () => {
  const text = `import * as ort from "onnxruntime-node";
import { a,
  type B } from "./b.ts"; // import "./comment.ts";
export type { C } from '../c.ts';
export * from "./d.ts";
import "./e.ts";
import type F from "./f.ts";
import { type I, type J } from "./i.ts";
/* import "./g.ts" */
const h = await import("./h.ts");
const text = "no import here";
`;
  assertEquals(importsOf(text).map(({ to }) => to).sort(), [
    "../c.ts",
    "./b.ts",
    "./d.ts",
    "./e.ts",
    "./f.ts",
    "./h.ts",
    "./i.ts",
    "onnxruntime-node",
  ]);
  assertEquals(importsOf(text).filter(({ types }) => types).map(({ to }) => to), ["../c.ts", "./f.ts", "./i.ts"]);
  assertEquals(edgesOf({ path: "lib/quant/a.ts", text: 'import "../model/b.ts"; import "quant-dllm";' }, map), [
    { from: "lib/quant/a.ts", to: "lib/model/b.ts", types: false },
    { from: "lib/quant/a.ts", to: "lib/mod.ts", types: false },
  ]);
});
