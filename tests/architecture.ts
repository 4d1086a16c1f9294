/** The rules of the floors as pure functions over import edges and source texts; architecture_test.ts feeds them the real ones, and planted violations. */

/** Paths from the root of the repository; `to` may also be a bare name such as "onnxruntime-node". */
export interface Edge {
  readonly from: string;
  readonly to: string;
}

export interface Source {
  readonly path: string;
  readonly text: string;
}

/** Floors from the ground up. Folders of one floor do not know each other, save where `neighbours` says so. */
const floors: readonly (readonly string[])[] = [
  ["lib/tensor", "lib/version.ts"],
  ["lib/quant", "lib/diffusion", "lib/format", "lib/report", "lib/nanoworld"],
  ["lib/methods"],
  ["lib/onnx"],
  ["lib/runtime"],
  ["lib/model"],
  ["lib/packed"],
  ["lib/checkpoint"],
  ["lib/train", "lib/corpus"],
  ["lib/pipeline", "lib/evaluate", "lib/export"],
  ["lib/mod.ts"],
  ["scripts", "notebooks"],
];
/** Edges within a floor: stored forms are packed bits, and a study is a pipeline with an evaluation at its end. */
const neighbours: readonly Edge[] = [
  { from: "lib/quant", to: "lib/format" },
  { from: "lib/evaluate", to: "lib/pipeline" },
];
/** Scripts past lib/mod.ts: the world is written without native code, so that its task needs no permission but to read and write. */
const exceptions: readonly Edge[] = [
  { from: "scripts/make-world.ts", to: "lib/nanoworld" },
];
const within = (edges: readonly Edge[], from: string, to: string) => edges.some((e) => e.from === from && e.to === to);
const top = floors.length - 1;
/** The folders whose code is pure: no console, clock, ambient randomness or files. */
const pureFloors = 3;

/** The place of a path: its folder in `floors` and the floor's number; undefined outside of them. */
function placeOf(path: string): { readonly floor: number; readonly folder: string } | undefined {
  for (const [floor, folders] of floors.entries()) {
    const folder = folders.find((f) => path === f || path.startsWith(`${f}/`));
    if (folder !== undefined) return { floor, folder };
  }
  return undefined;
}

/** Edges that do not point down. Scripts and notebooks read through lib/mod.ts only. */
export function upwardEdges(edges: readonly Edge[]): string[] {
  return edges.filter(({ from, to }) => {
    const [a, b] = [placeOf(from), placeOf(to)];
    if (!a) return false;
    if (!b) return /^(\.|lib|tests|bench|data)/.test(to);
    if (a.folder === b.folder) return false;
    if (a.floor === top) return to !== "lib/mod.ts" && !within(exceptions, from, b.folder);
    return b.floor > a.floor || (b.floor === a.floor && !within(neighbours, a.folder, b.folder));
  }).map(({ from, to }) => `${from} imports ${to}`);
}

/** Importers of onnxruntime beyond the one that may. */
export function foreignRuntimes(edges: readonly Edge[]): string[] {
  return edges.filter(({ from, to }) => /onnxruntime/.test(to) && from !== "lib/runtime/runtime.ts")
    .map(({ from, to }) => `${from} imports ${to}`);
}

/** What the pure floors may not touch, and rounding outside its file. */
export function impureLines(sources: readonly Source[]): string[] {
  const impure = /(?<![\w$."])(console\s*[.[]|Date\.now|new Date\b|performance\.now|Math\.random|crypto\.|Deno\b)/;
  return sources.flatMap(({ path, text }) => {
    const pure = (placeOf(path)?.floor ?? Infinity) < pureFloors;
    const rounds = path !== "lib/tensor/rounding.ts" && path.startsWith("lib/");
    return codeOf(text).split("\n").flatMap((line, i) => {
      const found = (pure ? line.match(impure)?.[1] : undefined) ??
        (rounds ? line.match(/Math\.round\b/)?.[0] : undefined);
      return found === undefined ? [] : [`${path}:${i + 1} uses ${found}`];
    });
  });
}

/** Files of more than 300 lines in lib and scripts. */
export function longFiles(sources: readonly Source[]): string[] {
  return sources.map(({ path, text }) => ({ path, lines: text.replace(/\n$/, "").split("\n").length }))
    .filter(({ path, lines }) => lines > 300 && /^(lib|scripts)\//.test(path))
    .map(({ path, lines }) => `${path} has ${lines} lines`);
}

/** The modules that a TypeScript text imports: `import`, `export ... from`, `import(...)` and worker URLs by a literal. */
export function importsOf(text: string): string[] {
  const code = codeOf(text, { strings: true });
  const patterns = [
    /(?:^|[;}\n])\s*(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/g,
    /(?:^|[;}\n])\s*import\s*["']([^"']+)["']/g,
    /\bimport\s*\(\s*["']([^"']+)["']/g,
  ];
  return patterns.flatMap((pattern) => Array.from(code.matchAll(pattern), (m) => m[1]));
}

/** Edges of a source, with relative modules resolved against its path and `map` applied to bare names. */
export function edgesOf({ path, text }: Source, map: Readonly<Record<string, string>> = {}): Edge[] {
  return importsOf(text).map((to) => {
    if (!to.startsWith(".")) return { from: path, to: (map[to] ?? to).replace(/^\.\//, "") };
    return { from: path, to: new URL(to, `file:///${path}`).pathname.slice(1) };
  });
}

/** The text with comments blanked out, and by default the insides of strings too; line numbers stay. */
export function codeOf(text: string, { strings = false } = {}): string {
  const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;
  return text.replace(token, (part) => {
    if (!part.startsWith("/")) return strings ? part : part[0] + part[0];
    return part.replace(/[^\n]/g, " ");
  });
}
