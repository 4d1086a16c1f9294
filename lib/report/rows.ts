/**
 * Rows: every number of every table, with what it takes to trust it. They are stored as JSON lines and summarised over
 * seeds.
 */

/** What may stand in a field. */
export type Field = string | number | boolean;

/** One number of one table. Further fields (a layer, an ablation's setting, a device) may be added freely. */
export interface Row {
  /** Canonical name of the method. */
  readonly method: string;
  /** Canonical name of the calibration, when the method used one. */
  readonly calibration?: string;
  readonly task: string;
  /** What `value` is, its unit included: "accuracy", "nats per token". */
  readonly metric: string;
  readonly value: number;
  /** How many items `value` is the mean of. */
  readonly n: number;
  /** Standard error of `value` from the choice of the n items. */
  readonly standardError: number;
  /** Standard error of `value` from the random masks alone, on these items. */
  readonly mcStandardError?: number;
  /** Counted from the stored bytes, scales and maps included. */
  readonly bitsPerWeight: number;
  readonly storedBytes?: number;
  readonly seed: number;
  readonly taskVersion: string;
  readonly codeVersion: string;
  readonly [extra: string]: Field | undefined;
}

const required = {
  method: "string",
  task: "string",
  metric: "string",
  value: "number",
  n: "number",
  standardError: "number",
  bitsPerWeight: "number",
  seed: "number",
  taskVersion: "string",
  codeVersion: "string",
} as const;
const optional = { calibration: "string", mcStandardError: "number", storedBytes: "number" } as const;

/**
 * Rows as JSON lines, one per row, a newline after each. Throws `TypeError` on a row that `decodeRows` would refuse.
 *
 * @example
 * ```ts
 * import { encodeRows, evaluate, loadModel, tasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const rows = await evaluate(model, [tasks.elbo], { limit: 64, seed: 1 });
 * await Deno.writeTextFile("results/rows.jsonl", encodeRows(rows), { append: true });
 * ```
 */
export function encodeRows(rows: readonly Row[]): string {
  return rows.map((row, i) => {
    const problem = problemOf(row);
    if (problem) throw new TypeError(`Cannot write row ${i}: ${problem}`);
    return JSON.stringify(row) + "\n";
  }).join("");
}

/**
 * Reads JSON lines; empty lines are skipped. Throws `SyntaxError` that names `name`, the line and the field.
 *
 * @example
 * ```ts
 * import { decodeRows } from "quant-dllm";
 *
 * const means = decodeRows(await Deno.readTextFile("data/results/means.jsonl"), "means.jsonl");
 * for (const { label, task, value, standardError } of means) console.log(label, task, value, standardError);
 * ```
 */
export function decodeRows(text: string, name = "rows"): Row[] {
  const rows: Row[] = [];
  text.split("\n").forEach((line, i) => {
    if (line.trim() === "") return;
    const fail = (what: string) => {
      throw new SyntaxError(`Cannot read ${JSON.stringify(name)}, line ${i + 1}: ${what}`);
    };
    let row: unknown;
    try {
      row = JSON.parse(line);
    } catch (cause) {
      fail(`it is not JSON (${(cause as Error).message}); remove the line or write the rows again`);
    }
    const problem = problemOf(row);
    if (problem) fail(problem);
    rows.push(row as Row);
  });
  return rows;
}

/** A group of rows as one number. */
export interface Summary {
  /** The group's value of each key, "" where its rows have no such field. */
  readonly keys: Readonly<Record<string, Field>>;
  /** Mean over seeds of the mean over the rows of a seed. */
  readonly mean: number;
  /** See `standardErrorOf`; NaN when it cannot be estimated (one seed, and a field that has no sampling error). */
  readonly standardError: number;
  /** "seeds": spread between seeds. "sampling": one seed only, so the choice of items. */
  readonly standardErrorOf: "seeds" | "sampling";
  readonly seeds: number;
  readonly rows: readonly Row[];
}

