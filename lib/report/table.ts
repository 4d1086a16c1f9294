/** Tables as values: rows in, a grid of mean ± standard error out, which renders itself in a notebook. */
import { escapeHtml, escapeMarkdown } from "./escape.ts";
import { type Row, summarise, type Summary } from "./rows.ts";

export interface TableOptions {
  /** Field or fields whose values label the lines; each becomes a leading column. */
  readonly row: string | readonly string[];
  /** Field or fields whose values label the columns. */
  readonly column: string | readonly string[];
  /** The numeric field to show; "value" by default. */
  readonly value?: string;
  /** Numbers are multiplied by this before they are shown (100 turns fractions into percent). */
  readonly scale?: number;
  /** Decimals; by default three in columns whose values all lie below 2, else two. */
  readonly digits?: number;
  /** Sets the best value of each column in bold. */
  readonly best?: "max" | "min" | ((column: string) => "max" | "min" | undefined);
  /** Adds a last column: the mean over the columns of a line, for lines that have them all. */
  readonly average?: boolean | string;
  readonly caption?: string;
}

/** One cell: a text, and whether it is the best of its column. */
export interface Cell {
  readonly text: string;
  readonly best: boolean;
}

/** A rendered table. As the last expression of a notebook cell it shows itself. */
export interface Table {
  readonly caption: string;
  readonly header: readonly string[];
  /** How many leading columns are labels. */
  readonly labels: number;
  readonly body: readonly (readonly Cell[])[];
  toMarkdown(): string;
  toHtml(): string;
  toText(): string;
}

const display = Symbol.for("Jupyter.display");

/**
 * Lays rows out as a table of mean ± standard error (`summarise` says which), lines and columns in order of first
 * appearance, "n/a" where there is no row. Where a cell would mix metrics, the metric becomes part of the column's
 * label. Throws as `summarise` does.
 *
 * @example
 * ```ts
 * import { decodeRows, table } from "quant-dllm";
 *
 * const means = decodeRows(await Deno.readTextFile("data/results/means.jsonl"));
 * const accuracy = means.filter(({ study, metric }) => study === "table1" && metric === "accuracy");
 * table(accuracy, { row: "label", column: "task", scale: 100, digits: 1, best: "max" }).toMarkdown();
 * ```
 */
export function table(rows: readonly Row[], options: TableOptions): Table {
  const { value = "value", scale = 1, digits, best, caption = "" } = options;
  const rowKeys = listOf(options.row);
  const columnKeys = withMetric(rows, rowKeys, listOf(options.column));
  const labelOf = (row: Row, keys: readonly string[]) =>
    keys.map((k) => String(row[k] ?? "")).filter((s) => s !== "").join(", ");
  const lines = new Map<string, readonly string[]>();
  const columns = new Set<string>();
  for (const row of rows) {
    lines.set(JSON.stringify(rowKeys.map((k) => row[k] ?? "")), rowKeys.map((k) => String(row[k] ?? "")));
    columns.add(labelOf(row, columnKeys));
  }
  const cells = new Map<string, Summary>();
  for (const group of summarise(rows, [...rowKeys, ...columnKeys], value)) {
    const line = JSON.stringify(rowKeys.map((k) => group.keys[k]));
    cells.set(JSON.stringify([line, labelOf(group.rows[0], columnKeys)]), group);
  }
  const average = options.average === true ? "average" : options.average || "";
  if (average) addAverages(rows, rowKeys, columnKeys, value, average, lines, columns, cells);
  const names = [...columns];
  const at = (line: string, column: string) => cells.get(JSON.stringify([line, column]));
  const formats = names.map((column) => {
    const means = [...lines.keys()].flatMap((line) => at(line, column)?.mean ?? []).map((m) => m * scale);
    const decimals = digits ?? (means.every((m) => Math.abs(m) < 2) ? 3 : 2);
    const sense = typeof best === "function" ? best(column) : best;
    // Ties at the shown precision are all best: a reader cannot see the difference.
    const top = sense && means.length > 1 ? Math[sense](...means).toFixed(decimals) : undefined;
    return { decimals, top };
  });
  const body = [...lines].map(([line, labels]) => [
    ...labels.map((text) => ({ text, best: false })),
    ...names.map((column, i) => cellOf(at(line, column), scale, formats[i])),
  ]);
  return render(caption, [...rowKeys, ...names], rowKeys.length, body);
}

/**
 * A table of ready texts, for what is not a mean over rows (sizes, statements).
 *
 * @example
 * ```ts
 * import { formBytes, textTable } from "quant-dllm";
 *
 * const bytes = (bits: number) => formBytes.uniform({ rows: 4096, cols: 4096, bits, group: 128 });
 * const lines = [2, 3, 4].map((bits) => [`${bits} bits`, `${(bytes(bits) / 1e6).toFixed(2)} MB`]);
 * textTable(["codes", "a linear of LLaDA-8B"], lines); // as the last line of a cell it shows itself
 * ```
 */
