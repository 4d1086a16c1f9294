/** Charts for the analysis around the paper: differences, bits against quality, errors by layer. */
import { type Figure, figure } from "./figure.ts";
import {
  basisOf,
  distinct,
  type Labels,
  measuredPoints,
  same,
  spanOf,
  stacked,
  symbols,
  titles,
} from "./figure_parts.ts";
import { colorsOf, ink, sequential } from "./look.ts";
import { type Row, summarise, type Summary } from "./rows.ts";
import type { Axis, HeatmapTrace, ScatterTrace } from "./spec.ts";

/** A paired difference a - b in the unit of `metric`; `verdict` is on a. */
export interface Difference {
  readonly a: string;
  readonly b: string;
  readonly metric: string;
  readonly difference: number;
  readonly standardError: number;
  /** Both ends, say of 95 %; without it two standard errors either way are drawn. */
  readonly interval?: readonly [number, number];
  readonly n: number;
  readonly seeds: number;
  readonly verdict: string;
}

/**
 * Paired differences as dots with intervals: a line for each comparison, with its verdict, and a panel for each metric.
 * A dot is hollow when its interval holds zero. Accuracies are shown in points (times 100).
 *
 * @example
 * ```ts
 * import { type Comparison, differenceDots } from "quant-dllm";
 *
 * const lines = (await Deno.readTextFile("data/results/verdicts.jsonl")).split("\n").filter(Boolean);
 * const svg = await differenceDots(lines.slice(0, 8).map((line) => JSON.parse(line) as Comparison)).toSvg();
 * ```
 */
export function differenceDots(comparisons: readonly Difference[], options: Omit<Labels, "scale"> = {}): Figure {
  const { label = same } = options;
  const groups = [...Map.groupBy(comparisons, ({ metric }) => metric)];
  const height = 120 + 75 * groups.length + 40 * comparisons.length;
  const domains = stacked(groups.map(([, own]) => own.length), 75 / (height - 120));
  const data: ScatterTrace[] = [];
  const axes: Record<string, Axis> = {};
  groups.forEach(([metric, all], g) => {
    const ref = g === 0 ? "" : String(g + 1);
    const [scale, unit, digits] = metric === "accuracy" ? [100, "points of accuracy", 1] : [1, metric, 4];
    const nameOf = ({ a, b, difference, standardError, verdict }: Difference) => {
      const size = `${Math.abs(difference * scale).toFixed(digits)} ± ${(standardError * scale).toFixed(digits)}`;
      return `${label(a)} − ${label(b)}<br>${difference < 0 ? "−" : "+"}${size}, ${verdict}`;
    };
    axes[`xaxis${ref}`] = { title: { text: `difference, ${unit}` }, zeroline: true, rangemode: "tozero" };
    axes[`yaxis${ref}`] = {
      type: "category",
      categoryarray: all.map(nameOf),
      autorange: "reversed",
      domain: domains[g],
    };
    for (const clear of [true, false]) {
      const own = all.filter((c) => (intervalOf(c)[0] > 0 || intervalOf(c)[1] < 0) === clear);
      if (own.length === 0) continue;
      const name = clear ? "interval without zero" : "interval holds zero";
      const error_x = {
        type: "data",
        symmetric: false,
        array: own.map((c) => (intervalOf(c)[1] - c.difference) * scale),
        arrayminus: own.map((c) => (c.difference - intervalOf(c)[0]) * scale),
        color: ink,
        thickness: 1.4,
        width: 0,
      } as const;
      data.push({
        type: "scatter",
        mode: "markers",
        name,
        showlegend: data.every((trace) => trace.name !== name),
        xaxis: `x${ref}`,
        yaxis: `y${ref}`,
        x: own.map(({ difference }) => difference * scale),
        y: own.map(nameOf),
        error_x,
        marker: { color: clear ? ink : "#ffffff", size: 9, line: { color: ink, width: 1.4 } },
      });
    }
  });
  const whole = comparisons.every(({ interval }) => interval !== undefined);
  const basis = `${whole ? "95 % intervals" : "intervals of two standard errors"}; ` +
    `${spanOf(comparisons.map(({ seeds }) => seeds))} seeds, n = ${spanOf(comparisons.map(({ n }) => n))}`;
  return figure({ data, layout: { ...titles(options, "Paired differences", basis), height, ...axes } });
}

