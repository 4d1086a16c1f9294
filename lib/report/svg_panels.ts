/** Where everything of a figure goes: the panels, their scales and their boxes. */
import { categoryScale, linearScale, logScale, type Scale } from "./scale.ts";
import { type Axis, axisOf, type FigureSpec, type HistogramTrace, type Trace } from "./spec.ts";

export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** A pair of axes with the traces drawn on them. */
export interface Panel {
  readonly xref: string;
  readonly yref: string;
  readonly xaxis: Axis;
  readonly yaxis: Axis;
  readonly x: Scale;
  readonly y: Scale;
  readonly box: Box;
  readonly traces: readonly Trace[];
}

/** The panels of a figure inside `area`, in order of first use; each axis is scaled to all traces that share it. */
export function panelsOf(spec: FigureSpec, area: Box): Panel[] {
  const refs = new Map<string, { xref: string; yref: string; traces: Trace[] }>();
  for (const trace of spec.data) {
    const [xref, yref] = [trace.xaxis ?? "x", trace.yaxis ?? "y"];
    const key = `${xref} ${yref}`;
    if (!refs.has(key)) refs.set(key, { xref, yref, traces: [] });
    refs.get(key)!.traces.push(trace);
  }
  const sharing = (axis: "xaxis" | "yaxis", ref: string) =>
    spec.data.filter((trace) => (trace[axis] ?? axis[0]) === ref);
  return [...refs.values()].map(({ xref, yref, traces }) => {
    const [xaxis, yaxis] = [axisOf(spec.layout, xref), axisOf(spec.layout, yref)];
    const [x0, x1] = xaxis.domain ?? [0, 1];
    const [y0, y1] = yaxis.domain ?? [0, 1];
    const [width, height] = [area.right - area.left, area.bottom - area.top];
    const box = {
      left: area.left + x0 * width,
      right: area.left + x1 * width,
      top: area.bottom - y1 * height,
      bottom: area.bottom - y0 * height,
    };
    const x = scaleOf("x", xaxis, sharing("xaxis", xref), box.left, box.right, (box.right - box.left) / 75);
    const y = scaleOf("y", yaxis, sharing("yaxis", yref), box.bottom, box.top, (box.bottom - box.top) / 42);
    return { xref, yref, xaxis, yaxis, x, y, box, traces };
  });
}

/**
 * Bar heights of a histogram, one per bin of `xbins`; a number on an inner edge belongs to the bin that begins there.
 */
export function histogramCounts({ x, xbins, histnorm = "" }: HistogramTrace): number[] {
  const bins = Math.max(1, Math.ceil((xbins.end - xbins.start) / xbins.size - 1e-9));
  const counts = new Array<number>(bins).fill(0);
  for (const value of x) {
    // The last bin is closed; the minimum also catches a quotient that rounds up to the end.
    if (value >= xbins.start && value <= xbins.end) {
      counts[Math.min(bins - 1, Math.floor((value - xbins.start) / xbins.size))]++;
    }
  }
  const unit = histnorm === "" ? 1 : histnorm === "probability" ? x.length : x.length * xbins.size;
  return counts.map((count) => count / Math.max(unit, Number.MIN_VALUE));
}

function scaleOf(
  which: "x" | "y",
  axis: Axis,
  traces: readonly Trace[],
  from: number,
  to: number,
  count: number,
): Scale {
  const reversed = axis.autorange === "reversed";
  const [start, end] = reversed ? [to, from] : [from, to];
  if (isCategory(which, axis, traces)) {
    const seen = new Map<string, string | number>();
    for (const trace of traces) for (const value of labelsOf(which, trace)) seen.set(String(value), value);
    return categoryScale([...seen.values()], start, end);
  }
  const log = axis.type === "log";
  let [lo, hi] = axis.range ? (log ? axis.range.map((p) => 10 ** p) : axis.range) : paddedRange(which, traces, log);
  if (!(hi > lo)) [lo, hi] = log ? [lo / 2, lo * 2] : [lo - 0.5, lo + 0.5];
  const scale = log ? logScale(lo, hi, start, end, count) : linearScale(lo, hi, start, end, count);
  if (!axis.tickvals) return scale;
  const ticks = axis.tickvals.map((value, i) => ({ at: scale.map(value), label: axis.ticktext?.[i] ?? String(value) }));
  return { ...scale, ticks: ticks.filter(({ at }) => Number.isFinite(at)) };
}

function isCategory(which: "x" | "y", axis: Axis, traces: readonly Trace[]): boolean {
  if (axis.type) return axis.type === "category";
  return traces.some((trace) => trace.type === "heatmap" || (which === "x" && trace.type === "bar")) ||
    traces.some((trace) => labelsOf(which, trace).some((value) => typeof value === "string"));
}

function labelsOf(which: "x" | "y", trace: Trace): readonly (string | number)[] {
  if (which === "x") return trace.x;
  return trace.type === "histogram" ? [] : trace.y.filter((value) => value !== null);
}

function paddedRange(which: "x" | "y", traces: readonly Trace[], log: boolean): [number, number] {
  const values: number[] = [];
  let fromZero = false;
  let labels = false;
  for (const trace of traces) {
    if (trace.type === "histogram") {
      if (which === "x") values.push(trace.xbins.start, trace.xbins.end);
      else values.push(...histogramCounts(trace));
      fromZero ||= which === "y";
    } else if (which === "x") {
      values.push(...trace.x.map(Number));
    } else if (trace.type !== "heatmap") {
      trace.y.forEach((value, i) => {
        const error = trace.error_y?.array[i] ?? 0;
        if (value !== null) values.push(value - error, value + error);
      });
      fromZero ||= trace.type === "bar";
      labels ||= trace.type === "bar" && trace.text !== undefined;
    }
  }
  const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (fromZero && !log) usable.push(0);
  if (usable.length === 0) return log ? [1, 10] : [0, 1];
  let lo = Infinity;
  let hi = -Infinity;
  for (const value of usable) {
    lo = Math.min(lo, value);
    hi = Math.max(hi, value);
  }
  if (log) return [lo / (hi / lo) ** 0.05, hi * (hi / lo) ** 0.05];
  const pad = (hi - lo) * (which === "x" && traces.every((trace) => trace.type === "histogram") ? 0 : 0.05);
  const head = labels ? pad * 3 : pad;
  return [fromZero && lo === 0 ? 0 : lo - pad, fromZero && hi === 0 ? 0 : hi + head];
}
