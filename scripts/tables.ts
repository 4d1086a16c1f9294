/** Tables that more than one script shows. */
import { type Row, type Table, table } from "quant-dllm";

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