function intervalOf({ difference, standardError, interval }: Difference): readonly [number, number] {
  return interval ?? [difference - 2 * standardError, difference + 2 * standardError];
}

export interface ParetoOptions extends Omit<Labels, "scale" | "value"> {
  /** The field that names a method. */
  readonly series?: string;
  /** The field whose values are the points of a method; their bits are averaged. */
  readonly point?: string;
  /** Writes the points' values of that field at those on the front of accuracy. */
  readonly named?: boolean;
}

/**
 * What each method reaches with how many counted bits, a panel for each metric: a colour for each method, the front as
 * a stepped line (the best that at most so many bits give), rows at 16 bits or more as a dashed line. Much accuracy is
 * good, and little of everything else.
 *
 * @example
 * ```ts
 * import { decodeRows, paretoFront } from "quant-dllm";
 *
 * const means = decodeRows(await Deno.readTextFile("data/results/means.jsonl"));
 * const points = means.filter(({ study, task }) => study === "bits" && (task === "mean" || task === "elbo"));
 * const svg = await paretoFront(points, { point: "label" }).toSvg();
 * ```
 */
export function paretoFront(rows: readonly Row[], options: ParetoOptions = {}): Figure {
  const { series = "method", point = "bitsPerWeight", label = same } = options;
  const names = distinct(rows.map((row) => String(row[series])));
  const colors = colorsOf(names);
  const panels = [...Map.groupBy(rows, ({ metric }) => metric)];
  const domains = stacked(panels.map(() => 1), 0.1);
  const axes: Record<string, Axis> = {};
  const data = panels.flatMap(([metric, own], p): ScatterTrace[] => {
    const ref = p === 0 ? "" : String(p + 1);
    const place = { xaxis: `x${ref}`, yaxis: `y${ref}`, showlegend: p === 0 };
    const scale = metric === "accuracy" ? 100 : 1;
    const groups = summarise(own.filter(({ bitsPerWeight }) => bitsPerWeight < 16), [series, point])
      .sort((a, b) => bitsOf(a) - bitsOf(b));
    const full = summarise(own.filter(({ bitsPerWeight }) => bitsPerWeight >= 16), [series]);
    const ends = groups.length === 0 ? [] : [bitsOf(groups[0]), bitsOf(groups.at(-1)!)];
    const named = options.named && metric === "accuracy";
    const front = frontOf(groups, metric === "accuracy" ? "max" : "min");
    const last = p === panels.length - 1;
    axes[`xaxis${ref}`] = last ? { title: { text: "stored bits per weight, everything counted" } } : {};
    const text = metric === "accuracy" ? "accuracy (%)" : metric;
    // Losses of few bits would hide what more of them buy.
    axes[`yaxis${ref}`] = { title: { text }, domain: domains[p], ...(metric === "accuracy" ? {} : { type: "log" }) };
    const traces: ScatterTrace[] = full.map(({ keys, mean }) => ({
      type: "scatter",
      mode: "lines",
      name: label(String(keys[series])),
      x: ends,
      y: ends.map(() => mean * scale),
      line: { color: colors[names.indexOf(String(keys[series]))], dash: "dash" },
      ...place,
    }));
    traces.push({
      type: "scatter",
      mode: named ? "lines+text" : "lines",
      ...(named ? { text: [...front.map(({ keys }) => String(keys[point])), ""], textposition: "top left" } : {}),
      name: "front",
      x: [...front.map(bitsOf), ...ends.slice(1)],
      y: [...front, ...front.slice(-1)].map(({ mean }) => mean * scale),
      line: { color: ink, width: 1.4, shape: "hv" },
      ...place,
    });
    for (const [i, name] of names.entries()) {
      const points = groups.filter(({ keys }) => String(keys[series]) === name);
      if (points.length === 0) continue;
      const marker = { color: colors[i], size: 9, symbol: symbols[i % symbols.length] };
      const measured = measuredPoints(points, bitsOf, { scale, name: label(name), mode: "markers", marker });
      traces.push({ ...measured, ...place, text: points.map(({ keys }) => String(keys[point])) });
    }
    return traces;
  });
  const height = 120 + 330 * panels.length;
  return figure({ data, layout: { ...titles(options, "What a bit buys", basisOf(rows)), height, ...axes } });
}

