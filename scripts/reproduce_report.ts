/** Tables, verdicts and figures of `reproduce`, as Markdown, interactive HTML, SVG and PNG. */
import { join } from "@std/path";
import {
  ablationDots,
  calibrationCurve,
  choiceTasks,
  differenceDots,
  encodeRows,
  errorHeatmap,
  type Figure,
  mainBars,
  type Model,
  page,
  type PaperNumbers,
  paretoFront,
  parsePaper,
  type Row,
  type Section,
  table,
} from "quant-dllm";
import { renderPng } from "./render.ts";
import { sizesTable } from "./sizes.ts";
import { names, type Plan, type Scale, type Study } from "./studies.ts";
import { boundTable, mainTable, pairLines, resolution } from "./tables.ts";
import { equalBits, type Find, meansOf, type Measured, type Verdict, verdictsOf } from "./verdicts.ts";

export interface ReportInput {
  readonly out: string;
  readonly scale: Scale;
  readonly model: Model;
  readonly plan: Plan;
  readonly find: Find;
}

const ours = "nano-llada, this run";
/** Task names as figures show them. */
const short = (name: string) => name.replace(/^nano_/, "").replaceAll("_", " ");

/** Writes everything below `out`: report, figures, means.jsonl (the cells of the tables) and verdicts.jsonl (the comparisons). */
export async function writeReport({ out, scale, model, plan, find }: ReportInput): Promise<void> {
  const measured: Measured = { scale, find };
  const figures: Record<string, Figure> = {};
  const sections: Section[] = [];
  const markdown: string[] = ["# Reproduction on nano-llada", note(scale)];
  const means: Row[] = [];
  const verdicts: Verdict[] = [];
  const add = (heading: string, text: string, what: Omit<Section, "heading" | "note">, name?: string) => {
    sections.push({ heading, note: text, ...what });
    markdown.push(`## ${heading}`, ...(what.table ? [what.table.toMarkdown()] : []), text);
    if (name && what.figure) {
      figures[name] = what.figure as Figure;
      markdown.push(`![${heading}](figures/${name}.svg)`);
    }
  };
  const judge = (study: Study) => {
    const [cells, found] = [meansOf(study, measured), verdictsOf(study, measured)];
    means.push(...cells);
    verdicts.push(...found);
    return { cells, found, text: [...pairLines(found), resolution(found)].join("\n") };
  };

  const main = judge(plan.main);
  const bars = main.cells.filter((row) => row.metric === "accuracy" && row.task !== "mean");
  const named = bars.map((row) => ({ ...row, method: String(row.label) }));
  const figure1 = mainBars(named, await readPaper("table1"), { label: short, ours });
  add(plan.main.title, main.text, { table: mainTable(main.cells), figure: figure1 }, "figure1");
  add("Likelihood bound", "", { table: boundTable(main.cells) });
  add("The same as differences", "", { figure: differenceDots(main.found) }, "differences");

  const table2 = await readPaper("table2");
  const ablated = plan.ablations.flatMap((study) => {
    const { cells, text } = judge(study);
    add(study.title, text, { table: table(cells, { row: ["label", "bits"], column: "task", digits: 3 }) });
    return cells.map((row): Row => ({ ...row, ablation: study.id, setting: String(row.label) }));
  });
  const averages = ablated.filter((row) => row.task === "mean" && /^[abcd]$/.test(String(row.ablation)));
  add(
    "Ablations beside the paper's",
    "Ours is the mean of nano_mmlu, nano_winogrande and nano_piqa on nano-llada, the paper's is MMLU on LLaDA-8B-Base: compare directions, not values.",
    { figure: ablationDots(averages, table2, { ours }) },
    "ablations",
  );
  const sized = averages.filter((row) => row.ablation === "d");
  if (sized.length > 0) {
    const curve = calibrationCurve(sized.map((row) => ({ ...row, method: names.official })), table2);
    add("Calibration size", "The curve of the table above.", { figure: curve }, "calibration");
  }

  if (plan.points.length > 0) {
    const cells = plan.points.flatMap(({ method, arm }) =>
      meansOf({ id: "bits", settings: [arm] }, measured).map((row): Row => ({ ...row, method, setting: arm.label }))
    );
    means.push(...cells);
    const shown = [
      ...cells.filter((row) => row.task === "mean"),
      ...cells.filter((row) => row.metric !== "accuracy"),
    ];
    add(
      "What a bit buys",
      "Every method over its own bits, group sizes and types of scales; bits counted from stored bytes.",
      {
        figure: paretoFront(shown, { point: "setting" }),
        table: table(cells, { row: ["method", "setting", "bits"], column: "task", digits: 3 }),
      },
      "pareto",
    );
    const equal = equalBits(plan.points, measured);
    verdicts.push(...equal);
    for (const [study, own] of Map.groupBy(equal, ({ study }) => study)) {
      add(
        `Each method at its best with ${study}`,
        [
          ...pairLines(own),
          "Chosen by the bound on the second half of the windows; compared on the first half, and on the tasks.",
        ].join("\n"),
        {},
      );
    }
  }

  const sizes = sizesTable(model, plan.main, { scale, find, paper: await readPaper("table3") });
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
    {
      figure: errorHeatmap(linears, {
        y: "method",
        title: "Relative output error by linear",
        digits: 3,
        subtitle: note(scale),
      }),
    },
    "errors",
  );

  await Deno.mkdir(join(out, "figures"), { recursive: true });
  await Promise.all(
    Object.entries(figures).map(async ([name, figure]) => {
      await Deno.writeTextFile(join(out, "figures", `${name}.svg`), await figure.toSvg());
      await renderPng(join(out, "figures", `${name}.svg`), join(out, "figures", `${name}.png`), { patience: 100 });
    }),
  );
  const plotly = { script: await Deno.readTextFile(new URL(import.meta.resolve("plotly.js-dist"))) };
  await Deno.writeTextFile(
    join(out, "report.html"),
    await page({ title: "Quant-dLLM on nano-llada", sections, plotly }),
  );
  await Deno.writeTextFile(join(out, "report.md"), markdown.filter(Boolean).join("\n\n") + "\n");
  await Deno.writeTextFile(join(out, "means.jsonl"), encodeRows(means));
  await Deno.writeTextFile(join(out, "verdicts.jsonl"), verdicts.map((v) => JSON.stringify(v) + "\n").join(""));
  console.error(`\n${mainTable(main.cells).toText()}\n\n${main.text}\n`);
  console.error(`Report: ${out}/report.html (interactive), ${out}/report.md; figures in ${out}/figures`);
}

function note({ seeds, items, elboWindows, calibrationWindows }: Scale): string {
  return `Seeds ${seeds.join(", ")}; ${items} items per task, ${elboWindows} windows for the likelihood bound, ` +
    `${calibrationWindows} calibration windows of 64 tokens. Tasks: ${choiceTasks.map((t) => t.id).join(", ")}.`;
}

async function readPaper(name: string): Promise<PaperNumbers> {
  return parsePaper(JSON.parse(await Deno.readTextFile(`data/paper/${name}.json`)));
}