export function textTable(
  header: readonly string[],
  body: readonly (readonly string[])[],
  { labels = 1, caption = "" } = {},
): Table {
  return render(caption, header, labels, body.map((line) => line.map((text) => ({ text, best: false }))));
}

function cellOf(
  group: Summary | undefined,
  scale: number,
  { decimals, top }: { decimals: number; top?: string },
): Cell {
  if (!group) return { text: "n/a", best: false };
  const mean = (group.mean * scale).toFixed(decimals);
  const error = group.standardError * Math.abs(scale);
  return { text: Number.isFinite(error) ? `${mean} ± ${error.toFixed(decimals)}` : mean, best: mean === top };
}

function withMetric(
  rows: readonly Row[],
  rowKeys: readonly string[],
  columnKeys: readonly string[],
): readonly string[] {
  const keys = [...rowKeys, ...columnKeys];
  if (keys.includes("metric")) return columnKeys;
  const metricOf = new Map<string, string>();
  for (const row of rows) {
    const cell = JSON.stringify(keys.map((k) => row[k] ?? ""));
    if ((metricOf.get(cell) ?? row.metric) !== row.metric) return [...columnKeys, "metric"];
    metricOf.set(cell, row.metric);
  }
  return columnKeys;
}

function addAverages(
  rows: readonly Row[],
  rowKeys: readonly string[],
  columnKeys: readonly string[],
  value: string,
  label: string,
  lines: ReadonlyMap<string, unknown>,
  columns: Set<string>,
  cells: Map<string, Summary>,
): void {
  if (columnKeys.includes("metric")) {
    throw new RangeError("Cannot average the columns of a table: they have different metrics");
  }
  const complete = [...lines.keys()].filter((line) => [...columns].every((c) => cells.has(JSON.stringify([line, c]))));
  const kept = rows.filter((row) => complete.includes(JSON.stringify(rowKeys.map((k) => row[k] ?? ""))));
  for (const group of summarise(kept, rowKeys, value)) {
    cells.set(JSON.stringify([JSON.stringify(rowKeys.map((k) => group.keys[k])), label]), group);
  }
  columns.add(label);
}

/** "-3.5", "2.1 ± 0.3", "n/a", "12 %", "1.03 x": what stands at the right of a column, so that digits meet. */
const number = /^([+\-−]?[\d.,]+( ± [\d.,]+)?( ?[^\s\d]+)?|n\/a|)$/;

function render(caption: string, header: readonly string[], labels: number, body: readonly (readonly Cell[])[]): Table {
  // A column of texts reads from the left; one of numbers stands at the right.
  const left = header.map((_, i) => i < labels || body.some((cells) => !number.test(cells[i].text)));
  const toMarkdown = () => {
    const line = (texts: readonly string[]) => `| ${texts.join(" | ")} |`;
    const bold = ({ text, best }: Cell) => best ? `**${escapeMarkdown(text)}**` : escapeMarkdown(text);
    const rule = left.map((isLeft) => isLeft ? "---" : "---:");
    const lines = [line(header.map(escapeMarkdown)), line(rule), ...body.map((cells) => line(cells.map(bold)))];
    return (caption ? `${caption}\n\n` : "") + lines.join("\n") + "\n";
  };
  const toHtml = () => {
    const align = (i: number) => left[i] ? ' style="text-align:left"' : ' style="text-align:right"';
    const head = header.map((text, i) => `<th${align(i)}>${escapeHtml(text)}</th>`).join("");
    const lines = body.map((cells) => {
      const tds = cells.map(({ text, best }, i) => {
        return `<td${align(i)}>${best ? `<strong>${escapeHtml(text)}</strong>` : escapeHtml(text)}</td>`;
      });
      return `<tr>${tds.join("")}</tr>`;
    });
    const title = caption ? `<caption>${escapeHtml(caption)}</caption>` : "";
    return `<table>${title}<thead><tr>${head}</tr></thead><tbody>${lines.join("")}</tbody></table>`;
  };
  const toText = () => {
    const texts = [header, ...body.map((cells) => cells.map(({ text, best }) => best ? `${text} *` : text))];
    const widths = header.map((_, i) => Math.max(...texts.map((line) => line[i].length)));
    const lines = texts.map((line) =>
      line.map((t, i) => left[i] ? t.padEnd(widths[i]) : t.padStart(widths[i])).join("  ")
    );
    return [caption, ...lines].filter((line) => line !== "").join("\n") + "\n";
  };
  return Object.defineProperty({ caption, header, labels, body, toMarkdown, toHtml, toText }, display, {
    value: () => ({ "text/html": toHtml(), "text/markdown": toMarkdown(), "text/plain": toText() }),
  });
}

function listOf(keys: string | readonly string[]): readonly string[] {
  return typeof keys === "string" ? [keys] : keys;
}
