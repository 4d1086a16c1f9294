/**
 * Damaged files of every kind that is read: each must end in a clear error or a right result, never in a hang, a crash, more than 1 GB, or a file outside of
 * its folder.
 *   deno task fuzz [--count 1000] [--seed 1]
 */
import { TextLineStream } from "./lines.ts";
import { count, readOptions, whole } from "../../scripts/options.ts";
import { kinds, type Outcome } from "./cases.ts";

const options = readOptions("deno task fuzz [options]", {
  count: { default: "1000", help: "damaged files, over all kinds", check: count() },
  seed: { default: "1", help: "of the first of them", check: whole() },
});
/** Seconds that a case may take, and bytes that the process may hold. */
const PATIENCE = 20, MEMORY = 1e9;

interface Found extends Omit<Outcome, "outcome"> {
  readonly kind: string;
  readonly seed: number;
  readonly outcome: Outcome["outcome"] | "hang" | "crash" | "memory";
}

const all = Array.from({ length: Number(options.count) }, (_, i) => ({
  kind: kinds[i % kinds.length] as string,
  seed: i < kinds.length ? 0 : Number(options.seed) + Math.floor(i / kinds.length),
}));
const found: Found[] = [];
while (found.length < all.length) await batch(all.slice(found.length, found.length + 250));
const outcomes = ["right", "clear", "unclear", "hang", "crash", "memory"] as const;
for (const kind of kinds) {
  const own = found.filter((f) => f.kind === kind);
  console.error(
    `${kind.padEnd(12)} ${outcomes.map((o) => `${o} ${own.filter((f) => f.outcome === o).length}`).join("  ")}`,
  );
}
// Undamaged, each kind must be right: else its cases would be cases of something else.
const bad = found.filter(({ outcome, seed }) => outcome !== "right" && (outcome !== "clear" || seed === 0));
for (const { kind, seed, outcome, message } of bad) console.error(`${outcome}: ${kind} ${seed}  ${message ?? ""}`);
console.log(
  JSON.stringify({
    count: found.length,
    ...Object.fromEntries(outcomes.map((o) => [o, found.filter((f) => f.outcome === o).length])),
  }),
);
if (bad.length > 0) Deno.exitCode = 1;

/** Some cases in one process; it is given up at the first that hangs or ends it, and the next process goes on behind that one. */
async function batch(cases: readonly { readonly kind: string; readonly seed: number }[]): Promise<void> {
  const folder = await Deno.makeTempDir();
  const before = await listed(folder);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-check",
      "--quiet",
      "--allow-read",
      "--allow-env",
      "--allow-ffi",
      "--allow-sys",
      `--allow-write=${folder}`,
      new URL("./child.ts", import.meta.url).pathname,
      folder,
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const input = child.stdin.getWriter();
  await input.write(new TextEncoder().encode(cases.map(({ kind, seed }) => `${kind} ${seed}`).join("\n")));
  await input.close();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream()).getReader();
  let done = -1;
  try {
    for (; done < cases.length;) {
      const timer = Promise.withResolvers<"hang">(), clock = setTimeout(() => timer.resolve("hang"), 1000 * PATIENCE);
      const next = await Promise.race([lines.read(), timer.promise]);
      clearTimeout(clock);
      if (next === "hang" || next.done) {
        if (done < cases.length && done >= 0) {
          found.push({ ...cases[done], outcome: next === "hang" ? "hang" : "crash" });
        }
        if (done < 0) throw new Error("The process that reads damaged files did not begin");
        return;
      }
      if (done >= 0) {
        const { rss, ...one } = JSON.parse(next.value);
        found.push(rss > MEMORY ? { ...one, outcome: "memory" } : one);
        if (rss > MEMORY) return;
      }
      if (++done === cases.length) return;
    }
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // it has ended
    }
    await child.status;
    await lines.cancel();
    const after = await listed(folder);
    await Deno.remove(folder, { recursive: true });
    if (after !== before) console.error(`written beside ${folder}: ${after} files, ${before} before`);
  }
}

/** Files beside a folder whose names it did not give: a write there would be one out of it. */
async function listed(folder: string): Promise<number> {
  const above = folder.slice(0, folder.lastIndexOf("/"));
  return (await Array.fromAsync(Deno.readDir(above))).filter(({ name }) =>
    name.includes(folder.slice(above.length + 1))
  ).length;
}
