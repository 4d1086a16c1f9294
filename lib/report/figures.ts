/**
 * The figures of the paper, each a pure function from rows to a figure, with the paper's own numbers in panels of
 * their own, hatched.
 */
import { type Figure, figure } from "./figure.ts";
import {
  distinct,
  type Labels,
  measuredBars,
  measuredCurves,
  panelTitle,
  paperBars,
  paperName,
  same,
  titles,
} from "./figure_parts.ts";
import type { PaperNumbers } from "./paper.ts";
import { type Row, summarise, type Summary } from "./rows.ts";
import { type Annotation, type Axis, type BarTrace, palette } from "./spec.ts";

const average = "average";

export interface MainOptions extends Labels {
  readonly metric?: string;
  readonly paperModel?: string;
  /** Which of our methods each of the paper's corresponds to, so that they share a colour. */
  readonly pairs?: Readonly<Record<string, string>>;
}

/** Figure 1: methods by task and on average, ours above, the paper's below. Rows of other metrics are left out. */
export function mainBars(rows: readonly Row[], paper: PaperNumbers | undefined, options: MainOptions = {}): Figure {
  const { metric = "accuracy", paperModel = "LLaDA-8B-Base", pairs = {}, scale = 100, label = same } = options;
  const kept = rows.filter((row) => row.metric === metric);
  const methods = distinct(kept.map((row) => row.method));
  const tasks = distinct(kept.map((row) => row.task));
  const places = [...tasks, average];
  const groups = [...summarise(kept, ["method", "task"]), ...averages(kept, tasks.length)];
  const data = methods.map((method, m): BarTrace => {
    const own = places.map((task) =>
      groups.find(({ keys }) => keys.method === method && (keys.task ?? average) === task)
    );
    return measuredBars(places.map(label), own, scale, { name: label(method), marker: { color: colorOf(m) } });
  });
  const entries = paper?.entries.filter(({ model }) => model === paperModel) ?? [];
  let next = methods.length;
  for (const method of distinct(entries.map((entry) => entry.method))) {
    const partner = methods.indexOf(pairs[method] ?? method);
    const marker = { color: colorOf(partner < 0 ? next++ : partner) };
    const own = entries.filter((entry) => entry.method === method);
    data.push(paperBars(own, ({ task }) => task, { name: `${method} (paper)`, marker, xaxis: "x2", yaxis: "y2" }));
  }
  const two = entries.length > 0;
  const value = { title: { text: options.value ?? "accuracy (%)" } };
  const category = { type: "category", domain: [0, 1] } as const;
  return figure({
    data,
    layout: {
      ...titles(options, "Accuracy by task"),
      width: 1080,
      height: two ? 720 : 460,
      barmode: "group",
      xaxis: category,
      yaxis: { ...value, domain: two ? [0.56, 1] : [0, 1] },
      ...(two ? { xaxis2: category, yaxis2: { ...value, domain: [0, 0.4] } } : {}),
      annotations: two
        ? [panelTitle("", options.ours ?? "this run"), panelTitle("2", paperName(paper!, paperModel))]
        : [],
    },
  });
}

/** The mean over all tasks, for the methods that have them all. */
function averages(rows: readonly Row[], tasks: number): Summary[] {
  const complete = (method: string) =>
    new Set(rows.filter((row) => row.method === method).map(({ task }) => task)).size === tasks;
  return summarise(rows.filter(({ method }) => complete(method)), ["method"]);
}

function colorOf(i: number): string {
  return palette[i % palette.length];
}

/**
 * Table 2 as bars: one column per ablation, ours above, the paper's below. Our rows carry the fields `ablation` ("a",
 * "b", ...) and `setting`. An ablation that only one side has leaves the other's place empty.
 */
