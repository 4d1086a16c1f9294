/** Tables and sentences of the tuning study, rendered from tuning_means.jsonl and tuning_verdicts.jsonl. */
import { type Row, type Table, textTable } from "quant-dllm";
import { pairLines } from "./tables.ts";
import type { Verdict } from "./verdicts.ts";

/** One line for each arm: bits, mean accuracy, bound, divergences from full precision on held-out text. */
export function tuningTable(means: readonly Row[], study: "tuning" | "second" = "tuning"): Table {
  const own = means.filter((row) => row.study === study);
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

/** Accuracy on questions about persons whom the tuning text asks about, and on those whom it never does. */
export function sparedTable(means: readonly Row[]): Table {
  const cell = (study: string, label: string) => {
    const row = means.find((r) => r.study === study && r.label === label && r.task === "mean");
    return row ? `${(100 * row.value).toFixed(1)} ± ${(100 * row.standardError).toFixed(1)}` : "";
  };
  const labels = [...new Set(means.filter(({ study }) => study === "spared").map(({ label }) => String(label)))];
  const lines = labels.map((label) => [label, cell("asked", label), cell("spared", label)]);
  return textTable(["levels, 400 steps of codes", "persons asked about (%)", "persons never asked about (%)"], lines, {
    labels: 1,
    caption: "nano_mmlu, mean ± standard error over seeds and items; half of the persons are never masked in the text",
  });
}

/** What the second world says: its table, how much of full precision is kept, and the verdicts. */
export function secondWorldText(means: readonly Row[], verdicts: readonly Verdict[]): string {
  const mean = (label: string) => means.find((row) => row.label === label && row.task === "mean")!.value;
  const share = (100 * mean("levels + codes") / mean("full precision")).toFixed(1);
  const kept = `With its codes tuned, \`levels\` has ${share} % of full precision's accuracy there.`;
  return [tuningTable(means, "second").toMarkdown(), kept, tuningClaims(verdicts)].join("\n\n");
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
  second: "The second world",
  path: "One step after another, each against the one before",
  spared: "Persons whom the tuning text never asks about",
  asked: "The other half of the persons",
  loss: "What moves, and towards what, in 400 steps",
  text: "How much text",
  steps: "How long",
  block: "Block by block",
  bits: "Codes tuned for 400 steps, at one to three bits",
};