const bitsOf = ({ rows }: { readonly rows: readonly Row[] }) =>
  rows.reduce((sum, row) => sum + row.bitsPerWeight, 0) / rows.length;

/** Those of the groups, by rising bits, that no other beats with at most their bits. */
function frontOf(groups: readonly Summary[], best: "max" | "min"): Summary[] {
  const better = (a: number, b: number) => best === "max" ? a > b : a < b;
  return groups.filter((group, i) =>
    groups.slice(0, i).every((other) => better(group.mean, other.mean)) &&
    groups.slice(i + 1).every((other) => bitsOf(other) > bitsOf(group) || !better(other.mean, group.mean))
  );
}

/**
 * A value per pair of labels, as colours: relative errors by layer and linear. Records that repeat a pair are averaged;
 * absent pairs stay grey. A few whole numbers (planes) get a colour and a key each instead of a colour bar.
 *
 * @example
 * ```ts
 * import { errorHeatmap, type Measurement } from "quant-dllm";
 *
 * const lines = (await Deno.readTextFile("results/reproduce/arms.jsonl")).split("\n").filter(Boolean);
 * const arms = lines.map((line) => JSON.parse(line) as Measurement).filter(({ label }) => label.startsWith("GPTQ"));
 * const records = arms.flatMap(({ label, linears }) => linears.map((linear) => ({ ...linear, label })));
 * const svg = await errorHeatmap(records, { y: "label", field: "relativeError", digits: 3 }).toSvg();
 * ```
 */
export function errorHeatmap(
  records: readonly Readonly<Record<string, unknown>>[],
  options: Labels & { readonly x?: string; readonly y?: string; readonly field?: string; readonly digits?: number } =
    {},
): Figure {
  const { x = "linear", y = "layer", field = "value", digits = 2, scale = 1, label = same } = options;
  const columns = distinct(records.map((r) => String(r[x])));
  const lines = distinct(records.map((r) => String(r[y])));
  const z = lines.map((line) =>
    columns.map((column) => {
      const values = records.filter((r) => String(r[x]) === column && String(r[y]) === line).map((r) =>
        Number(r[field]) * scale
      );
      return values.length === 0 ? null : values.reduce((a, b) => a + b) / values.length;
    })
  );
  const trace: HeatmapTrace = {
    type: "heatmap",
    x: columns.map(label),
    y: lines,
    z,
    ...colorsFor(z.flat().filter((value) => value !== null), options.value ?? "relative output error"),
    text: z.map((line) => line.map((value) => value === null ? "" : value.toFixed(digits))),
    texttemplate: "%{text}",
  };
  return figure({
    data: [trace],
    layout: {
      ...titles(options, "Error by layer"),
      height: 200 + Math.max(4, lines.length) * 26,
      xaxis: { type: "category", title: { text: x } },
      yaxis: { type: "category", title: { text: y }, autorange: "reversed" },
    },
  });
}

/** Most steps of whole numbers that have a colour each. */
const mostSteps = 8;

function colorsFor(
  values: readonly number[],
  name: string,
): Pick<HeatmapTrace, "zmin" | "zmax" | "colorscale" | "colorbar"> {
  const [low, high] = values.length === 0 ? [0, 1] : [Math.min(...values), Math.max(...values)];
  const title = { text: name, side: "right" };
  const count = high - low + 1;
  if (!values.every(Number.isInteger) || count > mostSteps) {
    return { zmin: low, zmax: high > low ? high : low + 1, colorscale: sequential, colorbar: { title } };
  }
  const colors = Array.from(
    { length: count },
    (_, i) => sequential[Math.trunc(count === 1 ? 2 : i * (sequential.length - 1) / (count - 1))][1],
  );
  const colorscale = colors.flatMap((color, i) => [[i / count, color], [(i + 1) / count, color]] as const);
  const tickvals = colors.map((_, i) => low + i);
  return { zmin: low - 0.5, zmax: high + 0.5, colorscale, colorbar: { title, tickvals } };
}
