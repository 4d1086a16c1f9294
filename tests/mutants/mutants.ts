/**
 * Do the tests notice? Small edits of operators and constants, one at a time in a copy of the project, against the tests of the room.
 *   deno task mutants [--count 200] [--seed 1] [--planted] [--workers 2] [--fresh]
 * With --planted, the faults of planted.ts instead. Prints what survived, and a line of JSON. By hand: 200 take about an hour on two cores. An edit that was
 * killed before is remembered in results/mutants.jsonl as long as its file is the same: tests that grew are tried on what survived.
 */
import { dirname, join } from "@std/path";
import { rng } from "../../lib/tensor/rng.ts";
import { count, readOptions, whole } from "../../scripts/options.ts";
import { editsOf } from "./edits.ts";
import { type Edit, planted } from "./planted.ts";

const options = readOptions("deno task mutants [options]", {
  count: { default: "200", help: "edits, drawn evenly over the files", check: count() },
  seed: { default: "1", help: "of the draw", check: whole() },
  planted: { default: false, help: "the faults that once stood unnoticed, instead" },
  workers: { default: "2", help: "edits that are tried at once", check: count() },
  fresh: { default: false, help: "try those again that were killed before" },
});

/** Tests of a room, those that tell most for their time. */
const rooms: readonly (readonly [prefix: string, tests: readonly string[]])[] = [
  ["lib/quant/", ["tests/quant", "tests/methods"]],
  ["lib/methods/daq/", ["tests/methods/daq", "tests/methods/abmp_test.ts", "tests/methods/allotment_test.ts"]],
  ["lib/methods/", ["tests/methods", "tests/quant"]],
  ["lib/diffusion/", ["tests/diffusion", "tests/evaluate/scoring_test.ts", "tests/tune"]],
  ["lib/evaluate/", ["tests/evaluate"]],
  ["lib/pipeline/", [
    ...[
      "held_out",
      "quantize",
      "plan",
      "summary",
      "inspect",
      "guide",
      "experts",
      "generate",
      "folder_store",
      "tuning",
      "open_quantization",
    ]
      .map((name) => `tests/pipeline/${name}_test.ts`),
    "tests/pipeline/disk",
    "tests/packed/fallback_test.ts",
  ]],
];
/** Lines that say how work is shared out and how much memory is lent, which no result depends on. */
const sharesWork = /costPerRow|CHUNK|threads|\blent\b/;

const files = (await output("git", ["ls-files", "lib", "tests", "data", "scripts", "deno.json", "deno.lock"])).trim()
  .split("\n");
const edits = options.planted ? planted : await drawn();
const store = "results/mutants.jsonl", before = options.fresh ? new Set<string>() : await killedBefore();
const results: { readonly edit: Edit; readonly outcome: "killed" | "survived" | "timed out" }[] = [];
/** How long the tests of an edit may take, in ms, by their names: an edit that makes a loop endless is found by that. */
const patience = new Map<string, number>();
let next = 0;
await Deno.mkdir(dirname(store), { recursive: true });
await Promise.all(Array.from({ length: Number(options.workers) }, async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const file of files) {
      await Deno.mkdir(join(folder, dirname(file)), { recursive: true });
      await Deno.copyFile(file, join(folder, file));
    }
    await Deno.symlink(await Deno.realPath("node_modules"), join(folder, "node_modules"));
    while (next < edits.length) {
      const edit = edits[next++], known = before.has(await keyOf(edit));
      if (!known && !patience.has(edit.tests.join())) await pass(folder, edit.tests);
      const outcome = known ? "killed" : await tried(folder, edit);
      results.push({ edit, outcome });
      if (known) continue;
      if (outcome === "killed") await Deno.writeTextFile(store, `${await keyOf(edit)}\n`, { append: true });
      console.error(`${results.length} of ${edits.length}: ${outcome}  ${edit.file}  ${edit.name}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}));
const of = (outcome: string) => results.filter((result) => result.outcome === outcome);
for (const { edit } of of("survived")) console.error(`SURVIVED ${edit.file}: ${edit.name}`);
const [killed, survived, late] = ["killed", "survived", "timed out"].map((outcome) => of(outcome).length);
console.log(JSON.stringify({ edits: edits.length, killed, survived, timedOut: late }));
if (options.planted && survived > 0) Deno.exitCode = 1;

/** An edit, and the file that it is made in. */
async function keyOf({ file, find, put }: Edit): Promise<string> {
  return JSON.stringify([file, await digest(await Deno.readTextFile(file)), find, put]);
}

async function killedBefore(): Promise<Set<string>> {
  return new Set(exists(store) ? (await Deno.readTextFile(store)).split("\n") : []);
}

async function digest(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex();
}

/**
 * Edits drawn evenly: as many from each file as it has places for, so that small files are not forgotten. Each file has a draw of its own, which stays
 * when others come or change.
 */
async function drawn(): Promise<Edit[]> {
  const all: Edit[][] = [];
  const drawOf = (use: string) => rng(Number(options.seed), "mutants", use);
  for (const file of files.filter((file) => rooms.some(([prefix]) => file.startsWith(prefix)))) {
    const tests = rooms.find(([prefix]) => file.startsWith(prefix))![1].filter((path) => exists(path));
    const own = drawOf(file).shuffle(editsOf(file, await Deno.readTextFile(file)).map((edit) => ({ ...edit, tests })));
    all.push(own.filter(({ name }) => !sharesWork.test(name)));
  }
  const order: Edit[] = [];
  for (let round = 0; order.length < Number(options.count) && all.some((own) => own.length > round); round++) {
    const first = (edit: Edit) => drawOf(`${round} ${edit.file}`).next();
    const now = all.flatMap((own) => own[round] ?? []).map((edit) => ({ edit, at: first(edit) }));
    order.push(...now.sort((a, b) => a.at - b.at).map(({ edit }) => edit));
  }
  return order.slice(0, Number(options.count));
}

/** Without an edit the tests pass, or nothing could be told from their failing. */
async function pass(folder: string, tests: readonly string[]): Promise<void> {
  const from = performance.now();
  if (!(await test(folder, tests)).success) throw new Error(`These tests fail without an edit: ${tests.join(" ")}`);
  patience.set(tests.join(), 3 * (performance.now() - from) + 30_000);
}

async function tried(folder: string, { file, find, put, tests }: Edit): Promise<"killed" | "survived" | "timed out"> {
  const path = join(folder, file), text = await Deno.readTextFile(path);
  if (text.split(find).length !== 2) {
    throw new RangeError(`Cannot edit ${file}: ${JSON.stringify(find)} is not there once`);
  }
  await Deno.writeTextFile(path, text.replace(find, () => put));
  // The tests that bear the file's name first: most edits end there, in a second or two.
  const own = `tests${file.slice("lib".length, -".ts".length)}_test.ts`;
  try {
    for (const paths of exists(own) ? [[own], tests] : [tests]) {
      const stop = AbortSignal.timeout(patience.get(tests.join())!);
      const { success } = await test(folder, paths, stop);
      if (!success) return stop.aborted ? "timed out" : "killed";
    }
    return "survived";
  } finally {
    await Deno.writeTextFile(path, text);
  }
}

function test(folder: string, paths: readonly string[], signal?: AbortSignal): Promise<Deno.CommandOutput> {
  return new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-check", "-A", "--fail-fast", ...paths],
    cwd: folder,
    stdout: "null",
    stderr: "null",
    signal,
  }).output();
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args: [...args] }).output();
  return new TextDecoder().decode(stdout);
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path) !== undefined;
  } catch {
    return false;
  }
}
