/** Tables and figures of `reproduce`, as Markdown, interactive HTML, SVG and PNG. */
import { join } from "@std/path";
import {
  ablationBars,
  type Arm,
  bitsVersusLoss,
  calibrationCurve,
  choiceTasks,
  errorHeatmap,
  type Figure,
  mainBars,
  type Measurement,
  type Model,
  page,
  pairedDifference,
  type PaperNumbers,
  parsePaper,
  type Row,
  type Section,
  table,
} from "quant-dllm";
import { renderPng } from "./render.ts";
import { sizesTable } from "./sizes.ts";
import type { Scale, studies, Study } from "./studies.ts";
import { mainTable } from "./tables.ts";

export interface ReportInput {
  readonly out: string;
  readonly scale: Scale;
  readonly model: Model;
  readonly plan: ReturnType<typeof studies>;
  readonly all: readonly Study[];
  readonly find: (arm: Arm, seed: number) => Measurement;
}

/** Writes everything below `out` and returns the rows, each with its study and setting. */
export async function writeReport({ out, scale, model, plan, all, find }: ReportInput): Promise<Row[]> {
  const rowsOf = (study: Study): Row[] =>
    study.settings.flatMap((arm) =>
      scale.seeds.flatMap((seed) =>
        find(arm, seed).rows.map((row): Row => ({ ...row, study: study.id, setting: arm.label, label: arm.label }))
      )
    );
  const table1 = await readPaper("table1");
  const table2 = await readPaper("table2");
  const main = rowsOf(plan.main).map((row): Row => ({ ...row, bits: row.bitsPerWeight.toFixed(3) }));
  const accuracy = main.filter((row) => row.metric === "accuracy");
  const figures: Record<string, Figure> = {};
  const sections: Section[] = [];
  const markdown: string[] = ["# Reproduction on nano-llada", note(scale)];
  const add = (heading: string, text: string, what: Omit<Section, "heading" | "note">, name?: string) => {
    sections.push({ heading, note: text, ...what });
    markdown.push(`## ${heading}`, ...(what.table ? [what.table.toMarkdown()] : []), text);
    if (name && what.figure) {
      figures[name] = what.figure as Figure;
      markdown.push(`![${heading}](${name}.svg)`);
    }
  };

  const verdict = (study: Study) => orderingLine(study, scale, find);
  const comparison = mainTable(main);
  const pairs = { GPTQ: "GPTQ", "Quant-dLLM": "Quant-dLLM official profile", FP16: "full precision" };
  const named = accuracy.map((row) => ({ ...row, method: String(row.label) }));
  const bars = mainBars(named, table1, { pairs, ours: "nano-llada, this run" });
  add(plan.main.title, verdict(plan.main), { table: comparison, figure: bars }, "figure1");
  const bound = main.filter((row) => row.metric === "nats per token");
  const boundTable = table(bound, {
    row: ["label", "bits"],
    column: "task",
    digits: 4,
    best: "min",
    caption: "Upper bound on the negative log-likelihood, nats per token",
  });
  add("Likelihood bound", pairedLines(plan.main, scale, find), { table: boundTable });

  const ablationRows = plan.ablations.flatMap((study) => {
    const rows = rowsOf(study).map((row) => ({ ...row, ablation: study.id }));
    add(study.title, verdict(study), {
      table: table(rows, { row: "setting", column: "task", digits: 4 }),
    });
    return rows;
  });
  add(
    "Ablations beside the paper's",
    "Ours is the mean of nano_mmlu, nano_winogrande and nano_piqa on nano-llada, the paper's is MMLU on LLaDA-8B-Base: compare directions, not values.",
    {
      figure: ablationBars(ablationRows.filter((r) => r.metric === "accuracy"), table2, {
        ours: "nano-llada, this run",
      }),
    },
    "ablations",
  );
  const size = ablationRows.filter((r) => r.ablation === "d" && r.metric === "accuracy");
  const sized = size.map((row) => ({ ...row, method: "Quant-dLLM official profile" }));
  add("Calibration size", "The curve of the table above.", { figure: calibrationCurve(sized, table2) }, "calibration");

  const sizes = sizesTable(model, plan.main, scale, find, await readPaper("table3"));
  add("Sizes (Table 3)", sizes.note, { table: sizes.table });

  const linears = plan.main.settings.filter(({ method }) => method).flatMap((arm) =>
    scale.seeds.flatMap((seed) =>
      find(arm, seed).linears.map((l) => ({
        method: arm.label,
        linear: `${l.layer}.${l.linear}`,
        value: l.relativeError,
      }))
    )
  );
  add(
    "Error of each linear",
    "tr(E H Eᵀ) / tr(W H Wᵀ) on the calibration inputs, mean over seeds. Each method is judged on the inputs that it was calibrated on.",
    { figure: errorHeatmap(linears, { y: "method", title: "Relative output error by linear", digits: 3 }) },
    "errors",
  );
  const curveRows = all.includes(plan.curve) ? rowsOf(plan.curve).filter((r) => r.metric === "nats per token") : [];
  if (curveRows.length > 0) {
    const series = (row: Row) => String(row.setting).replace(/ \db.*$/, "");
    const fp = bound.filter((row) => row.label === "full precision");
    const points = [...fp, ...curveRows.filter((r) => !/g(64|16)$/.test(String(r.setting)))].map((row): Row => ({
      ...row,
      method: row.label === "full precision" ? "full precision" : series(row),
    }));
    add(
      "Bits and loss",
      `Counted bits per weight of the linears, group ${32}.`,
      {
        figure: bitsVersusLoss(points, { value: "nats per token (upper bound)", title: "What a bit buys" }),
        table: table(curveRows.map((r) => ({ ...r, bits: r.bitsPerWeight.toFixed(3) })), {
          row: ["setting", "bits"],
          column: "task",
          digits: 4,
        }),
      },
      "bits",
    );
  }

  await Deno.mkdir(join(out, "figures"), { recursive: true });
  await Promise.all(
    Object.entries(figures).map(async ([name, figure]) => {
      await Deno.writeTextFile(join(out, "figures", `${name}.svg`), figure.toSvg());
      const { width = 900, height = 500 } = figure.layout;
      await renderPng(join(out, "figures", `${name}.svg`), join(out, "figures", `${name}.png`), {
        width,
        height,
        patience: 100,
      });
    }),
  );
  const plotly = { script: await Deno.readTextFile(new URL(import.meta.resolve("plotly.js-dist"))) };
  await Deno.writeTextFile(join(out, "report.html"), page({ title: "Quant-dLLM on nano-llada", sections, plotly }));
  const text = markdown.join("\n\n").replaceAll(/\]\((\w+)\.svg\)/g, "](figures/$1.svg)");
  await Deno.writeTextFile(join(out, "report.md"), text + "\n");
  console.error(`\n${comparison.toText()}\n\n${verdict(plan.main)}\n${pairedLines(plan.main, scale, find)}\n`);
  console.error(`Report: ${out}/report.html (interactive), ${out}/report.md; figures in ${out}/figures`);
  return [main, ...plan.ablations.map(rowsOf), curveRows].flat();
}

