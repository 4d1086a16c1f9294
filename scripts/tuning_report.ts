/** Tables, verdicts and figures of `reproduce --study tuning`. */
import { join } from "@std/path";
import { curves, encodeRows, type Figure, paretoFront, type Row, table } from "quant-dllm";
import { renderPng } from "./render.ts";
import type { ReportInput } from "./reproduce_report.ts";
import { names, type Study } from "./studies.ts";
import { boundTable, mainTable, pairLines, resolution } from "./tables.ts";
import { meansOf, type Measured, type Verdict, verdictsOf } from "./verdicts.ts";

/** Writes report, figures, means.jsonl, verdicts.jsonl and curves.jsonl below `out`. */
export async function writeTuningReport({ out, scale, plan, find }: ReportInput): Promise<void> {
  const measured: Measured = { scale, find };
  const means: Row[] = [], verdicts: Verdict[] = [];
  const markdown: string[] = [`# ${plan.main.title}`];
  const judge = (study: Study) => {
    const cells = [...meansOf(study, measured), ...divergencesOf(study, measured)];
    const found = verdictsOf(study, measured);
    means.push(...cells);
    verdicts.push(...found);
    return { cells, text: [...pairLines(found), resolution(found)].join("\n") };
  };
  const hasMain = plan.main.settings.length > 0;
  if (hasMain) {
    const { cells, text } = judge(plan.main);
    const accuracy = mainTable(cells, plan.main.id);
    markdown.push("## Accuracy", accuracy.toMarkdown(), text);
    markdown.push("## Likelihood bound", boundTable(cells, plan.main.id).toMarkdown());
    markdown.push("## Divergence from full precision on held-out text", divergenceTable(cells).toMarkdown());
    console.error(`\n${accuracy.toText()}\n\n${text}`);
  }
  for (const study of plan.ablations) {
    const { cells, text } = judge(study);
    const shown = table(cells.map(withBits), { row: ["label", "bits"], column: "task", digits: 3 });
    markdown.push(`## ${study.title}`, shown.toMarkdown(), text);
  }
  const lines = curvesOf([plan.main, ...plan.ablations], measured);
  const figures: Record<string, Figure> = hasMain ? { front: tuningFront(means) } : {};
  const shown = lines.filter(({ study, label }) => study === plan.main.id && /\+ codes/.test(String(label)));
  if (shown.length > 0) figures.curves = curves(shown, { value: "KL from full precision, nats" });
  await Deno.mkdir(join(out, "figures"), { recursive: true });
  if (Object.keys(figures).length > 0) markdown.push("## Figures");
  for (const [name, figure] of Object.entries(figures)) {
    const file = join(out, "figures", `tuning-${name}`);
    await Deno.writeTextFile(`${file}.svg`, await figure.toSvg());
    await renderPng(`${file}.svg`, `${file}.png`, { patience: 100 });
    markdown.push(`![${name}](figures/tuning-${name}.svg)`);
  }
  await Deno.writeTextFile(join(out, "report.md"), markdown.filter(Boolean).join("\n\n") + "\n");
  await Deno.writeTextFile(join(out, "means.jsonl"), encodeRows(means));
  await Deno.writeTextFile(join(out, "curves.jsonl"), encodeRows(lines));
  await Deno.writeTextFile(join(out, "verdicts.jsonl"), verdicts.map((v) => JSON.stringify(v) + "\n").join(""));
  console.error(`\nReport: ${out}/report.md`);
}

/** Accuracy and bound against counted bits of the arms at two bits, and of one to three: what is tuned and what is not apart. */
export function tuningFront(means: readonly Row[]): Figure {
  const first = (id: string) => means.filter(({ study }) => study === id);
  const main = first(means[0].study as string);
  const seen = new Set(main.map(({ method }) => method));
  const cells = [...main, ...first("bits").filter(({ method }) => !seen.has(method))];
  const shown = [
    ...cells.filter(({ task }) => task === "mean"),
    ...cells.filter(({ metric }) => metric === "nats per token"),
  ];
  const kindOf = (label: string) =>
    label === names.full
      ? label
      : /\+ codes/.test(label)
      ? "codes tuned"
      : /scales/.test(label)
      ? "scales tuned"
      : "untuned";
  return paretoFront(
    shown.map((row): Row => ({ ...row, method: kindOf(String(row.label)), setting: String(row.label) })),
    {
      point: "setting",
      title: "What tuning buys",
    },
  );
}

/** Divergences from full precision as cells, mean and standard error over seeds. */
export function divergencesOf({ id, settings }: Pick<Study, "id" | "settings">, { scale, find }: Measured): Row[] {
  return settings.flatMap((arm) => {
    const all = scale.seeds.map((seed) => find(arm, seed));
    return (["forward", "answers"] as const).map((task): Row => {
      const { mean, standardError } = ofSeeds(all.map((m) => m.divergence![task]));
      const { method, bitsPerWeight, seed, taskVersion, codeVersion } = all[0].rows[0];
      const same = { method, bitsPerWeight, seed, taskVersion, codeVersion };
      const seeds = scale.seeds.length;
      return { ...same, study: id, label: arm.label, task, metric: "KL", value: mean, standardError, n: seeds, seeds };
    });
  });
}

/** The divergence on the way, mean over seeds. */
function curvesOf(studies: readonly Study[], { scale, find }: Measured): Row[] {
  const seen = new Set<string>();
  return studies.flatMap(({ id, settings }) =>
    settings.flatMap((arm) => {
      const all = scale.seeds.map((seed) => find(arm, seed)), [{ curve = [], rows: [row] }] = all;
      if (curve.length === 0 || seen.has(row.method)) return [];
      seen.add(row.method);
      return curve.flatMap(({ step }, i) =>
        (["forward", "answers"] as const).map((task): Row => {
          const { mean, standardError } = ofSeeds(all.map((m) => m.curve![i][task]));
          const { method, bitsPerWeight, seed, taskVersion, codeVersion } = row;
          const same = { method, bitsPerWeight, seed, taskVersion, codeVersion };
          const own = { ...same, study: id, label: arm.label, step, task, metric: "KL" };
          return { ...own, value: mean, standardError, n: all.length, seeds: all.length };
        })
      );
    })
  );
}

function ofSeeds(values: readonly number[]): { readonly mean: number; readonly standardError: number } {
  const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 2) return { mean, standardError: 0 };
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
  return { mean, standardError: Math.sqrt(variance / n) };
}

/** With the column that tables show. */
const withBits = (row: Row): Row => ({ ...row, bits: row.bitsPerWeight.toFixed(3) });

const divergenceTable = (cells: readonly Row[]) =>
  table(
    cells.filter(({ metric }) => metric === "KL").map(withBits),
    {
      row: ["label", "bits"],
      column: "task",
      digits: 4,
      best: "min",
      caption: "KL from full precision in nats per masked token, mean ± standard error over seeds",
    },
  );
