/** Curves over steps, and distributions. */
import { type Figure, figure } from "./figure.ts";
import { distinct, type Labels, same, titles } from "./figure_parts.ts";
import type { ScatterTrace } from "./spec.ts";

/** Curves of a measure over steps: training, validation, or anything else named by `series`. */
export function lossCurve(
  points: readonly { readonly step: number; readonly value: number; readonly series?: string }[],
  options: Labels & { readonly steps?: string; readonly logarithmic?: boolean } = {},
): Figure {
  const { scale = 1, label = same } = options;
  const data = distinct(points.map(({ series }) => series ?? "loss")).map((name): ScatterTrace => {
    const own = points.filter(({ series }) => (series ?? "loss") === name);
    return {
      type: "scatter",
      mode: "lines",
      name: label(name),
      x: own.map(({ step }) => step),
      y: own.map(({ value }) => value * scale),
    };
  });
  return figure({
    data,
    layout: {
      ...titles(options, "Training"),
      height: 420,
      xaxis: { title: { text: options.steps ?? "step" } },
      yaxis: {
        title: { text: options.value ?? "loss (nats per masked token)" },
        type: options.logarithmic ? "log" : "linear",
      },
    },
  });
}

/** Distributions over one another, as densities in common bins. */
export function histograms(
  sets: readonly { readonly name: string; readonly values: ArrayLike<number> }[],
  options: Labels & { readonly bins?: number; readonly quantity?: string } = {},
): Figure {
  const { bins = 40, scale = 1 } = options;
  let [start, end] = [Infinity, -Infinity];
  const scaled = sets.map(({ name, values }) => ({ name, x: Array.from(values, (v) => v * scale) }));
  for (const { x } of scaled) for (const v of x) [start, end] = [Math.min(start, v), Math.max(end, v)];
  if (!(end > start)) [start, end] = Number.isFinite(start) ? [start - 0.5, start + 0.5] : [0, 1];
  const size = (end - start) / bins;
  const edges = Array.from({ length: bins + 1 }, (_, i) => start + i * size);
  const data = scaled.map(({ name, x }): ScatterTrace => {
    const counts = edges.map(() => 0);
    for (const value of x) counts[Math.min(bins - 1, Math.floor((value - start) / size))]++;
    const y = counts.map((count) => count / Math.max(1, x.length) / size);
    return { type: "scatter", mode: "lines", name, x: edges, y, fill: "tozeroy", line: { shape: "hv", width: 1.4 } };
  });
  return figure({
    data,
    layout: {
      ...titles(options, "Distribution", sets.map(({ name, values }) => `${name}: n = ${values.length}`).join("; ")),
      height: 400,
      xaxis: { title: { text: options.quantity ?? "value" } },
      yaxis: { title: { text: options.value ?? "density" }, rangemode: "tozero" },
    },
  });
}
