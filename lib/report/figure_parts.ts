/** What the figures share: labels, traces from summaries, panel titles, and the look that sets the paper apart. */
import type { PaperEntry, PaperNumbers } from "./paper.ts";
import { type Row, summarise, type Summary } from "./rows.ts";
import { type Annotation, type BarTrace, type Layout, type Marker, palette, type ScatterTrace } from "./spec.ts";

/** What was printed by others is hatched; what was measured here is solid. */
export const hatch = { shape: "/", fillmode: "replace", size: 6, solidity: 0.35 } as const;

export interface Labels {
  readonly title?: string;
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

type Place = {
  readonly name: string;
  readonly marker: Marker;
  readonly xaxis?: string;
  readonly yaxis?: string;
  readonly showlegend?: boolean;
};

/** Bars of measured groups over `x`, null where a group is missing. */
export function measuredBars(
  x: readonly string[],
  groups: readonly (Summary | undefined)[],
  scale: number,
  place: Place,
): BarTrace {
  return {
    type: "bar",
    ...place,
    x,
    y: groups.map((group) => group ? group.mean * scale : null),
    error_y: {
      type: "data",
      array: groups.map((group) => errorOf(group, scale)),
      visible: true,
      thickness: 1.3,
      width: 3,
    },
  };
}

/** Hatched bars of printed numbers over what `labelOf` says. */
export function paperBars(
  entries: readonly PaperEntry[],
  labelOf: (entry: PaperEntry) => string,
  place: Place,
): BarTrace {
  return {
    type: "bar",
    ...place,
    marker: { ...place.marker, pattern: hatch },
    x: entries.map(labelOf),
    y: entries.map(({ value }) => value),
  };
}

/**
 * One curve per name of `series`: means over `x` in rising order, with error bars; series and symbols repeat after the
 * palette.
 */
export function measuredCurves(
  rows: readonly Row[],
  series: string,
  x: string,
  { scale, label = same }: Labels,
): ScatterTrace[] {
  const groups = summarise(rows, [series, x]);
  return distinct(groups.map(({ keys }) => String(keys[series]))).map((name, i) => {
    const own = groups.filter(({ keys }) => String(keys[series]) === name).sort((a, b) =>
      Number(a.keys[x]) - Number(b.keys[x])
    );
    const color = palette[i % palette.length];
    return {
      type: "scatter",
      mode: own.length > 1 ? "lines+markers" : "markers",
      name: label(name),
      x: own.map(({ keys }) => Number(keys[x])),
      y: own.map(({ mean }) => mean * scale!),
      error_y: {
        type: "data",
        array: own.map((group) => errorOf(group, scale!)),
        visible: true,
        thickness: 1.3,
        width: 4,
      },
      marker: { color, size: 9, symbol: symbols[i % symbols.length] },
      line: { color, width: 2 },
    };
  });
}

const symbols = ["circle", "square", "diamond", "triangle-up", "x", "circle-open"] as const;

function errorOf(group: Summary | undefined, scale: number): number | null {
  return group && Number.isFinite(group.standardError) ? group.standardError * scale : null;
}

/** Title and subtitle of a layout. */
export function titles({ title, subtitle }: Labels, otherwise: string): Pick<Layout, "title"> {
  return { title: { text: title ?? otherwise, ...(subtitle ? { subtitle: { text: subtitle } } : {}) } };
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
