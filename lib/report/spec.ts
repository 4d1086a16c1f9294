/**
 * The part of Plotly's figure grammar that this floor writes and draws. Other Plotly fields pass through to the
 * interactive form untouched.
 */

export type Datum = string | number;

export interface ErrorBars {
  readonly type?: "data";
  readonly array: readonly (number | null)[];
  readonly [extra: string]: unknown;
}

export interface Marker {
  readonly color?: string;
  readonly opacity?: number;
  readonly size?: number;
  readonly symbol?: "circle" | "square" | "diamond" | "triangle-up" | "x" | "circle-open";
  /** Hatching, for what must be told apart without colour. */
  readonly pattern?: { readonly shape: "/" | ""; readonly [extra: string]: unknown };
  readonly [extra: string]: unknown;
}

export interface Line {
  readonly color?: string;
  readonly width?: number;
  readonly dash?: "solid" | "dash" | "dot";
  readonly [extra: string]: unknown;
}

interface Common {
  readonly name?: string;
  readonly showlegend?: boolean;
  /** "x", "x2", ... and "y", "y2", ...: which panel the trace belongs to. */
  readonly xaxis?: string;
  readonly yaxis?: string;
  readonly marker?: Marker;
  readonly [extra: string]: unknown;
}

/** Bars over categories; traces of a panel stand side by side. */
export interface BarTrace extends Common {
  readonly type: "bar";
  readonly x: readonly Datum[];
  readonly y: readonly (number | null)[];
  readonly error_y?: ErrorBars;
  /** One label per bar, drawn above it. */
  readonly text?: readonly string[];
}

/** Points and lines. */
export interface ScatterTrace extends Common {
  readonly type: "scatter";
  readonly mode: "lines" | "markers" | "lines+markers";
  readonly x: readonly Datum[];
  readonly y: readonly (number | null)[];
  readonly error_y?: ErrorBars;
  readonly line?: Line;
}

/** A matrix of colours: `z[row][column]`, rows named by `y`, columns by `x`, null where there is no value. */
export interface HeatmapTrace extends Common {
  readonly type: "heatmap";
  readonly x: readonly Datum[];
  readonly y: readonly Datum[];
  readonly z: readonly (readonly (number | null)[])[];
  readonly zmin?: number;
  readonly zmax?: number;
  readonly colorscale?: readonly (readonly [number, string])[];
  readonly colorbar?: { readonly title?: Title; readonly [extra: string]: unknown };
  /** One label per cell. */
  readonly text?: readonly (readonly string[])[];
}

/** Counts of numbers in bins of equal width. */
export interface HistogramTrace extends Common {
  readonly type: "histogram";
  readonly x: readonly number[];
  readonly xbins: { readonly start: number; readonly end: number; readonly size: number };
  readonly histnorm?: "" | "probability" | "probability density";
}

export type Trace = BarTrace | ScatterTrace | HeatmapTrace | HistogramTrace;

export interface Title {
  readonly text: string;
  readonly [extra: string]: unknown;
}

export interface Axis {
  readonly title?: Title;
  /** "category" where strings label positions; Plotly would otherwise read "5" as a number. */
  readonly type?: "linear" | "log" | "category";
  /** Ends of the axis; in powers of ten on a log axis, as Plotly has it. */
  readonly range?: readonly [number, number];
  readonly autorange?: boolean | "reversed";
  /** Part of the drawing area, 0 to 1. */
  readonly domain?: readonly [number, number];
  readonly tickvals?: readonly number[];
  readonly ticktext?: readonly string[];
  readonly [extra: string]: unknown;
}

/** A text at a place: in the drawing area ("paper") or in one panel ("x2 domain"), 0 to 1 each. */
export interface Annotation {
  readonly text: string;
  readonly xref: string;
  readonly yref: string;
  readonly x: number;
  readonly y: number;
  readonly xanchor?: "left" | "center" | "right";
  readonly yanchor?: "top" | "middle" | "bottom";
  readonly showarrow: false;
  readonly [extra: string]: unknown;
}

export interface Layout {
  readonly title?: Title & { readonly subtitle?: Title };
  readonly width?: number;
  readonly height?: number;
  readonly barmode?: "group" | "overlay";
  readonly showlegend?: boolean;
  readonly annotations?: readonly Annotation[];
  readonly xaxis?: Axis;
  readonly yaxis?: Axis;
  /** "xaxis2", "yaxis2", ... are `Axis` too. */
  readonly [extra: string]: unknown;
}

export interface FigureSpec {
  readonly data: readonly Trace[];
  readonly layout: Layout;
}

/** Colours that stay distinct for colour-blind readers (Okabe and Ito, 2008), darkest last. */
export const palette = [
  "#0072b2",
  "#e69f00",
  "#009e73",
  "#d55e00",
  "#cc79a7",
  "#56b4e9",
  "#8c6d1f",
  "#444444",
] as const;

/** From little (pale) to much (dark), one hue, so that it also reads in grey. */
export const sequential: readonly (readonly [number, string])[] = [
  [0, "#f3f7fb"],
  [0.2, "#c9dcec"],
  [0.4, "#8fb9d8"],
  [0.6, "#4b8fc0"],
  [0.8, "#1b629c"],
  [1, "#08305f"],
];

/** The axis of a trace's reference: "x2" is `layout.xaxis2`. */
export function axisOf(layout: Layout, ref: string): Axis {
  return (layout[`${ref[0]}axis${ref.slice(1)}`] ?? {}) as Axis;
}