/**
 * Groups rows by the fields `keys`, in order of first appearance, and averages `value` within each seed, then over
 * seeds.
 *
 * With S >= 2 seeds the standard error is sd / sqrt(S), sd the sample standard deviation (S - 1) of the S seed means:
 * it holds whatever the seed changes (calibration draw, masks), not the choice of items when every seed sees the same
 * ones. With one seed it is the rows' own sampling error, sqrt(sum se^2) / R for R rows taken as independent. Throws
 * `RangeError` when a group mixes metrics, or when its seeds have unequal numbers of rows.
 */
export function summarise(rows: readonly Row[], keys: readonly string[], value = "value"): Summary[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = JSON.stringify(keys.map((k) => row[k] ?? ""));
    const group = groups.get(key);
    if (group) group.push(row);
    else groups.set(key, [row]);
  }
  return [...groups.values()].map((group) => summary(group, keys, value));
}

function summary(rows: readonly Row[], keys: readonly string[], value: string): Summary {
  const fields = Object.fromEntries(keys.map((k) => [k, rows[0][k] ?? ""]));
  const where = `Cannot summarise the rows of ${JSON.stringify(fields)}`;
  const metrics = new Set(rows.map((row) => row.metric));
  if (metrics.size > 1) {
    throw new RangeError(`${where}: they mix the metrics ${[...metrics].join(", ")}; add "metric" to the keys`);
  }
  const bySeed = new Map<number, number[]>();
  for (const row of rows) {
    const number = row[value];
    if (typeof number !== "number") {
      throw new TypeError(`${where}: the field ${JSON.stringify(value)} is ${number}, wanted a number`);
    }
    bySeed.set(row.seed, [...(bySeed.get(row.seed) ?? []), number]);
  }
  const counts = new Set([...bySeed.values()].map((numbers) => numbers.length));
  if (counts.size > 1) {
    const shown = [...bySeed].map(([seed, numbers]) => `${numbers.length} of seed ${seed}`).join(", ");
    throw new RangeError(`${where}: ${shown}; means over different rows do not compare, complete or split them`);
  }
  const means = [...bySeed.values()].map(meanOf);
  const mean = meanOf(means);
  const seeds = means.length;
  const sampling = value === "value"
    ? Math.sqrt(rows.reduce((sum, row) => sum + row.standardError ** 2, 0)) / rows.length
    : NaN;
  const standardError = seeds > 1
    ? Math.sqrt(means.reduce((sum, m) => sum + (m - mean) ** 2, 0) / (seeds - 1) / seeds)
    : sampling;
  return { keys: fields, mean, standardError, standardErrorOf: seeds > 1 ? "seeds" : "sampling", seeds, rows };
}

function meanOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, n) => sum + n, 0) / numbers.length;
}

/** What is wrong with a row, or undefined. */
function problemOf(row: unknown): string | undefined {
  if (typeof row !== "object" || row === null || Array.isArray(row)) return "it is not an object of fields";
  const fields = row as Record<string, unknown>;
  for (const [key, type] of Object.entries(required)) {
    const found: string = typeof fields[key];
    if (found !== type) return `the field "${key}" is ${shown(fields[key])}, wanted a ${type}`;
  }
  for (const [key, type] of Object.entries(optional)) {
    const found: string = typeof fields[key];
    if (found !== "undefined" && found !== type) {
      return `the field "${key}" is ${shown(fields[key])}, wanted a ${type}`;
    }
  }
  for (const [key, field] of Object.entries(fields)) {
    if (field === undefined) continue;
    if (typeof field === "number" ? !Number.isFinite(field) : typeof field !== "string" && typeof field !== "boolean") {
      return `the field ${JSON.stringify(key)} is ${shown(field)}, wanted a finite number, a string or a boolean`;
    }
  }
  return undefined;
}

function shown(value: unknown): string {
  if (value === undefined) return "missing";
  return typeof value === "number" ? String(value) : JSON.stringify(value);
}
