/** The rules of the house as pure functions over import edges and source texts; architecture_test.ts feeds them the real ones, and planted violations. */

/** Paths from the root of the repository; `to` may also be a bare name such as "onnxruntime-node". */
export interface Edge {
  readonly from: string;
  readonly to: string;
  /** Whether only types are imported. */
  readonly types?: boolean;
}

export interface Source {
  readonly path: string;
  readonly text: string;
}

/**
 * The rooms of lib in the order in which data flows to them, each with the rooms that it may import; a star allows types only. A room may always import
 * `tensor` and, within itself, any file that does not lead back.
 */
export const rooms: Readonly<Record<string, string>> = {
  "tensor": "",
  "format": "",
  "report": "",
  "nanoworld": "",
  "quant": "",
  "quant/dense": "quant format",
  "quant/forms": "quant quant/dense format",
  "quant/tunable": "quant quant/forms quant/dense format",
  "methods": "quant quant/forms quant/dense",
  "methods/daq": "methods quant quant/forms",
  "methods/slim": "methods quant quant/forms",
  "methods/aqlm": "methods quant quant/dense",
  "methods/pt2": "methods quant quant/dense",
  "methods/sbvr": "methods quant quant/dense",
  "methods/sdq": "methods quant quant/dense",
  "diffusion": "",
  "diffusion/samplers": "diffusion",
  "diffusion/apd": "diffusion",
  "onnx": "",
  "runtime": "onnx",
  "model": "model/families* onnx quant quant/forms runtime* diffusion*",
  "model/families": "model",
  "packed": "model model/families* onnx quant quant/forms format runtime*",
  "checkpoint/files": "format",
  "checkpoint/hub": "checkpoint/files format",
  "checkpoint/tokenizer": "checkpoint/files format model*",
  "checkpoint":
    "checkpoint/files checkpoint/hub checkpoint/tokenizer packed model model/families quant* runtime format",
  "train": "checkpoint/files model model/families onnx runtime* format diffusion*",
  "tune": "train model quant* quant/forms quant/tunable diffusion",
  "corpus": "checkpoint/files checkpoint/hub diffusion* model* format",
  "pipeline":
    "pipeline/disk checkpoint checkpoint/files checkpoint/hub checkpoint/tokenizer model model/families* diffusion " +
    "diffusion/samplers quant quant/forms runtime report format tune version.ts",
  "pipeline/disk":
    "pipeline* checkpoint checkpoint/files checkpoint/hub model diffusion* quant* report format tune version.ts",
  "allocate": "pipeline diffusion model* methods quant* quant/forms",
  "evaluate": "pipeline diffusion model* nanoworld quant* report* version.ts",
  "evaluate/decoding": "evaluate diffusion model* report*",
  "export": "checkpoint checkpoint/files checkpoint/hub packed model onnx quant quant/forms format",
};
/** What `scripts` and `notebooks` read the library through: the public vocabulary, and that of the testbed. */
const doors: readonly string[] = ["mod.ts", "testbed.ts"];
/** Scripts past them: the world is written without native code, so that its task needs no permission but to read and write. */
const exceptions: readonly Edge[] = [
  { from: "scripts/make-world.ts", to: "lib/nanoworld" },
];
/** Rooms whose code is pure: no console, clock, ambient randomness or files. */
const pure =
  ("tensor format report nanoworld quant quant/forms quant/dense quant/tunable methods methods/daq methods/slim " +
    "methods/aqlm methods/pt2 methods/sbvr methods/sdq diffusion diffusion/samplers diffusion/apd onnx").split(" ");

/** The room of a path: the longest that fits; its name for a file of lib itself, undefined outside of lib or where no room fits. */
function roomOf(path: string): string | undefined {
  if (!path.startsWith("lib/")) return undefined;
  const inside = path.slice(4);
  if (doors.includes(inside) || inside === "version.ts") return inside;
  return Object.keys(rooms).filter((room) => inside.startsWith(`${room}/`)).sort((a, b) => b.length - a.length)[0];
}

