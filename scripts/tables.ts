/** Tables that more than one script shows. */
import { type Row, type Table, table, textTable } from "quant-dllm";

/** Table 1: accuracy of each task and their mean for the rows of the study "table1", with counted bits. */
export function mainTable(rows: readonly Row[]): Table {
  const accuracy = rows.filter((row) => row.study === "table1" && row.metric === "accuracy");
  return table(accuracy.map((row): Row => ({ ...row, bits: row.bitsPerWeight.toFixed(3) })), {
    row: ["label", "bits"],
    column: "task",
    scale: 100,
    digits: 1,
    average: "mean",
    best: "max",
    caption: "Accuracy in percent, mean ± standard error over seeds; bits per weight counted from stored bytes",
  });
}

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
