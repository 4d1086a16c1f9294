/** Curves of what falls while something is tuned. */
import { type Figure, figure } from "./figure.ts";
import { basisOf, distinct, type Labels, same, stacked, symbols, titles } from "./figure_parts.ts";
import { colorsOf } from "./look.ts";
import type { Row } from "./rows.ts";
import type { Axis, ScatterTrace } from "./spec.ts";

export interface CurveOptions extends Labels {
  /** The field along the horizontal axis; "step" by default. */
  readonly x?: string;
  /** The field that names a curve; "label" by default. */
  readonly series?: string;
  /** Values on a linear axis. */
  readonly linear?: boolean;
}

/**
 * Values against steps, a curve for each series, a panel for each task, on a logarithmic axis.
 *
 * @example
 * ```ts
 * import { curves, decodeRows } from "quant-dllm";
 *
 * const rows = decodeRows(await Deno.readTextFile("data/results/tuning_curves.jsonl"));
 * const svg = await curves(rows.filter(({ study }) => study === "tuning"), { value: "KL, nats" }).toSvg();
 * ```
 */
export function curves(rows: readonly Row[], options: CurveOptions = {}): Figure {
  const { x = "step", series = "label", label = same, scale = 1 } = options;
  const names = distinct(rows.map((row) => String(row[series]))), colors = colorsOf(names);
  const panels = [...Map.groupBy(rows, ({ task }) => task)], domains = stacked(panels.map(() => 1), 0.1);
  const axes: Record<string, Axis> = {};
  const data = panels.flatMap(([task, own], p) => {
    const ref = p === 0 ? "" : String(p + 1);
    axes[`xaxis${ref}`] = p === panels.length - 1 ? { title: { text: x } } : {};
    axes[`yaxis${ref}`] = {
      title: { text: `${options.value ?? own[0].metric}, ${task}` },
      domain: domains[p],
      ...(options.linear ? {} : { type: "log" as const }),
    };
    return names.flatMap((name, i): ScatterTrace[] => {
      const line = own.filter((row) => String(row[series]) === name).sort((a, b) => Number(a[x]) - Number(b[x]));
      if (line.length === 0) return [];
      return [{
        type: "scatter",
        mode: "lines+markers",
        name: label(name),
        showlegend: panels.every(([, rows], q) => q >= p || !rows.some((row) => String(row[series]) === name)),
        x: line.map((row) => Number(row[x])),
        y: line.map(({ value }) => value * scale),
        marker: { color: colors[i], size: 7, symbol: symbols[i % symbols.length] },
        line: { color: colors[i] },
        xaxis: `x${ref}`,
        yaxis: `y${ref}`,
      }];
    });
  });
  const height = 120 + 330 * panels.length;
  return figure({ data, layout: { ...titles(options, "On the way", basisOf(rows)), height, ...axes } });
}
