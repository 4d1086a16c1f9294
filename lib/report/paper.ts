/** The paper's own numbers, with where each comes from and what is doubtful about it. */

/** One printed number. */
export interface PaperEntry {
  readonly model: string;
  readonly method: string;
  readonly task: string;
  readonly value: number;
  /** Where it stands, in words. */
  readonly source: string;
  readonly caveat?: string;
  /** Which ablation and which of its settings, in tables of ablations. */
  readonly ablation?: string;
  readonly setting?: string;
}

/** A table or figure of a paper. */
export interface PaperNumbers {
  readonly id: string;
  readonly title: string;
  readonly paper: { readonly title: string; readonly arxiv: string };
  /** What the values are, unit included. */
  readonly metric: string;
  readonly caveats: readonly string[];
  /** What each ablation's letter stands for. */
  readonly ablations: Readonly<Record<string, string>>;
  readonly entries: readonly PaperEntry[];
}

/**
 * Checks parsed JSON of `data/paper` and resolves each entry's source. Throws `SyntaxError` that names the entry and
 * the field.
 *
 * @example
 * ```ts
 * import { parsePaper } from "quant-dllm";
 *
 * const { metric, entries } = parsePaper(JSON.parse(await Deno.readTextFile("data/paper/table1.json")));
 * for (const { method, task, value, source } of entries) console.log(method, task, value, metric, source);
 * ```
 */
export function parsePaper(json: unknown): PaperNumbers {
  const top = record(json, "the file");
  const id = string(top, "id", "the file");
  const where = `paper numbers ${JSON.stringify(id)}`;
  const paper = record(top.paper, `"paper" of ${where}`);
  const sources = record(top.sources, `"sources" of ${where}`);
  const { entries, caveats, ablations = {} } = top;
  if (!Array.isArray(entries) || entries.length === 0) fail(`"entries" of ${where}`, entries, "a list of entries");
  if (!Array.isArray(caveats) || caveats.some((c) => typeof c !== "string")) {
    fail(`"caveats" of ${where}`, caveats, "a list of strings");
  }
  const ablationTitles = record(ablations, `"ablations" of ${where}`);
  for (const key of Object.keys(ablationTitles)) string(ablationTitles, key, `"ablations" of ${where}`);
  return {
    id,
    title: string(top, "title", where),
    paper: { title: string(paper, "title", where), arxiv: string(paper, "arxiv", where) },
    metric: string(top, "metric", where),
    caveats: caveats as string[],
    ablations: ablationTitles as Record<string, string>,
    entries: (entries as unknown[]).map((entry, i) =>
      parseEntry(entry, `entry ${i} of ${where}`, sources, ablationTitles)
    ),
  };
}

function parseEntry(value: unknown, where: string, sources: Fields, ablations: Fields): PaperEntry {
  const entry = record(value, where);
  if (typeof entry.value !== "number" || !Number.isFinite(entry.value)) {
    fail(`"value" of ${where}`, entry.value, "a number");
  }
  for (const key of ["caveat", "ablation", "setting"]) if (entry[key] !== undefined) string(entry, key, where);
  const source = string(entry, "source", where);
  if (!Object.hasOwn(sources, source)) {
    fail(`"source" of ${where}`, source, `one of ${Object.keys(sources).join(", ")}`);
  }
  if (entry.ablation !== undefined && !Object.hasOwn(ablations, entry.ablation as string)) {
    fail(`"ablation" of ${where}`, entry.ablation, `one of ${Object.keys(ablations).join(", ")}`);
  }
  return {
    ...entry,
    model: string(entry, "model", where),
    method: string(entry, "method", where),
    task: string(entry, "task", where),
    value: entry.value as number,
    source: string(sources, source, `"sources" of ${where}`),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function record(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail(what, value, "an object");
  return value as Fields;
}

function string(from: Fields, key: string, where: string): string {
  const value = from[key];
  if (typeof value !== "string" || value === "") fail(`${JSON.stringify(key)} of ${where}`, value, "a text");
  return value as string;
}

function fail(what: string, found: unknown, wanted: string): never {
  throw new SyntaxError(
    `Cannot read ${what}: found ${JSON.stringify(found)?.slice(0, 80) ?? "nothing"}, wanted ${wanted}`,
  );
}
