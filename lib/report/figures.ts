/**
 * The figures of the paper, each a pure function from rows to a figure, with the paper's own numbers in panels of
 * their own, pale and outlined.
 */
import { type Figure, figure } from "./figure.ts";
import {
  basisOf,
  commonRange,
  distinct,
  errorBars,
  type Labels,
  measuredBars,
  measuredPoints,
  panelTitle,
  paperBars,
  paperName,
  printed,
  same,
  stacked,
  symbols,
  titles,
} from "./figure_parts.ts";
import { colorsOf, faint } from "./look.ts";
import type { PaperNumbers } from "./paper.ts";
import { type Row, summarise, type Summary } from "./rows.ts";
import type { Annotation, Axis, ScatterTrace } from "./spec.ts";

const average = "average";

export interface MainOptions extends Labels {
  readonly metric?: string;
  readonly paperModel?: string;
}

/**
 * Figure 1: methods by task and on average, ours above, the paper's below on the same scale. Rows of other metrics are
 * left out.
 *
 * @example
 * ```ts
 * import { decodeRows, mainBars, parsePaper } from "quant-dllm";
 *
 * const means = decodeRows(await Deno.readTextFile("data/results/means.jsonl"));
 * const cells = means.filter(({ study, task }) => study === "table1" && task !== "mean");
 * const paper = parsePaper(JSON.parse(await Deno.readTextFile("data/paper/table1.json")));
 * const svg = await mainBars(cells.map((row) => ({ ...row, method: `${row.label}` })), paper).toSvg();
 * ```
 */
