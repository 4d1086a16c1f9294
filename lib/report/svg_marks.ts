/** The marks of a panel: bars, lines and points, heat map cells, histogram bars. */
import {
  type BarTrace,
  type HeatmapTrace,
  type HistogramTrace,
  palette,
  type ScatterTrace,
  sequential,
  type Trace,
} from "./spec.ts";
import { histogramCounts, type Panel } from "./svg_panels.ts";
import { color, ink, px, text, textWidth } from "./svg_text.ts";

/** How a trace is painted: its colour, and the hatching pattern's id if it has one. */
export interface Paint {
  readonly color: string;
  readonly fill: string;
  readonly opacity: number;
}

/** The paint of trace `i`; `id` prefixes the ids of the document. */
export function paintOf(trace: Trace, i: number, id: string): Paint {
  const line = trace.type === "scatter" ? trace.line?.color : undefined;
  const base = color(line ?? trace.marker?.color, palette[i % palette.length]);
  const hatched = trace.marker?.pattern?.shape === "/";
  return {
    color: base,
    fill: hatched ? `url(#${id}h${base.replace(/\W/g, "")})` : base,
    opacity: trace.marker?.opacity ?? 1,
  };
}

/** The hatching patterns that the traces need: a pale ground with strokes of the trace's colour. */
export function patterns(traces: readonly Trace[], id: string): string {
  const colors = new Set(
    traces.flatMap((trace, i) => trace.marker?.pattern?.shape === "/" ? [paintOf(trace, i, id).color] : []),
  );
  return [...colors].map((c) =>
    `<pattern id="${id}h${
      c.replace(/\W/g, "")
    }" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">` +
    `<rect width="5" height="5" fill="#fff"/><rect width="5" height="5" fill="${c}" fill-opacity="0.18"/>` +
    `<rect width="1.8" height="5" fill="${c}"/></pattern>`
  ).join("");
}

/** All marks of a panel. `indexOf` gives a trace's place in the figure, which decides its colour. */
export function marks(panel: Panel, indexOf: (trace: Trace) => number, id: string): string {
  const bars = panel.traces.filter((trace) => trace.type === "bar");
  return panel.traces.map((trace) => {
    const paint = paintOf(trace, indexOf(trace), id);
    if (trace.type === "bar") return barMarks(panel, trace, bars.indexOf(trace), bars.length, paint);
    if (trace.type === "scatter") return scatterMarks(panel, trace, paint);
    return trace.type === "heatmap" ? heatmapMarks(panel, trace) : histogramMarks(panel, trace, paint);
  }).join("");
}

function barMarks({ x, y }: Panel, trace: BarTrace, place: number, count: number, paint: Paint): string {
  const slot = 0.8 * x.band / count;
  const width = slot * 0.9;
  const parts: string[] = [];
  const zero = y.map(0);
  trace.x.forEach((category, i) => {
    const value = trace.y[i];
    if (value === null || value === undefined) return;
    const middle = x.map(category) + (place - (count - 1) / 2) * slot;
    const top = y.map(value);
    const box = `x="${px(middle - width / 2)}" y="${px(Math.min(top, zero))}" width="${px(width)}" height="${
      px(Math.abs(zero - top))
    }"`;
    parts.push(
      `<rect ${box} fill="${paint.fill}" stroke="${paint.color}" stroke-width="0.8" fill-opacity="${
        px(paint.opacity)
      }"/>`,
    );
    const error = trace.error_y?.array[i] ?? 0;
    if (error > 0) {
      parts.push(errorBar(middle, y.map(value - error), y.map(value + error), Math.min(4, width / 3), ink));
    }
    const label = trace.text?.[i];
    if (!label) return;
    const above = Math.min(top, y.map(value + error)) - 4;
    const fits = textWidth(label, 10) < Math.max(slot, count === 1 ? x.band : 0);
    parts.push(
      fits
        ? text(middle, above, label, { size: 10, anchor: "middle" })
        : text(middle, above, label, { size: 10, rotate: -90, baseline: "middle" }),
    );
  });
  return parts.join("");
}

function scatterMarks({ x, y }: Panel, trace: ScatterTrace, paint: Paint): string {
  const points = trace.x.map((value, i) => {
    const raw = trace.y[i];
    return raw === null || raw === undefined
      ? undefined
      : { x: x.map(value), y: y.map(raw), raw, error: trace.error_y?.array[i] ?? 0 };
  });
  const parts: string[] = [];
  if (trace.mode.includes("lines")) {
    let path = "";
    let pen = "M";
    for (const point of points) {
      const drawn = point && Number.isFinite(point.x + point.y);
      if (drawn) path += `${pen}${px(point.x)} ${px(point.y)}`;
      pen = drawn ? "L" : "M";
    }
    parts.push(
      `<path d="${path}" fill="none" stroke="${paint.color}" ${stroke(trace)} stroke-linejoin="round" stroke-opacity="${
        px(paint.opacity)
      }"/>`,
    );
  }
  for (const point of points) {
    if (!point || !Number.isFinite(point.x + point.y)) continue;
    if (point.error > 0) {
      parts.push(errorBar(point.x, y.map(point.raw - point.error), y.map(point.raw + point.error), 4, paint.color));
    }
    if (trace.mode.includes("markers")) parts.push(marker(point.x, point.y, trace, paint));
  }
  return parts.join("");
}

/** Stroke attributes of a trace's line. */
export function stroke({ line }: ScatterTrace): string {
  const dash = line?.dash === "dash"
    ? ' stroke-dasharray="7 4"'
    : line?.dash === "dot"
    ? ' stroke-dasharray="2 3"'
    : "";
  return `stroke-width="${px(line?.width ?? 2)}"${dash}`;
}