function note({ seeds, mainItems, elboWindows, calibrationWindows }: Scale): string {
  return `Seeds ${seeds.join(", ")}; ${mainItems} items per task, ${elboWindows} windows for the likelihood bound, ` +
    `${calibrationWindows} calibration windows of 64 tokens. Tasks: ${choiceTasks.map((t) => t.id).join(", ")}.`;
}

/** Differences b - a on the same items, for each task that both have: positive is better for accuracy, negative for the bound. */
function differences(a: Arm, b: Arm, scale: Scale, find: ReportInput["find"]) {
  const shared = a.tasks.filter(({ task }) => b.tasks.some((other) => other.task === task));
  const kinds = ["choice", "elbo"] as const;
  return kinds.map((kind) => {
    const ids = shared.filter(({ task }) => task.kind === kind).map(({ task }) => task.id);
    const perSeed = scale.seeds.map((seed) => {
      const values = (arm: Arm) => ids.flatMap((id) => find(arm, seed).items[id]);
      return pairedDifference(values(a), values(b));
    });
    const mean = perSeed.reduce((sum, d) => sum + d.mean, 0) / perSeed.length;
    const items = Math.sqrt(perSeed.reduce((sum, d) => sum + d.standardError ** 2, 0) / perSeed.length);
    const spread = perSeed.reduce((sum, d) => sum + (d.mean - mean) ** 2, 0);
    const seeds = perSeed.length > 1 ? Math.sqrt(spread / (perSeed.length - 1) / perSeed.length) : 0;
    // Every seed sees the same items, so their error does not shrink with seeds: the larger of the two is the honest one.
    return { kind, mean, standardError: Math.max(seeds, items) };
  });
}

/** Says of each step of the paper's ordering whether it holds here. */
function orderingLine(study: Study, scale: Scale, find: ReportInput["find"]): string {
  const present = study.paperOrder.flatMap((name) => study.settings.find(({ label }) => label === name) ?? []);
  if (present.length < 2) return "Too few of the paper's settings in this run to compare its ordering.";
  const steps = present.slice(1).map((better, i) => {
    const parts = differences(present[i], better, scale, find).map(({ kind, mean, standardError }) => {
      const gain = kind === "elbo" ? -mean : mean;
      const verdict = Math.abs(mean) < 2 * standardError ? "within noise" : gain > 0 ? "holds" : "REVERSED";
      const shown = kind === "elbo"
        ? `${mean.toFixed(4)} ± ${standardError.toFixed(4)} nats`
        : `${(100 * mean).toFixed(1)} ± ${(100 * standardError).toFixed(1)} points`;
      return `${verdict} (${shown})`;
    });
    return `${present[i].label} < ${better.label}: accuracy ${parts[0]}, bound ${parts[1]}`;
  });
  return `Paper's ordering here, paired: ${steps.join("; ")}.`;
}

/** `plus` against the rivals on the likelihood bound, paired by window. */
function pairedLines(main: Study, scale: Scale, find: ReportInput["find"]): string {
  const plus = main.settings.find(({ label }) => label === "Quant-dLLM plus profile")!;
  const rivals = main.settings.filter(({ label }) => label.startsWith("GPTQ") || label.includes("official"));
  const lines = rivals.map((rival) => {
    const { mean, standardError } = differences(rival, plus, scale, find).find((d) => d.kind === "elbo")!;
    const verdict = Math.abs(mean) < 2 * standardError
      ? "plus is not clearly different"
      : mean < 0
      ? "plus is better"
      : "plus is WORSE";
    return `against ${rival.label} ${verdict}, ${mean.toFixed(4)} ± ${standardError.toFixed(4)} nats per token`;
  });
  return `Paired by window: ${lines.join("; ")}.`;
}

async function readPaper(name: string): Promise<PaperNumbers> {
  return parsePaper(JSON.parse(await Deno.readTextFile(`data/paper/${name}.json`)));
}
