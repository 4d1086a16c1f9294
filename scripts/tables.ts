/** Tables and sentences that more than one script shows: all are rendered from means.jsonl, verdicts.jsonl and size_options.jsonl. */
import { type Comparison, resolutionText, type Row, type Table, table, textTable, verdictLine } from "quant-dllm";
import { names, type Pair } from "./studies.ts";
import type { Verdict } from "./verdicts.ts";

const shown = (rows: readonly Row[], metric: string, study: string) =>
  rows.filter((row) => row.study === study && row.metric === metric)
    .map((row): Row => ({ ...row, bits: row.bitsPerWeight.toFixed(3) }));

/** Table 1: accuracy of each task and their mean, with counted bits, from the cells of the study "table1". */
export function mainTable(means: readonly Row[], study = "table1"): Table {
  return table(shown(means, "accuracy", study), {
    row: ["label", "bits"],
    column: "task",
    scale: 100,
    digits: 1,
    best: "max",
    caption:
      "Accuracy in percent, mean ± standard error over seeds and items; bits per weight counted from stored bytes",
  });
}

/** The likelihood bound of the same arms. */
export function boundTable(means: readonly Row[], study = "table1"): Table {
  return table(shown(means, "nats per token", study), {
    row: ["label", "bits"],
    column: "task",
    digits: 4,
    best: "min",
    caption: "Upper bound on the negative log-likelihood, nats per token, mean ± standard error over seeds and windows",
  });
}

/** A line for each pair of arms, the verdicts on accuracy and bound beside each other. */
export function pairLines(verdicts: readonly Verdict[]): string[] {
  return pairsOf(verdicts).map((own) => {
    const parts = own.map((c) => `${c.metric === "nats per token" ? "bound" : c.metric} ${judged(c)}`);
    return `- ${own[0].a} against ${own[0].b}: ${parts.join("; ")}`;
  });
}

const judged = (c: Comparison) => `${c.verdict}, ${verdictLine(c).split(": ")[1]}`;

/** What the run can tell apart at all. */
export function resolution(verdicts: readonly Verdict[]): string {
  return verdicts.slice(0, 2).map((c) => `${resolutionText(c)}.`).join(" ").replace(/^/, "\n");
}

function pairsOf(verdicts: readonly Verdict[]): Verdict[][] {
  return [...Map.groupBy(verdicts, ({ study, a, b }) => [study, a, b].join("|")).values()];
}

/** The pairs that README speaks of, by study; their lines are all that it claims of methods. */
const spoken: readonly (readonly [study: string, heading: string, pairs: readonly Pair[]])[] = [
  ["table1", "At two bits in groups of 128", [
    [names.official, names.gptq],
    [names.official, names.gptqMasked],
    [names.plus, names.official],
    [names.levels, names.official],
    [names.plus, names.levels],
  ]],
  ["a", "Calibrating on masked inputs (MCS)", [
    ["GPTQ, with MCS", "GPTQ, without MCS"],
    ["with MCS", "without MCS"],
    ["plus, with MCS", "plus, without MCS"],
    ["levels, with MCS", "levels, without MCS"],
  ]],
  ["b", "Moving planes by ABMP, against two planes everywhere", [
    ["5 %", "0 %"],
    ["gated", "0 %"],
    ["plus, gated", "plus, 0 %"],
  ]],
  ["c", "Parts of the official fit", [["RSR", "plain"], ["RSR + DOR", "RSR"]]],
  ["at most 2.2 bits", "Each at its best with at most 2.2 counted bits", [[names.levels, names.gptqMasked]]],
  ["at most 2.4 bits", "Each at its best with at most 2.4 counted bits", [
    [names.official, names.gptqMasked],
    [names.plus, names.gptqMasked],
    [names.plus, names.official],
    [names.plus, names.levels],
  ]],
  ["at most 3.2 bits", "Each at its best with at most 3.2 counted bits", [
    [names.plus, names.gptqMasked],
    [names.levels, names.gptqMasked],
  ]],
];

/** README's claims, as Markdown: the lines of comparisons, and nothing else. Throws `RangeError` when one was not made. */
export function claims(verdicts: readonly Verdict[]): string {
  return spoken.map(([study, heading, pairs]) => {
    // At equal bits the name of the setting stands behind that of the method.
    const is = (label: string, name: string) => label === name || label.startsWith(`${name} (`);
    const own = pairs.flatMap(([a, b]) => {
      const found = verdicts.filter((v) => v.study === study && is(v.a, a) && is(v.b, b));
      if (found.length === 0) throw new RangeError(`Cannot render: no comparison of ${a} with ${b} in ${study}`);
      return study === "a" ? found.map((v) => ({ ...v, a: whole(v.a), b: whole(v.b) })) : found;
    });
    const [items, windows] = own.map(({ n }) => n.toLocaleString("en"));
    const basis = `${items} items, ${windows} windows, ${own[0].seeds} seeds`;
    return [`${heading} (${basis}):`, "", ...pairLines(own)].join("\n");
  }).join("\n\n");
}

/** Without a prefix the setting is that of the official profile. */
const whole = (label: string) => /^with/.test(label) ? `official, ${label}` : label;

/** Ways to a smaller LLaDA-8B and what each costs nano-llada, from the rows of `deno task size-options`. */
export function sizeOptionsTable(rows: readonly Row[]): Table {
  const lines = [...Map.groupBy(rows, (row) => String(row.label))].map(([label, [row]]) => {
    const { difference, differenceError, verdict } = row;
    // Rows of one label carry one comparison, over all their seeds.
    const cost = difference === undefined ? ["", ""] : [
      `${Number(difference).toFixed(4).replace(/^-(0\.0+)$/, "$1")} ± ${Number(differenceError).toFixed(4)}`,
      String(verdict),
    ];
    return [label, Number(row.lladaBitsPerWeight).toFixed(4), (Number(row.lladaBytes) / 1e9).toFixed(3), ...cost];
  });
  const columns = [
    "stored as",
    "bits per weight in the blocks",
    "LLaDA-8B, GB",
    "nats per token lost, nano-llada",
    "verdict",
  ];
  return textTable(columns, lines, {
    labels: 1,
    caption: "Sizes by counting; losses paired by seed and window against the first line, ± standard error over both",
  });
}
