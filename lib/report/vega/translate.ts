/** A figure's specification in Vega-Lite: panels where the domains of their axes say, one layer for each part of a trace. */
import type { TopLevelSpec } from "vega-lite";
import { brokenLines, faint, fontFamily, grid, ink, legendOf, textWidth } from "../look.ts";
import {
  type Axis,
  axisOf,
  categoriesOf,
  type FigureSpec,
  type Layout,
  type Panel,
  panelsOf,
  type Trace,
} from "../spec.ts";
import { type Channels, dashes, edgeColor, type Json, layersOf } from "./layers.ts";

type Ends = readonly [number, number];

/** Translates a figure that `figure` has completed: sizes, margins, colours and axes are there. */
export function vegaLite({ data, layout }: FigureSpec): TopLevelSpec {
  const { width = 0, height = 0, margin = { l: 0, r: 0, t: 0, b: 0 }, title } = layout;
  const area = { width: width - margin.l - margin.r, height: height - margin.t - margin.b };
  const panels = panelsOf(data).map((panel) => ({
    panel,
    across: axisOf(layout, panel.x).domain ?? [0, 1],
    up: axisOf(layout, panel.y).domain ?? [0, 1],
  }));
  const columns = sorted(panels.map(({ across }) => across));
  const rows = sorted(panels.map(({ up }) => up)).reverse();
  const legend = legendLayer(data, layout);
  const views = rows.flatMap((up) =>
    columns.map((across): Json => {
      const size = { width: lengthOf(across, area.width), height: lengthOf(up, area.height) };
      const here = panels.find((p) => p.across[0] === across[0] && p.up[0] === up[0]);
      if (!here) return { ...size, data: { values: [] }, mark: "point" };
      const isFirst = here === panels[0];
      return { ...size, ...view(here.panel, { layout, size, legend: isFirst ? legend : [] }) };
    })
  );
  const shared = ["fill", "stroke", "shape", "strokeDash"].map((channel) => [channel, "shared"]);
  const body = views.length === 1 ? views[0] : {
    concat: views,
    columns: columns.length,
    bounds: "flush",
    spacing: { column: gapOf(columns, area.width), row: gapOf([...rows].reverse(), area.height) },
    ...(legend.length > 0 ? { resolve: { scale: Object.fromEntries(shared) } } : {}),
  };
  const lines = (text: string) => text.split("<br>");
  const { text, subtitle } = title ?? {};
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    ...(text ? { title: { text: lines(text), ...(subtitle ? { subtitle: lines(subtitle.text) } : {}) } } : {}),
    ...(views.length === 0 ? { width: area.width, height: area.height, data: { values: [] }, mark: "point" } : body),
    config,
  } as TopLevelSpec;
}

/** Pixels of labels and legends. */
const labelSize = 12;

const config = {
  background: "#ffffff",
  font: fontFamily,
  padding: { left: 12, top: 12, right: 12, bottom: 10 },
  aria: false,
  view: { stroke: null },
  axis: {
    labelFontSize: labelSize,
    titleFontSize: 13,
    titleFontWeight: "normal",
    titlePadding: 8,
    labelColor: ink,
    titleColor: ink,
    gridColor: grid,
    domainColor: ink,
    tickColor: ink,
    labelLimit: 0,
    titleLimit: 0,
  },
  legend: {
    labelFontSize: labelSize,
    titleFontSize: 12,
    titleFontWeight: "normal",
    labelColor: ink,
    titleColor: ink,
    labelLimit: 0,
    titleLimit: 0,
    symbolOpacity: 1,
    symbolSize: 100,
    labelOffset: 8,
  },
  title: {
    anchor: "start",
    frame: "bounds",
    fontSize: 17,
    subtitleFontSize: 13,
    color: ink,
    subtitleColor: faint,
    subtitlePadding: 6,
    offset: 12,
    limit: 0,
  },
};

/** Distinct domains in rising order; panels of a row or a column have equal ones. */
function sorted(domains: readonly Ends[]): Ends[] {
  return [...new Map(domains.map((domain) => [domain[0], domain])).values()].sort((a, b) => a[0] - b[0]);
}

function lengthOf([from, to]: Ends, size: number): number {
  return Math.trunc((to - from) * size);
}

/** Pixels between the first two of several domains. */
function gapOf([first, second]: readonly Ends[], size: number): number {
  return second === undefined ? 0 : lengthOf([first[1], second[0]], size);
}

