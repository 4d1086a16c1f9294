/** What the figures share: labels, what a figure rests on, traces from summaries, panels. */
import { ink, pale } from "./look.ts";
import type { PaperEntry, PaperNumbers } from "./paper.ts";
import type { Row, Summary } from "./rows.ts";
import type { Annotation, BarTrace, Layout, Marker, ScatterTrace } from "./spec.ts";

export interface Labels {
  readonly title?: string;
  /** By default what the figure rests on: seeds, items, counted bits. */
  readonly subtitle?: string;
  /** Names the panel of measured values. */
  readonly ours?: string;
  /** A shorter name for a method, task or setting. */
  readonly label?: (name: string) => string;
  /** Measured values are multiplied by this; 100 by default, fractions to percent. */
  readonly scale?: number;
  /** The title of the value axis. */
  readonly value?: string;
}

/** What stands under a figure's title unless the caller has better: error bars, seeds, items and counted bits of `rows`. */
export function basisOf(rows: readonly Row[]): string {
  if (rows.length === 0) return "no rows";
  // A row that is a mean over seeds says of how many; its error is that of seeds and items together.
  const over = rows.map((row) => Number(row.seeds ?? 0)), joint = Math.max(...over);
  const seeds = joint || distinct(rows.map(({ seed }) => seed)).length;
  const stored = rows.map(({ bitsPerWeight }) => bitsPerWeight);
  const quantised = stored.filter((bits) => bits < 16);
  const bits = spanOf(quantised.length > 0 ? quantised : stored, 3);
  return [
    seeds > 1 ? `mean ± standard error over ${seeds} seeds${joint ? " and items" : ""}` : "one seed, ± sampling error",
    `n = ${spanOf(rows.map(({ n }) => n))} per task`,
    `${bits} bits per weight, all counted`,
  ].join("; ");
}

/** The smallest and the largest of some numbers, or the one that they all are. */
export function spanOf(values: readonly number[], digits = 0): string {
  return distinct([Math.min(...values), Math.max(...values)].map((value) => value.toFixed(digits))).join(" to ");
}

type Place = {
  readonly name: string;
  readonly marker: Marker & { readonly color: string };
  readonly xaxis?: string;
  readonly yaxis?: string;
  readonly showlegend?: boolean;
};

/** Bars of measured groups over `x`, null where a group is missing. */
export function measuredBars(
  x: readonly string[],
  groups: readonly (Summary | undefined)[],
  { scale, ...place }: Place & { readonly scale: number },
): BarTrace {
  return {
    type: "bar",
    ...place,
    x,
    y: groups.map((group) => group ? group.mean * scale : null),
    error_y: errorBars(groups, scale, ink),
  };
}

/** Error bars of measured groups, none where an error cannot be estimated. */
export function errorBars(groups: readonly (Summary | undefined)[], scale: number, color: string) {
  const array = groups.map((group) =>
    group && Number.isFinite(group.standardError) ? group.standardError * scale : null
  );
  return { type: "data", array, visible: true, color, thickness: 1.4, width: 0 } as const;
}

/** What was printed by others is pale inside an outline of its colour; what was measured here is solid. */
export function printed(color: string): Marker & { readonly color: string } {
  return { color: pale(color), line: { color, width: 1.4 } };
}

/** Bars of printed numbers over what `labelOf` says. */
export function paperBars(
  entries: readonly PaperEntry[],
  labelOf: (entry: PaperEntry) => string,
  place: Place,
): BarTrace {
  const marker = printed(place.marker.color);
  return { type: "bar", ...place, marker, x: entries.map(labelOf), y: entries.map(({ value }) => value) };
}

/** Measured groups as points with error bars over the numbers that `at` gives, in rising order. */
export function measuredPoints(
  groups: readonly Summary[],
  at: (group: Summary) => number,
  { scale, ...place }: Place & { readonly scale: number; readonly mode: ScatterTrace["mode"] },
): ScatterTrace {
  const sorted = [...groups].sort((a, b) => at(a) - at(b));
  return {
    type: "scatter",
    ...place,
    x: sorted.map(at),
    y: sorted.map(({ mean }) => mean * scale),
    error_y: errorBars(sorted, scale, place.marker.color),
    line: { color: place.marker.color, width: 2 },
  };
}

export const symbols = ["circle", "square", "diamond", "triangle-up", "cross"] as const;

/** Title and subtitle of a layout. */
export function titles({ title, subtitle }: Labels, otherwise: string, basis = ""): Pick<Layout, "title"> {
  const below = subtitle ?? basis;
  return { title: { text: title ?? otherwise, ...(below ? { subtitle: { text: below } } : {}) } };
}

/** A title above the panel whose axes end in `ref`. */
export function panelTitle(ref: string, text: string): Annotation {
  return {
    text,
    xref: `x${ref} domain`,
    yref: `y${ref} domain`,
    x: 0,
    y: 1,
    xanchor: "left",
    yanchor: "bottom",
    showarrow: false,
    font: { size: 13, weight: 700 },
  };
}

/** How figures call the paper's values. */
export function paperName(paper: PaperNumbers, model: string): string {
  return `paper, ${model} (arXiv ${paper.paper.arxiv})`;
}

export function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

export function same(name: string): string {
  return name;
}

/** Whole steps of a power of ten around all values, and zero: for panels that have to share a scale. */
export function commonRange(values: readonly number[]): [number, number] {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  if (low === high) return [0, 1];
  const step = 10 ** Math.floor(Math.log10(high - low));
  return [Math.floor(low / step) * step, Math.ceil(high / step) * step];
}

/** Domains of panels from the top down, their heights as `sizes`, `gap` apart. */
export function stacked(sizes: readonly number[], gap: number): [number, number][] {
  const unit = (1 - gap * (sizes.length - 1)) / sizes.reduce((a, b) => a + b, 0);
  let top = 1;
  return sizes.map((size) => {
    const domain: [number, number] = [Math.max(0, top - size * unit), top];
    top = domain[0] - gap;
    return domain;
  });
}
