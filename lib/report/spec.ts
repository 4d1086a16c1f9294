/**
 * The part of Plotly's figure grammar that this room writes and draws. Other Plotly fields pass through to the
 * interactive form untouched.
 */

export type Datum = string | number;

/** Half lengths of intervals; with `arrayminus` those towards smaller values are lengths of their own. */
export interface ErrorBars {
  readonly type?: "data";
  readonly array: readonly (number | null)[];
  readonly arrayminus?: readonly (number | null)[];
  readonly symmetric?: boolean;
  readonly color?: string;
  readonly [extra: string]: unknown;
}

export interface Marker {
  readonly color?: string;
  readonly opacity?: number;
  /** Diameter in pixels. */
  readonly size?: number;
  readonly symbol?: "circle" | "square" | "diamond" | "triangle-up" | "cross";
  /** The outline: of another colour than the inside, it tells apart without a colour of its own. */
  readonly line?: { readonly color?: string; readonly width?: number };
  readonly [extra: string]: unknown;
}

export interface Line {
  readonly color?: string;
  readonly width?: number;
  readonly dash?: "solid" | "dash" | "dot";
  /** "hv" steps: a value holds until the next x. */
  readonly shape?: "linear" | "hv";
  readonly [extra: string]: unknown;
}

interface Common {
  readonly name?: string;
  readonly showlegend?: boolean;
  readonly opacity?: number;
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
  readonly mode: "lines" | "markers" | "lines+markers" | "lines+text";
  readonly x: readonly (Datum | null)[];
  readonly y: readonly (Datum | null)[];
  readonly error_x?: ErrorBars;
  readonly error_y?: ErrorBars;
  readonly line?: Line;
  /** Fills the area between a line and zero. */
  readonly fill?: "none" | "tozeroy";
  /** One label per point, shown when the pointer is over it, or, with "text" in `mode`, above it on its left. */
  readonly text?: readonly string[];
  readonly textposition?: "top left";
}

/** A matrix of colours: `z[row][column]`, rows named by `y`, columns by `x`, null where there is no value. */
export interface HeatmapTrace extends Common {
  readonly type: "heatmap";
  readonly x: readonly Datum[];
  readonly y: readonly Datum[];
  readonly z: readonly (readonly (number | null)[])[];
  readonly zmin: number;
  readonly zmax: number;
  readonly colorscale: readonly (readonly [number, string])[];
  /** With `tickvals` these are the only values: each has a colour, and a key instead of a colour bar. */
  readonly colorbar?: {
    readonly title?: Title;
    readonly tickvals?: readonly number[];
    readonly [extra: string]: unknown;
  };
  /** One label per cell. */
  readonly text?: readonly (readonly string[])[];
}

export type Trace = BarTrace | ScatterTrace | HeatmapTrace;

/** A text; lines of titles are divided by "<br>", as those of categories are. */
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
  /** "tozero": the axis reaches zero, as that of bars always does. */
  readonly rangemode?: "normal" | "tozero";
  /** A category axis "reversed" names the first category at the top. */
  readonly autorange?: boolean | "reversed";
  /** Part of the drawing area, 0 to 1. */
  readonly domain?: readonly [number, number];
  readonly tickvals?: readonly number[];
  /** Degrees, clockwise, of category labels. */
  readonly tickangle?: number;
  readonly showticklabels?: boolean;
  readonly showgrid?: boolean;
  /** A line where the value is zero. */
  readonly zeroline?: boolean;
  /** The order of categories; by default that of their first appearance. */
  readonly categoryarray?: readonly Datum[];
  readonly [extra: string]: unknown;
}

/** A title above the panel whose axes its references name ("x2 domain", "y2 domain"). */
export interface Annotation {
  readonly text: string;
  readonly xref: string;
  readonly yref: string;
  readonly [extra: string]: unknown;
}

export interface Layout {
  readonly title?: Title & { readonly subtitle?: Title };
  readonly width?: number;
  readonly height?: number;
  /** What titles, labels and legend take around the drawing area, in pixels. */
  readonly margin?: { readonly l: number; readonly r: number; readonly t: number; readonly b: number };
  readonly barmode?: "group";
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

/** The axis of a trace's reference: "x2" is `layout.xaxis2`. */
export function axisOf(layout: Layout, ref: string): Axis {
  return (layout[`${ref[0]}axis${ref.slice(1)}`] ?? {}) as Axis;
}

/** Traces that share axes, and which axes those are. */
export interface Panel {
  readonly x: string;
  readonly y: string;
  readonly traces: readonly Trace[];
}

/** The panels of a figure, in the order of their first traces. */
export function panelsOf(data: readonly Trace[]): Panel[] {
  const groups = Map.groupBy(data, ({ xaxis = "x", yaxis = "y" }) => `${xaxis} ${yaxis}`);
  return [...groups].map(([refs, traces]) => ({ x: refs.split(" ")[0], y: refs.split(" ")[1], traces }));
}

/** The categories of an axis in their order from below or the left, or undefined when it measures numbers. */
export function categoriesOf(layout: Layout, ref: string, traces: readonly Trace[]): string[] | undefined {
  const axis = axisOf(layout, ref);
  const values = traces.flatMap((trace): readonly (Datum | null)[] => ref[0] === "x" ? trace.x : trace.y);
  const named = axis.type === "category" || traces.some(({ type }) => type === "heatmap") ||
    (axis.type === undefined && values.some((value) => typeof value === "string"));
  if (!named) return undefined;
  const order = axis.categoryarray ?? values.filter((value) => value !== null);
  return [...new Set(order.map(String))];
}