/** A layer without data, whose scales are the legend: so each trace may draw itself without regard to the others. */
function legendLayer(data: readonly Trace[], layout: Layout): Json[] {
  const { names, columns } = legendOf(data, layout);
  if (names.length === 0) return [];
  const traces = names.map((name) => data.find((trace) => trace.name === name && trace.showlegend !== false)!);
  const legend = { title: null, orient: "bottom", direction: "horizontal", columns, columnPadding: 14, offset: 14 };
  const channel = (of: (trace: Trace, isLine: boolean) => unknown) => {
    const range = traces.map((trace) => of(trace, trace.type === "scatter" && !trace.mode.includes("markers")));
    return { field: "name", type: "nominal", scale: { domain: names, range }, legend };
  };
  return [{
    data: { values: [] },
    mark: { type: "point", strokeWidth: 2, opacity: 1 },
    encoding: {
      fill: channel((trace, isLine) => isLine ? "transparent" : trace.marker?.color),
      stroke: channel((trace, isLine) => isLine && trace.type === "scatter" ? trace.line?.color : edgeColor(trace)),
      shape: channel((trace, isLine) =>
        isLine ? "M-1.8,0L1.8,0" : trace.type === "bar" ? "square" : trace.marker?.symbol ?? "circle"
      ),
      strokeDash: channel((trace, isLine) =>
        dashes[isLine && trace.type === "scatter" ? trace.line?.dash ?? "solid" : "solid"]
      ),
    },
  }];
}

interface Place {
  readonly layout: Layout;
  readonly size: { readonly width: number; readonly height: number };
  /** Layers that draw the legend. */
  readonly legend: readonly Json[];
}

function view({ x, y, traces }: Panel, { layout, size, legend }: Place): Json {
  const title = layout.annotations?.find(({ xref }) => xref === `${x} domain`)?.text;
  const bars = [...new Set(traces.filter(({ type }) => type === "bar").map(({ name }) => name ?? ""))];
  const channels: Channels = {
    x: channelOf(x, traces, { layout, length: size.width }),
    y: channelOf(y, traces, { layout, length: size.height }),
    band: size.width / (categoriesOf(layout, x, traces)?.length ?? 1),
    ...(bars.length > 1 ? { xOffset: { field: "name", scale: { domain: bars, paddingInner: 0.1 } } } : {}),
  };
  return {
    ...(title === undefined ? {} : { title: { text: title, fontSize: 13, frame: "group", offset: 8 } }),
    layer: [...traces.flatMap((trace) => layersOf(trace, channels)), ...legend],
  };
}

/** The channel of an axis, without its field: type, scale and labels. */
function channelOf(
  ref: string,
  traces: readonly Trace[],
  { layout, length }: { readonly layout: Layout; readonly length: number },
): Json {
  const axis = axisOf(layout, ref);
  const common = { labels: axis.showticklabels ?? true, grid: axis.showgrid ?? true };
  const title = axis.title?.text ?? null;
  const categories = categoriesOf(layout, ref, traces);
  if (categories !== undefined) {
    const domain = ref[0] === "y" && axis.autorange !== "reversed" ? [...categories].reverse() : categories;
    const isX = ref[0] === "x";
    const lines = Math.max(1, ...categories.map((label) => label.split("<br>").length));
    // Vega sets the first line of a label beside its dot, not the middle of all.
    const offset = isX ? {} : { labelOffset: -7 * (lines - 1) };
    const labels = { ...labelsOf(categories, isX ? length / categories.length : Infinity), ...offset };
    return { type: "nominal", scale: { domain }, title, axis: { ...common, ticks: false, labelPadding: 6, ...labels } };
  }
  const isLog = axis.type === "log";
  const zero = axis.rangemode === "tozero" || (ref[0] === "y" && traces.some(({ type }) => type === "bar"));
  // Points do not lie on the frame.
  const padding = traces.some(({ type, mode }) => type === "scatter" && String(mode).includes("markers")) ? 12 : 0;
  const scale = {
    ...(isLog ? { type: "log", nice: false } : { zero }),
    ...(axis.range
      ? { domain: isLog ? axis.range.map((end) => 10 ** end) : axis.range, nice: false }
      : padding > 0
      ? { padding, nice: false }
      : {}),
  };
  return {
    type: "quantitative",
    title,
    scale,
    axis: { ...common, tickCount: Math.ceil(length / (ref[0] === "x" ? 70 : 40)), ...ticksOf(axis) },
  };
}

/** Category labels, broken at spaces where they are wider than their place, or all slanted when that does not help. */
function labelsOf(categories: readonly string[], width: number): Json {
  const fit = (line: string) => textWidth(line, labelSize) <= width - 4;
  const broken = categories.map((label) =>
    label.split("<br>").flatMap((line) => fit(line) ? [line] : brokenLines(line, width - 4, labelSize))
  );
  if (!broken.flat().every(fit)) return { labelAngle: -35 };
  const lines = Object.fromEntries(categories.map((label, i) => [label, broken[i]]));
  return { labelAngle: 0, labelExpr: `${JSON.stringify(lines)}[datum.label]` };
}

function ticksOf({ tickvals, zeroline }: Axis): Json {
  const condition = { test: "datum.value === 0", value: ink };
  return {
    ...(tickvals ? { values: tickvals } : {}),
    ...(zeroline ? { gridColor: { condition, value: grid } } : {}),
  };
}