/** One marker of a trace at (x, y). */
export function marker(x: number, y: number, trace: ScatterTrace, paint: Paint): string {
  const r = (trace.marker?.size ?? 8) / 2;
  const shape = (d: string) => `<path d="${d}" fill="${paint.color}" stroke="#fff" stroke-width="0.8"/>`;
  const at = (dx: number, dy: number) => `${px(x + dx * r)} ${px(y + dy * r)}`;
  switch (trace.marker?.symbol) {
    case "square":
      return shape(`M${at(-0.9, -0.9)}L${at(0.9, -0.9)}L${at(0.9, 0.9)}L${at(-0.9, 0.9)}Z`);
    case "diamond":
      return shape(`M${at(0, -1.25)}L${at(1.25, 0)}L${at(0, 1.25)}L${at(-1.25, 0)}Z`);
    case "triangle-up":
      return shape(`M${at(0, -1.15)}L${at(1.1, 0.8)}L${at(-1.1, 0.8)}Z`);
    case "x":
      return `<path d="M${at(-0.9, -0.9)}L${at(0.9, 0.9)}M${at(-0.9, 0.9)}L${
        at(0.9, -0.9)
      }" stroke="${paint.color}" stroke-width="2.2"/>`;
    case "circle-open":
      return `<circle cx="${px(x)}" cy="${px(y)}" r="${
        px(r)
      }" fill="#fff" stroke="${paint.color}" stroke-width="1.8"/>`;
    default:
      return `<circle cx="${px(x)}" cy="${px(y)}" r="${
        px(r)
      }" fill="${paint.color}" stroke="#fff" stroke-width="0.8"/>`;
  }
}

function errorBar(x: number, low: number, high: number, half: number, ink: string): string {
  if (!Number.isFinite(low + high)) return ""; // below zero on a log axis
  const [a, b, l, r] = [px(low), px(high), px(x - half), px(x + half)];
  return `<path d="M${px(x)} ${a}V${b}M${l} ${a}H${r}M${l} ${b}H${r}" stroke="${ink}" stroke-width="1.3" fill="none"/>`;
}

function histogramMarks({ x, y }: Panel, trace: HistogramTrace, paint: Paint): string {
  const zero = y.map(0);
  return histogramCounts(trace).map((count, i) => {
    if (count === 0) return "";
    const left = x.map(trace.xbins.start + i * trace.xbins.size);
    const right = x.map(Math.min(trace.xbins.end, trace.xbins.start + (i + 1) * trace.xbins.size));
    const box = `x="${px(left)}" y="${px(y.map(count))}" width="${px(right - left)}" height="${
      px(zero - y.map(count))
    }"`;
    return `<rect ${box} fill="${paint.fill}" fill-opacity="${
      px(paint.opacity)
    }" stroke="${paint.color}" stroke-width="0.6"/>`;
  }).join("");
}

function heatmapMarks({ x, y }: Panel, trace: HeatmapTrace): string {
  const [lo, hi] = heatRange(trace);
  const parts: string[] = [];
  trace.z.forEach((line, r) =>
    line.forEach((value, c) => {
      const [left, top] = [x.map(trace.x[c]) - x.band / 2, y.map(trace.y[r]) - y.band / 2];
      const fill = value === null ? "#e4e4e4" : heatColor(trace, (value - lo) / (hi - lo || 1));
      parts.push(
        `<rect x="${px(left)}" y="${px(top)}" width="${px(x.band)}" height="${
          px(y.band)
        }" fill="${fill}" stroke="#fff" stroke-width="0.8"/>`,
      );
      const label = trace.text?.[r]?.[c];
      if (!label || textWidth(label, 11) > x.band - 4 || y.band < 14) return;
      const dark = value !== null && luminance(fill) < 0.5;
      parts.push(
        text(left + x.band / 2, top + y.band / 2, label, {
          size: 11,
          anchor: "middle",
          baseline: "middle",
          fill: dark ? "#fff" : ink,
        }),
      );
    })
  );
  return parts.join("");
}

/** The values at the ends of a heat map's colours. */
export function heatRange({ z, zmin, zmax }: HeatmapTrace): [number, number] {
  let [lo, hi] = [Infinity, -Infinity];
  for (const line of z) {
    for (const value of line) {
      if (value === null) continue;
      lo = Math.min(lo, value);
      hi = Math.max(hi, value);
    }
  }
  if (!(hi >= lo)) [lo, hi] = [0, 1];
  return [zmin ?? lo, zmax ?? hi];
}

/** The colour at `t` in 0 to 1 of a heat map's scale, interpolated between its stops (six-digit codes). */
export function heatColor({ colorscale = sequential }: HeatmapTrace, t: number): string {
  const at = Math.min(1, Math.max(0, t));
  const next = Math.max(1, colorscale.findIndex(([stop]) => stop >= at));
  const [[a, from], [b, to]] = [colorscale[next - 1], colorscale[next]];
  const share = (at - a) / (b - a || 1);
  const mixed = channels(from).map((v, i) => v + share * (channels(to)[i] - v));
  return `#${mixed.map((v) => Number(v.toFixed(0)).toString(16).padStart(2, "0")).join("")}`;
}

function channels(code: string): number[] {
  return [1, 3, 5].map((i) => parseInt(code.slice(i, i + 2), 16));
}

function luminance(code: string): number {
  const [r, g, b] = channels(code);
  return (0.299 * r + 0.587 * g + 0.114 * b) / 255;
}
