/** A run that can be stopped and gone on with: its identity stands beside the sample rows until its results do. */
import { join } from "@std/path";
import { ifThere } from "../checkpoint/files/file_source.ts";
import { fileDate } from "./results.ts";
import type { SampleRow } from "./samples.ts";

/** What a run is of: equal identities are equal runs. */
export type Identity = Readonly<Record<string, unknown>>;

/** A run in progress. */
export interface Unfinished {
  /** When the run first began, in milliseconds. */
  readonly date: number;
  /** The file of a task's sample rows. */
  samples(task: string): string;
  /** Rows of a task that are done; `each` of them belong together. */
  rows(task: string, each: number): Promise<SampleRow[]>;
  append(task: string, rows: readonly SampleRow[]): Promise<void>;
  /** Writes the results, after which the run is no longer unfinished; gives the path. */
  finish(results: Readonly<Record<string, unknown>>): Promise<string>;
}

/**
 * Goes on with the run whose unfinished.json is in the folder, or begins one. Rejects with `RangeError` that names the fields where another run is unfinished
 * there.
 */
export async function openUnfinished(folder: string, identity: Identity, now: number): Promise<Unfinished> {
  const file = join(folder, "unfinished.json");
  const known = await ifThere(Deno.readTextFile(file));
  let date = now;
  if (known === undefined || !await hasRows(folder, (JSON.parse(known) as { date: number }).date)) {
    await Deno.mkdir(folder, { recursive: true });
    await writeWhole(file, JSON.stringify({ date, identity }, null, 1));
  } else {
    const found = JSON.parse(known) as { date: number; identity: Identity };
    date = found.date;
    const fields = [...new Set([...Object.keys(found.identity), ...Object.keys(identity)])]
      .filter((key) => JSON.stringify(found.identity[key]) !== JSON.stringify(identity[key]));
    if (fields.length > 0) {
      const short = (value: unknown) => (JSON.stringify(value) ?? "nothing").slice(0, 80);
      const told = fields.map((key) => `${key} ${short(found.identity[key])}, now ${short(identity[key])}`);
      throw new RangeError(
        `Cannot go on with the run in ${folder}: it was begun with ${told.join("; ")}; ` +
          `give the same, another folder, or remove ${file}`,
      );
    }
  }
  const samples = (task: string) => join(folder, `samples_${task}_${fileDate(date)}.jsonl`);
  return {
    date,
    samples,
    async rows(task, each) {
      const text = await ifThere(Deno.readTextFile(samples(task))) ?? "";
      const lines = text.split("\n").slice(0, -1);
      lines.length -= lines.length % each;
      const whole = lines.map((line) => `${line}\n`).join("");
      // What a kill cut off is asked again.
      if (whole.length < text.length) await writeWhole(samples(task), whole);
      return lines.map((line) => JSON.parse(line));
    },
    async append(task, rows) {
      const text = rows.map((row) => JSON.stringify(row) + "\n").join("");
      await Deno.writeTextFile(samples(task), text, { append: true });
    },
    async finish(results) {
      const path = join(folder, `results_${fileDate(date)}.json`);
      await writeWhole(path, JSON.stringify(results, null, 2) + "\n");
      await Deno.remove(file);
      return path;
    },
  };
}

/** Whether a run that began then has sample rows: one without them leaves nothing to go on from. */
async function hasRows(folder: string, date: number): Promise<boolean> {
  for await (const { name } of Deno.readDir(folder)) {
    if (name.startsWith("samples_") && name.endsWith(`_${fileDate(date)}.jsonl`)) return true;
  }
  return false;
}

/** Writes a file so that it is there whole or not at all. */
async function writeWhole(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${path}.part`, text);
  await Deno.rename(`${path}.part`, path);
}
