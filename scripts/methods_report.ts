/** Table, verdicts and figure of `deno task methods`. */
import { join } from "@std/path";
import { encodeRows, paretoFront, type Row, type Table, textTable } from "quant-dllm";
import type { ReportInput } from "./reproduce_report.ts";
import { renderPng } from "./render.ts";
import { names } from "./studies.ts";
import { boundTable, mainTable, pairLines, resolution } from "./tables.ts";
import { divergencesOf } from "./tuning_report.ts";
import { meansOf, type Measured, verdictsOf } from "./verdicts.ts";

/** Writes report, figure, means.jsonl and verdicts.jsonl below `out`. */
export async function writeMethodsReport({ out, scale, plan: { main }, find }: ReportInput): Promise<void> {
  const measured: Measured = { scale, find };
  const cells = [...meansOf(main, measured), ...divergencesOf(main, measured), ...costsOf(main.settings, measured)];
  const found = verdictsOf(main, measured), text = [...pairLines(found), resolution(found)].join("\n");
  const figure = methodsFront(cells), file = join(out, "figures", "methods-front");
  await Deno.mkdir(join(out, "figures"), { recursive: true });
  await Deno.writeTextFile(`${file}.svg`, await figure.toSvg());
  await renderPng(`${file}.svg`, `${file}.png`, { patience: 100 });
  const markdown = [
    `# ${main.title}`,
    methodsTable(cells).toMarkdown(),
    text,
    "![accuracy and bound against counted bits](figures/methods-front.svg)",
    "## Accuracy by task",
    mainTable(cells, main.id).toMarkdown(),
    boundTable(cells, main.id).toMarkdown(),
  ];
  await Deno.writeTextFile(join(out, "report.md"), markdown.join("\n\n") + "\n");
  await Deno.writeTextFile(join(out, "means.jsonl"), encodeRows(cells));
  await Deno.writeTextFile(join(out, "verdicts.jsonl"), found.map((v) => JSON.stringify(v) + "\n").join(""));
  console.error(`\n${methodsTable(cells).toText()}\n\n${text}\n\nReport: ${out}/report.md`);
}

/** Errors of layers on what calibrated and on what did not, and the seconds that quantising took; means over linears and seeds. */
function costsOf(settings: ReportInput["plan"]["main"]["settings"], { scale, find }: Measured): Row[] {
  return settings.flatMap((arm) => {
    const all = scale.seeds.map((seed) => find(arm, seed));
    if (all[0].linears.length === 0) return [];
    const { method, bitsPerWeight, seed, taskVersion, codeVersion } = all[0].rows[0];
    const same = { method, bitsPerWeight, seed, taskVersion, codeVersion, study: "methods", label: arm.label };
    const of = (task: string, values: readonly (number | undefined)[]): Row[] => {
      const own = values.filter((v) => v !== undefined), n = own.length;
      if (n === 0) return [];
      const value = own.reduce((a, b) => a + b, 0) / n;
      const spread = Math.sqrt(own.reduce((sum, v) => sum + (v - value) ** 2, 0) / Math.max(1, n - 1) / n);
      return [{ ...same, task, metric: task, value, standardError: spread, n, seeds: n }];
    };
    const mean = (values: readonly (number | undefined)[]) =>
      values.some((v) => v === undefined) ? undefined : values.reduce((a, b) => a! + b!, 0)! / values.length;
    return [
      ...of("layer error", all.map(({ linears }) => mean(linears.map((l) => l.relativeError)))),
      ...of("layer error held out", all.map(({ linears }) => mean(linears.map((l) => l.heldOutError)))),
      ...of("seconds", all.map(({ seconds }) => seconds)),
    ];
  });
}

/** One line for each method, by accuracy. */
export function methodsTable(means: readonly Row[]): Table {
  const lines = [...Map.groupBy(means, ({ label }) => String(label))].map(([label, rows]) => {
    const at = (task: string) => rows.find((row) => row.task === task);
    const cell = (task: string, scale: number, digits: number) => {
      const row = at(task);
      return row ? `${(row.value * scale).toFixed(digits)} ± ${(row.standardError * scale).toFixed(digits)}` : "";
    };
    const plain = (task: string, digits: number) => at(task)?.value.toFixed(digits) ?? "";
    return {
      order: at("mean")?.value ?? 0,
      line: [
        label,
        rows[0].bitsPerWeight.toFixed(3),
        cell("mean", 100, 1),
        cell("elbo", 1, 3),
        plain("forward", 4),
        plain("answers", 4),
        plain("layer error", 4),
        plain("layer error held out", 4),
        plain("seconds", 1),
      ],
    };
  });
  lines.sort((a, b) => b.order - a.order);
  const heads = [
    "method",
    "bits",
    "accuracy (%)",
    "bound (nats)",
    "KL, forward",
    "KL, answers",
    "layer error",
    "held out",
    "seconds",
  ];
  return textTable(heads, lines.map(({ line }) => line), {
    labels: 1,
    caption:
      "Mean ± standard error over seeds and items; KL from full precision on held-out text; errors of layers before tuning, " +
      "relative, on the calibration and on windows held out of it; seconds to quantise nano-llada beside other arms",
  });
}

/** Accuracy and bound against counted bits, tuned and not apart. */
export function methodsFront(means: readonly Row[]) {
  const kindOf = (label: string) =>
    label === names.full ? label : label.endsWith("+ scales") ? "levels tuned" : "as published";
  const shown = means.filter(({ task, metric }) => task === "mean" || metric === "nats per token");
  return paretoFront(
    shown.map((row): Row => ({ ...row, method: kindOf(String(row.label)), setting: String(row.label) })),
    { point: "setting", named: true, title: "Every method at its counted bits" },
  );
}