function allowed({ from, to, types = false }: Edge): boolean {
  if (/^(scripts|notebooks)\//.test(from)) {
    if (!/^(\.|lib|tests|scripts)\b/.test(to)) return true;
    if (to.startsWith("scripts/")) return from.startsWith("scripts/");
    return doors.includes(to.replace(/^lib\//, "")) ||
      exceptions.some((e) => e.from === from && to.startsWith(`${e.to}/`));
  }
  if (!from.startsWith("lib/")) return true;
  const [a, b] = [roomOf(from), roomOf(to)];
  if (a === undefined) return false;
  if (b === undefined) return !/^(\.|lib|tests|bench|data|scripts|notebooks)/.test(to);
  if (doors.includes(b)) return false;
  if (doors.includes(a) || a === b) return true;
  if (a === "version.ts") return false;
  const may = rooms[a].split(" ");
  return b === "tensor" || may.includes(b) || (types && may.includes(`${b}*`));
}

/** Edges that the table of rooms does not allow. Scripts and notebooks read through the doors only. */
export function foreignEdges(edges: readonly Edge[]): string[] {
  return edges.filter((edge) => !allowed(edge))
    .map(({ from, to, types }) => `${from} imports ${types ? "types of " : ""}${to}`);
}

/** Circles among files, type imports included: none if there is none, else at least one, told from its first file in the alphabet. */
export function circles(edges: readonly Edge[]): string[] {
  const next = new Map<string, string[]>();
  for (const { from, to } of edges) next.set(from, [...next.get(from) ?? [], to]);
  const done = new Set<string>(), found = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      const circle = trail.slice(at);
      const first = circle.indexOf([...circle].sort()[0]);
      found.add([...circle.slice(first), ...circle.slice(0, first), circle[first]].join(" > "));
      return;
    }
    if (done.has(path)) return;
    for (const to of next.get(path) ?? []) visit(to, [...trail, path]);
    done.add(path);
  };
  for (const path of [...next.keys()].sort()) visit(path, []);
  return [...found];
}

/** Folders of more than `most` files. */
export function fullRooms(paths: readonly string[], most = 14): string[] {
  const counts = new Map<string, number>();
  for (const path of paths) {
    const folder = path.slice(0, path.lastIndexOf("/"));
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts].filter(([, count]) => count > most).map(([folder, count]) => `${folder} holds ${count} files`);
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
    const isPure = pure.includes(roomOf(path) ?? "");
    const rounds = path !== "lib/tensor/rounding.ts" && path.startsWith("lib/");
    return codeOf(text).split("\n").flatMap((line, i) => {
      const found = (isPure ? line.match(impure)?.[1] : undefined) ??
        (rounds ? line.match(/Math\.round\b/)?.[0] : undefined);
      return found === undefined ? [] : [`${path}:${i + 1} uses ${found}`];
    });
  });
}

/** Module-level state in the pure rooms: a variable that may be set anew, or a collection that begins empty. */
export function statefulLines(sources: readonly Source[]): string[] {
  const state =
    /^(export\s+)?(let|var)\s|^(export\s+)?const\s.*=\s*(new\s+(Weak)?(Map|Set)\b[^(]*\(\s*\)|\[\s*\]|\{\s*\})\s*;/;
  return sources.filter(({ path }) => pure.includes(roomOf(path) ?? "")).flatMap(({ path, text }) =>
    codeOf(text).split("\n").flatMap((line, i) => state.test(line) ? [`${path}:${i + 1} holds state`] : [])
  );
}

/** Files of more than 300 lines in lib and scripts. */
export function longFiles(sources: readonly Source[]): string[] {
  return sources.map(({ path, text }) => ({ path, lines: text.replace(/\n$/, "").split("\n").length }))
    .filter(({ path, lines }) => lines > 300 && /^(lib|scripts)\//.test(path))
    .map(({ path, lines }) => `${path} has ${lines} lines`);
}

/** What a TypeScript text imports: `import`, `export ... from` and `import(...)`; whether of a module only types are taken. */
export function importsOf(text: string): { readonly to: string; readonly types: boolean }[] {
  const code = codeOf(text, { strings: true });
  const named = /(?:^|[;}\n])\s*(?:import|export)\b([^;"'`]*?)\bfrom\s*["']([^"']+)["']/g;
  const bare = [/(?:^|[;}\n])\s*import\s*["']([^"']+)["']/g, /\bimport\s*\(\s*["']([^"']+)["']/g];
  return [
    ...Array.from(code.matchAll(named), ([, names, to]) => ({ to, types: onlyTypes(names.trim()) })),
    ...bare.flatMap((pattern) => Array.from(code.matchAll(pattern), ([, to]) => ({ to, types: false }))),
  ];
}

/** Whether an import clause takes types only: `type ...`, or `{ type A, type B }`. */
function onlyTypes(names: string): boolean {
  if (/^type\b/.test(names)) return true;
  const list = names.match(/^\{([\s\S]*)\}$/)?.[1].split(",").map((n) => n.trim()).filter(Boolean) ?? [];
  return list.length > 0 && list.every((n) => /^type\s/.test(n));
}

/** Edges of a source, with relative modules resolved against its path and `map` applied to bare names. */
export function edgesOf({ path, text }: Source, map: Readonly<Record<string, string>> = {}): Edge[] {
  return importsOf(text).map(({ to, types }) => {
    if (!to.startsWith(".")) return { from: path, to: (map[to] ?? to).replace(/^\.\//, ""), types };
    return { from: path, to: new URL(to, `file:///${path}`).pathname.slice(1), types };
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
