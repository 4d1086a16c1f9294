/** The marks of a trace as layers of Vega-Lite, each with its own data and constant looks. */
import { grid, ink, textWidth } from "../look.ts";
import type { BarTrace, ErrorBars, HeatmapTrace, ScatterTrace, Trace } from "../spec.ts";

export type Json = Readonly<Record<string, unknown>>;

/** The axes of a panel as channels without fields. */
export interface Channels {
  readonly x: Json;
  readonly y: Json;
  /** Sets bars of one category side by side. */
  readonly xOffset?: Json;
  /** Pixels of a category of x. */
  readonly band: number;
}

/** Pixels of dash and gap. */
export const dashes = { solid: [1, 0], dash: [6, 4], dot: [2, 3] } as const;

/** The colour of a trace's outline. */
export const edgeColor = ({ marker }: Trace): string | undefined => marker?.line?.color ?? marker?.color;

/** The layers of a trace. Throws `TypeError` on a type that only Plotly has: code in notebooks is not type-checked. */
export function layersOf(trace: Trace, channels: Channels): Json[] {
  if (trace.type === "bar") return barLayers(trace, channels);
  if (trace.type === "scatter") return scatterLayers(trace, channels);
  if (trace.type === "heatmap") return heatmapLayers(trace, channels);
  throw new TypeError(`Cannot draw a "${(trace as Trace).type}" trace: wanted bar, scatter or heatmap`);
}

function barLayers({ marker, name = "", x, y, text, error_y, opacity = 1 }: BarTrace, channels: Channels): Json[] {
  const values = x.flatMap((place, i) =>
    y[i] === null ? [] : { x: place, y: y[i], name, text: text?.[i], ...intervalOf("y", y[i], error_y, i) }
  );
  const encoding = encodingOf(channels);
  const line = { stroke: marker?.line?.color, strokeWidth: marker?.line?.width };
  const look = { fill: marker?.color, ...line, opacity: opacity * (marker?.opacity ?? 1) };
  return [
    layer(values, { type: "bar", ...look }, encoding),
    ...errorLayer("y", values, error_y, encoding, ink),
    ...(text ? [layer(values, { type: "text", dy: -8, fontSize: 11 }, { ...encoding, text: { field: "text" } })] : []),
  ];
}

function scatterLayers(trace: ScatterTrace, channels: Channels): Json[] {
  const { marker, line, mode, x, y, error_x, error_y, fill, text, opacity = 1 } = trace;
  const all = x.map((place, i) => ({
    x: place,
    y: y[i],
    i,
    ...(mode.includes("text") ? { text: text?.[i] } : {}),
    ...intervalOf("x", place, error_x, i),
    ...intervalOf("y", y[i], error_y, i),
  }));
  const points = all.filter(({ x, y }) => x !== null && y !== null);
  const encoding = encodingOf(channels);
  const edge = edgeColor(trace) ?? ink;
  const interpolate = line?.shape === "hv" ? "step-after" : "linear";
  const area = { type: "area", interpolate, fill: line?.color, fillOpacity: 0.4, opacity };
  const stroke = { stroke: line?.color, strokeWidth: line?.width ?? 2, strokeDash: dashes[line?.dash ?? "solid"] };
  const point = {
    type: "point",
    shape: marker?.symbol ?? "circle",
    size: (marker?.size ?? 8) ** 2,
    fill: marker?.color,
    stroke: edge,
    strokeWidth: marker?.line?.width ?? 0,
    opacity: opacity * (marker?.opacity ?? 1),
  };
  // The first of a line has the axis on its left.
  const labels = [points.slice(0, 1), points.slice(1)].map((some, k) =>
    layer(some, { type: "text", align: k === 0 ? "left" : "right", dx: k === 0 ? 4 : -6, dy: -7, fontSize: 10 }, {
      ...encoding,
      text: { field: "text" },
    })
  );
  const inOrder = { ...encoding, order: { field: "i", type: "quantitative" } };
  return [
    ...(fill === "tozeroy" ? [layer(all, area, { ...encoding, y: { ...channels.y, field: "y", stack: null } })] : []),
    ...(mode.includes("lines") ? [layer(all, { type: "line", interpolate, ...stroke, opacity }, inOrder)] : []),
    ...errorLayer("x", points, error_x, encoding, edge),
    ...errorLayer("y", points, error_y, encoding, edge),
    ...(mode.includes("markers") ? [layer(points, point, encoding)] : []),
    ...(mode.includes("text") ? labels : []),
  ];
}

function heatmapLayers(trace: HeatmapTrace, channels: Channels): Json[] {
  const { x, y, z, zmin, zmax, colorscale, colorbar, text } = trace;
  const cells = y.flatMap((line, r) =>
    x.map((column, c) => ({ x: column, y: line, z: z[r][c], text: text?.[r][c] ?? "" }))
  );
  const full = cells.filter(({ z }) => z !== null);
  const encoding = encodingOf(channels);
  const steps = colorbar?.tickvals;
  const colorAt = (value: number) => colorscale.findLast(([at]) => at <= (value - zmin) / (zmax - zmin))?.[1];
  const scale = steps
    ? { domain: steps, range: steps.map(colorAt) }
    : { domain: colorscale.map(([at]) => zmin + at * (zmax - zmin)), range: colorscale.map(([, color]) => color) };
  const legend = {
    title: colorbar?.title?.text ?? null,
    orient: "bottom",
    direction: "horizontal",
    symbolType: "square",
    symbolSize: 200,
    tickCount: 5,
    offset: 14,
  };
  const color = { field: "z", type: steps ? "ordinal" : "quantitative", scale, legend };
  const fontSize = Math.min(11, 11 * (channels.band - 2) / Math.max(1, ...full.map(({ text }) => textWidth(text, 11))));
  const onDark = { test: `datum.z > ${zmin + 0.55 * (zmax - zmin)}`, value: "#ffffff" };
  const label = { ...encoding, text: { field: "text" }, color: { condition: onDark, value: ink } };
  return [
    layer(cells.filter(({ z }) => z === null), { type: "rect", fill: grid }, encoding),
    layer(full, { type: "rect", stroke: "#ffffff" }, { ...encoding, color }),
    ...(fontSize < 7 ? [] : [layer(full, { type: "text", fontSize }, label)]),
  ];
}

function layer(values: readonly Json[], mark: Json, encoding: Json): Json {
  return { data: { values }, mark, encoding };
}

function encodingOf({ x, y, xOffset }: Channels): Json {
  return { x: { ...x, field: "x" }, y: { ...y, field: "y" }, ...(xOffset ? { xOffset } : {}) };
}

/** Both ends of an interval around a value, or nothing where there is none. */
function intervalOf(axis: "x" | "y", value: unknown, error: ErrorBars | undefined, i: number): Json {
  const above = error?.array[i] ?? null;
  if (above === null || typeof value !== "number") return {};
  return { [`${axis}Low`]: value - (error?.arrayminus?.[i] ?? above), [`${axis}High`]: value + above };
}

function errorLayer(
  axis: "x" | "y",
  values: readonly Json[],
  error: ErrorBars | undefined,
  encoding: Json,
  otherwise: string,
): Json[] {
  const whole = values.filter((value) => `${axis}Low` in value);
  if (error === undefined || whole.length === 0) return [];
  const from = { ...encoding[axis] as Json, field: `${axis}Low` };
  const ends = { [axis]: from, [`${axis}2`]: { field: `${axis}High` } };
  return [layer(whole, { type: "rule", color: error.color ?? otherwise, strokeWidth: 1.4 }, { ...encoding, ...ends })];
}