export function ablationBars(
  rows: readonly Row[],
  paper: PaperNumbers,
  options: Labels & { readonly paperModel?: string } = {},
): Figure {
  const { paperModel = "LLaDA-8B-Base", scale = 100, label = same } = options;
  const groups = summarise(rows, ["ablation", "setting"]);
  const entries = paper.entries.filter(({ model }) => model === paperModel);
  const names = distinct([
    ...groups.map(({ keys }) => String(keys.ablation)),
    ...entries.map(({ ablation }) => String(ablation)),
  ]).sort();
  const gap = 0.05;
  const width = (1 - gap * (names.length - 1)) / names.length;
  const data: BarTrace[] = [];
  const axes: Record<string, Axis> = {};
  const annotations: Annotation[] = [];
  const open = (ablation: string, upper: boolean, title: string) => {
    const ref = data.length === 0 ? "" : String(data.length + 1);
    const left = names.indexOf(ablation) * (width + gap);
    axes[`xaxis${ref}`] = { type: "category", domain: [left, left + width] };
    axes[`yaxis${ref}`] = { domain: upper ? [0.58, 1] : [0, 0.4], ...(left === 0 ? { title: { text: title } } : {}) };
    if (upper || !groups.some(({ keys }) => keys.ablation === ablation)) {
      annotations.push(panelTitle(ref, `(${ablation}) ${paper.ablations[ablation] ?? ""}`.trim()));
    }
    return { xaxis: `x${ref}`, yaxis: `y${ref}` };
  };
  for (const ablation of distinct(groups.map(({ keys }) => String(keys.ablation)))) {
    const own = groups.filter(({ keys }) => keys.ablation === ablation);
    const place = { name: options.ours ?? "this run", marker: { color: palette[0] }, showlegend: data.length === 0 };
    const axis = open(ablation, true, options.value ?? "accuracy (%)");
    const trace = measuredBars(own.map(({ keys }) => label(String(keys.setting))), own, scale, { ...place, ...axis });
    data.push({
      ...trace,
      text: own.map(({ mean }) => shortValue(mean * scale)),
      textposition: "outside",
      cliponaxis: false,
    });
  }
  const measured = data.length;
  for (const ablation of distinct(entries.map((entry) => String(entry.ablation)))) {
    const own = entries.filter((entry) => entry.ablation === ablation);
    const place = {
      name: paperName(paper, paperModel),
      marker: { color: palette[1] },
      showlegend: data.length === measured,
    };
    const axis = open(ablation, false, `${own[0].task} (%)`);
    const trace = paperBars(own, ({ setting }) => String(setting), { ...place, ...axis });
    data.push({
      ...trace,
      text: own.map(({ value }) => shortValue(value)),
      textposition: "outside",
      cliponaxis: false,
    });
  }
  return figure({
    data,
    layout: { ...titles(options, "Ablations"), width: 1160, height: 640, barmode: "group", ...axes, annotations },
  });
}

function shortValue(value: number): string {
  return Math.abs(value) < 10 ? value.toFixed(2) : value.toFixed(1);
}

export interface CalibrationOptions extends Labels {
  /** The field that names a curve. */
  readonly series?: string;
  /** The field that holds the number of calibration samples. */
  readonly size?: string;
  readonly paperModel?: string;
}

/**
 * Table 2 (d) as curves: a measure against the number of calibration samples, on a log axis; the paper's own in a
 * panel beside it.
 */
export function calibrationCurve(
  rows: readonly Row[],
  paper: PaperNumbers | undefined,
  options: CalibrationOptions = {},
): Figure {
  const { series = "method", size = "calibrationSize", scale = 100, label = same, paperModel = "LLaDA-8B-Base" } =
    options;
  const data = measuredCurves(rows, series, size, { scale, label });
  const entries = paper?.entries.filter(({ model, ablation }) => model === paperModel && ablation === "d") ?? [];
  const two = entries.length > 0;
  if (two) {
    const [x, y] = [entries.map(({ setting }) => Number(setting)), entries.map(({ value }) => value)];
    const color = palette[7];
    const look = {
      marker: { color, size: 9, symbol: "circle-open" },
      line: { color, dash: "dot" },
      xaxis: "x2",
      yaxis: "y2",
    } as const;
    data.push({ type: "scatter", mode: "lines+markers", name: paperName(paper!, paperModel), x, y, ...look });
  }
  const axis = (sizes: readonly number[]): Axis => {
    const tickvals = distinct(sizes).sort((a, b) => a - b);
    return { type: "log", title: { text: "calibration samples" }, tickvals, ticktext: tickvals.map(String) };
  };
  const second = {
    xaxis2: { ...axis(entries.map(({ setting }) => Number(setting))), domain: [0.68, 1] },
    yaxis2: { title: { text: `${entries[0]?.task} (%)` } },
    annotations: [panelTitle("", options.ours ?? "this run"), panelTitle("2", "paper")],
  };
  return figure({
    data,
    layout: {
      ...titles(options, "Calibration size"),
      width: two ? 980 : 700,
      height: 440,
      xaxis: { ...axis(rows.map((row) => Number(row[size]))), domain: two ? [0, 0.56] : [0, 1] },
      yaxis: { title: { text: options.value ?? "accuracy (%)" } },
      ...(two ? second : {}),
    },
  });
}
