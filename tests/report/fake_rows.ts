/** Made-up rows for the report tests: the numbers mean nothing. */
import type { Row } from "../../lib/report/rows.ts";

/** A row with sensible defaults. */
export function row(fields: Partial<Row>): Row {
  return {
    method: "rtn(bits=2)",
    task: "mmlu",
    metric: "accuracy",
    value: 0.5,
    n: 300,
    standardError: 0.03,
    bitsPerWeight: 2.25,
    seed: 1,
    taskVersion: "1",
    codeVersion: "test",
    ...fields,
  };
}

export const fakeTasks = ["mmlu", "winogrande", "piqa", "arc-challenge", "arc-easy", "hellaswag", "bbh"];
export const fakeMethods = ["full precision", "rtn", "gptq", "daq(official)", "daq(plus)"];

/** Accuracies of five methods on seven tasks, three seeds. */
export function mainRows(): Row[] {
  return fakeMethods.flatMap((method, m) =>
    fakeTasks.flatMap((task, t) =>
      [1, 2, 3].map((seed) => {
        const value = [0.9, 0.35, 0.5, 0.66, 0.75][m] - 0.03 * t + 0.01 * ((seed * (m + 2) + t) % 5);
        return row({ method, task, value, seed, bitsPerWeight: m === 0 ? 16 : 2.25 });
      })
    )
  );
}
