/** Tables and sentences of the tuning study, rendered from tuning_means.jsonl and tuning_verdicts.jsonl. */
import { type Row, type Table, textTable } from "quant-dllm";
import { pairLines } from "./tables.ts";
import type { Verdict } from "./verdicts.ts";

/** One line for each arm: bits, mean accuracy, bound, divergences from full precision on held-out text. */
export function tuningTable(means: readonly Row[]): Table {
  const own = means.filter(({ study }) => study === "tuning");
  const lines = [...Map.groupBy(own, ({ label }) => String(label))].map(([label, rows]) => {
    const cell = (task: string, scale: number, digits: number) => {
      const row = rows.find((r) => r.task === task);
      return row ? `${(row.value * scale).toFixed(digits)} ± ${(row.standardError * scale).toFixed(digits)}` : "";
    };
    const bits = rows[0].bitsPerWeight.toFixed(3);
    return [label, bits, cell("mean", 100, 1), cell("elbo", 1, 3), cell("forward", 1, 4), cell("answers", 1, 4)];
  });
  return textTable(["arm", "bits", "accuracy (%)", "bound (nats)", "KL, forward process", "KL, answers"], lines, {
    labels: 1,
    caption:
      "Mean ± standard error: accuracy and bound over seeds and items, divergences from full precision on held-out " +
      "text over seeds",
  });
}

/** What README says of tuning: the lines of comparisons, and nothing else. */
export function tuningClaims(verdicts: readonly Verdict[]): string {
  return [...Map.groupBy(verdicts, ({ study }) => study)].map(([study, own]) => {
    const heading = headings[study];
    if (heading === undefined) return "";
    const [items, windows] = [
      own.find(({ metric }) => metric === "accuracy")?.n,
      own.find(({ metric }) => metric !== "accuracy")?.n,
    ].map((n) => n?.toLocaleString("en"));
    const basis = [`${items} items`, ...(windows ? [`${windows} windows`] : []), `${own[0].seeds} seeds`].join(", ");
    return [`${heading} (${basis}):`, "", ...pairLines(own)].join("\n");
  }).filter(Boolean).join("\n\n");
}

const headings: Readonly<Record<string, string>> = {
  tuning: "Tuning, two bits in groups of 128",
  path: "One step after another, each against the one before",
  spared: "Persons whom the tuning text never asks about",
  asked: "The other half of the persons",
  loss: "What moves, and towards what, in 400 steps",
  text: "How much text",
  steps: "How long",
  block: "Block by block",
  bits: "Codes tuned for 400 steps, at one to three bits",
};
