/** Charts for the analysis around the paper: errors by layer, loss against bits, training curves, distributions. */
import { type Figure, figure } from "./figure.ts";
import { distinct, type Labels, measuredCurves, same, titles } from "./figure_parts.ts";
import { type Row, summarise } from "./rows.ts";
import { type HeatmapTrace, type HistogramTrace, palette, type ScatterTrace, sequential } from "./spec.ts";

/**
 * A value per pair of labels, as colours: relative errors by layer and linear. Records that repeat a pair are
 * averaged; absent pairs stay grey.
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
    colorbar: { title: { text: options.value ?? "relative output error", side: "right" } },
    text: z.map((line) => line.map((value) => value === null ? "" : value.toFixed(digits))),
    texttemplate: "%{text}",
    colorscale: sequential,
  };
  return figure({
    data: [trace],
    layout: {
      ...titles(options, "Error by layer"),
      width: Math.max(560, 190 + columns.length * 76),
      height: 150 + Math.max(6, lines.length) * 30,
      xaxis: { type: "category", title: { text: x } },
      yaxis: { type: "category", title: { text: y }, autorange: "reversed" },
    },
  });
}

/**
 * What is lost against what is stored: one series per method, error bars over seeds, rows at 16 bits or more as a
 * dashed line.
 */
export function bitsVersusLoss(rows: readonly Row[], options: Labels & { readonly series?: string } = {}): Figure {
  const { series = "method", scale = 1, label = same } = options;
  const stored = rows.filter(({ bitsPerWeight }) => bitsPerWeight < 16);
  const data = measuredCurves(stored, series, "bitsPerWeight", { scale, label });
  const bits = stored.map(({ bitsPerWeight }) => bitsPerWeight);
  const ends = [Math.min(...bits), Math.max(...bits)];
  for (const { keys, mean } of summarise(rows.filter(({ bitsPerWeight }) => bitsPerWeight >= 16), [series])) {
    const line = { color: "#444444", dash: "dash" } as const;
    data.push({
      type: "scatter",
      mode: "lines",
      name: label(String(keys[series])),
      x: ends,
      y: ends.map(() => mean * scale),
      line,
    });
  }
  return figure({
    data,
    layout: {
      ...titles(options, "Loss against stored bits"),
      width: 820,
      height: 520,
      xaxis: { title: { text: "stored bits per weight, everything counted" } },
      yaxis: { title: { text: options.value ?? rows[0]?.metric ?? "loss" } },
    },
  });
}

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
      width: 820,
      height: 440,
      xaxis: { title: { text: options.steps ?? "step" } },
      yaxis: {
        title: { text: options.value ?? "loss (nats per masked token)" },
        type: options.logarithmic ? "log" : "linear",
      },
    },
  });
}

/** Distributions over one another, in common bins. */
export function histograms(
  sets: readonly { readonly name: string; readonly values: ArrayLike<number> }[],
  options: Labels & { readonly bins?: number; readonly quantity?: string } = {},
): Figure {
  const { bins = 40, scale = 1 } = options;
  let [start, end] = [Infinity, -Infinity];
  const scaled = sets.map(({ name, values }) => ({ name, x: Array.from(values, (v) => v * scale) }));
  for (const { x } of scaled) for (const v of x) [start, end] = [Math.min(start, v), Math.max(end, v)];
  if (!(end > start)) [start, end] = Number.isFinite(start) ? [start - 0.5, start + 0.5] : [0, 1];
  const xbins = { start, end, size: (end - start) / bins };
  const data = scaled.map(({ name, x }, i): HistogramTrace => {
    return {
      type: "histogram",
      name,
      x,
      xbins,
      histnorm: "probability density",
      marker: { color: palette[i % palette.length], opacity: 0.5 },
    };
  });
  return figure({
    data,
    layout: {
      ...titles(options, "Distribution"),
      width: 760,
      height: 420,
      barmode: "overlay",
      xaxis: { title: { text: options.quantity ?? "value" } },
      yaxis: { title: { text: options.value ?? "density" } },
    },
  });
}