export function mainBars(rows: readonly Row[], paper: PaperNumbers | undefined, options: MainOptions = {}): Figure {
  const { metric = "accuracy", paperModel = "LLaDA-8B-Base", scale = 100, label = same } = options;
  const kept = rows.filter((row) => row.metric === metric);
  const methods = distinct(kept.map((row) => row.method));
  const tasks = distinct(kept.map((row) => row.task));
  const groups = [...summarise(kept, ["method", "task"]), ...averages(kept, tasks.length)];
  const entries = paper?.entries.filter(({ model }) => model === paperModel) ?? [];
  const theirs = distinct(entries.map((entry) => entry.method));
  const ours = methods.map((method, m) => {
    const own = [...tasks, average].map((task) =>
      groups.find(({ keys }) => keys.method === method && (keys.task ?? average) === task)
    );
    const marker = { color: colorsOf(methods)[m] };
    return measuredBars([...tasks, average].map(label), own, { scale, name: label(method), marker });
  });
  const data = [
    ...ours,
    ...theirs.map((method, m) => {
      const own = entries.filter((entry) => entry.method === method);
      const place = { marker: { color: colorsOf(theirs)[m] }, xaxis: "x2", yaxis: "y2" };
      return paperBars(own, ({ task }) => task, { name: `${method} (paper)`, ...place });
    }),
  ];
  const two = entries.length > 0;
  const range = commonRange(
    data.flatMap(({ y, error_y }) => y.map((value, i) => (value ?? 0) + (error_y?.array[i] ?? 0))),
  );
  const value = { title: { text: options.value ?? "accuracy (%)" }, range };
  const category = { type: "category", domain: [0, 1] } as const;
  return figure({
    data,
    layout: {
      ...titles(options, "Accuracy by task", basisOf(kept)),
      height: two ? 680 : 420,
      barmode: "group",
      xaxis: category,
      yaxis: { ...value, domain: two ? [0.58, 1] : [0, 1] },
      ...(two ? { xaxis2: category, yaxis2: { ...value, domain: [0, 0.42] } } : {}),
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

/**
 * Table 2 as dots: a line for each setting, ours at the left, the paper's beside it. Scales do not begin at zero, since
 * differences are the message, and are shared by all ablations of a side. Our rows carry the fields `ablation` ("a",
 * "b", ...) and `setting`. Settings that only one side has leave the other's place empty.
 *
 * @example
 * ```ts
 * import { ablationDots, decodeRows, parsePaper } from "quant-dllm";
 *
 * const means = decodeRows(await Deno.readTextFile("data/results/means.jsonl"));
 * const ablated = means.filter(({ study, task }) => /^[abcd]$/.test(`${study}`) && task === "mean");
 * const rows = ablated.map((row) => ({ ...row, ablation: `${row.study}`, setting: `${row.label}` }));
 * const paper = parsePaper(JSON.parse(await Deno.readTextFile("data/paper/table2.json")));
 * const svg = await ablationDots(rows, paper).toSvg();
 * ```
 */
export function ablationDots(
  rows: readonly Row[],
  paper: PaperNumbers,
  options: Labels & { readonly paperModel?: string } = {},
): Figure {
  const { paperModel = "LLaDA-8B-Base", scale = 100, label = same } = options;
  const groups = summarise(rows, ["ablation", "setting"]);
  const entries = paper.entries.filter(({ model, ablation }) => model === paperModel && ablation !== undefined);
  const names = distinct([
    ...groups.map(({ keys }) => String(keys.ablation)),
    ...entries.map(({ ablation }) => String(ablation)),
  ]).sort();
  const settings = names.map((name) =>
    distinct([
      ...groups.filter(({ keys }) => keys.ablation === name).map(({ keys }) => label(String(keys.setting))),
      ...entries.filter(({ ablation }) => ablation === name).map(({ setting }) => String(setting)),
    ])
  );
  const height = 150 + 62 * names.length + 24 * settings.flat().length;
  const domains = stacked(settings.map(({ length }) => length + 0.4), 62 / (height - 150));
  const ranges = [
    padded(groups.flatMap(({ mean, standardError: e }) => [mean - (e || 0), mean + (e || 0)]).map((v) => v * scale)),
    padded(entries.map(({ value }) => value)),
  ];
  const data: ScatterTrace[] = [];
  const axes: Record<string, Axis> = {};
  const annotations: Annotation[] = [];
  names.forEach((name, i) => {
    const own = groups.filter(({ keys }) => keys.ablation === name);
    const theirs = entries.filter(({ ablation }) => ablation === name);
    const sides = [{
      name: options.ours ?? "this run",
      x: own.map(({ mean }) => mean * scale),
      y: own.map(({ keys }) => label(String(keys.setting))),
      marker: { color: ourColor, size: 9 },
      error_x: errorBars(own, scale, ourColor),
    }, {
      name: paperName(paper, paperModel),
      x: theirs.map(({ value }) => value),
      y: theirs.map(({ setting }) => String(setting)),
      marker: { ...printed(theirColor), size: 9 },
    }];
    sides.forEach((side, s) => {
      const ref = i + s === 0 ? "" : String(2 * i + s + 1);
      const title = s === 0 ? options.value ?? "accuracy (%)" : `${entries[0]?.task} (%)`;
      axes[`xaxis${ref}`] = {
        domain: s === 0 ? [0, 0.48] : [0.52, 1],
        range: ranges[s],
        ...(i === names.length - 1 ? { title: { text: title } } : {}),
      };
      axes[`yaxis${ref}`] = {
        type: "category",
        categoryarray: settings[i],
        autorange: "reversed",
        domain: domains[i],
        showticklabels: s === 0,
      };
      if (s === 0) annotations.push(panelTitle(ref, `(${name}) ${paper.ablations[name] ?? ""}`.trim()));
      data.push({ type: "scatter", mode: "markers", ...side, showlegend: i === 0, xaxis: `x${ref}`, yaxis: `y${ref}` });
    });
  });
  return figure({ data, layout: { ...titles(options, "Ablations", basisOf(rows)), height, ...axes, annotations } });
}

/** The ends of some values and a little room. */
function padded(values: readonly number[]): [number, number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = 0.05 * (high - low) || 1;
  return [low - room, high + room];
}

const [ourColor, theirColor] = ["#0072b2", faint];

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
 *
 * @example
 * ```ts
 * import { calibrationCurve, decodeRows, parsePaper } from "quant-dllm";
 *
 * const means = decodeRows(await Deno.readTextFile("data/results/means.jsonl"));
 * const rows = means.filter(({ study, task }) => study === "d" && task === "mean");
 * const paper = parsePaper(JSON.parse(await Deno.readTextFile("data/paper/table2.json")));
 * const svg = await calibrationCurve(rows, paper, { size: "label" }).toSvg(); // labels say how many windows
 * ```
 */
export function calibrationCurve(
  rows: readonly Row[],
  paper: PaperNumbers | undefined,
  options: CalibrationOptions = {},
): Figure {
  const { series = "method", size = "calibrationSize", scale = 100, label = same, paperModel = "LLaDA-8B-Base" } =
    options;
  const groups = summarise(rows, [series, size]);
  const names = distinct(groups.map(({ keys }) => String(keys[series])));
  const data = names.map((name, i) =>
    measuredPoints(groups.filter(({ keys }) => String(keys[series]) === name), ({ keys }) => Number(keys[size]), {
      name: label(name),
      mode: "lines+markers",
      marker: { color: colorsOf(names)[i], size: 9, symbol: symbols[i % symbols.length] },
      scale,
    })
  );
  const entries = paper?.entries.filter(({ model, ablation }) => model === paperModel && ablation === "d") ?? [];
  const two = entries.length > 0;
  if (two) {
    const [x, y] = [entries.map(({ setting }) => Number(setting)), entries.map(({ value }) => value)];
    const look = { marker: { ...printed(faint), size: 9 }, line: { color: faint, dash: "dot" } } as const;
    data.push({
      type: "scatter",
      mode: "lines+markers",
      name: paperName(paper!, paperModel),
      x,
      y,
      ...look,
      xaxis: "x2",
      yaxis: "y2",
    });
  }
  const axis = (sizes: readonly number[]): Axis => {
    const tickvals = distinct(sizes).sort((a, b) => a - b);
    return { type: "log", title: { text: "calibration samples" }, tickvals };
  };
  const second = {
    xaxis2: { ...axis(entries.map(({ setting }) => Number(setting))), domain: [0.68, 1] },
    yaxis2: { title: { text: `${entries[0]?.task} (%)` } },
    annotations: [panelTitle("", options.ours ?? "this run"), panelTitle("2", "paper")],
  };
  return figure({
    data,
    layout: {
      ...titles(options, "Calibration size", basisOf(rows)),
      width: two ? 830 : 640,
      height: 400,
      xaxis: { ...axis(rows.map((row) => Number(row[size]))), domain: two ? [0, 0.56] : [0, 1] },
      yaxis: { title: { text: options.value ?? "accuracy (%)" } },
      ...(two ? second : {}),
    },
  });
}
