/**
 * Figures as values: one Plotly specification, shown interactively where that can be and as a static picture
 * everywhere else.
 */
import { brokenLines, colorsOf, fontFamily, grid, ink, legendOf, textWidth } from "./look.ts";
import { page, type PlotlyScript } from "./page.ts";
import { axisOf, categoriesOf, type FigureSpec, type Layout, panelsOf, type Trace } from "./spec.ts";
import { renderSvg } from "./vega/render.ts";

/** A figure. As the last expression of a notebook cell it shows itself. */
export interface Figure extends FigureSpec {
  /** The static picture; needs no browser. */
  toSvg(): Promise<string>;
  /** A standalone interactive page, with the static picture where scripts do not run. */
  toHtml(plotly: PlotlyScript): Promise<string>;
  /** What a notebook stores; `png` (base64) is added when the caller has rendered one. */
  toBundle(options?: { readonly png?: string }): Promise<Record<string, unknown>>;
}

const display = Symbol.for("Jupyter.display");

/**
 * A figure over a Plotly specification, completed with this kit's look (fonts, colours, grid, room for labels). Throws
 * `RangeError` when it has more series without a colour than there are colours.
 *
 * Notebook front ends choose one form of the bundle: those with a Plotly renderer (VS Code; JupyterLab with its
 * extension) the interactive one, all others, GitHub included, the picture. There is no text/html in it on purpose:
 * front ends prefer it to pictures, and GitHub strips its scripts.
 *
 * @example
 * ```ts
 * import { figure } from "quant-dllm";
 *
 * const lines = (await Deno.readTextFile("data/nano-llada/training-curve.jsonl")).split("\n").filter(Boolean);
 * const losses = lines.map((line) => JSON.parse(line)).filter(({ loss }) => loss !== undefined);
 * const [x, y] = [losses.map(({ step }) => step), losses.map(({ loss }) => loss)];
 * const data = [{ type: "scatter", mode: "lines", name: "loss", x, y }] as const;
 * const svg = await figure({ data, layout: { title: { text: "Training of nano-llada" } } }).toSvg();
 * ```
 */
export function figure({ data, layout }: FigureSpec): Figure {
  const colored = withColors(data);
  const spec: FigureSpec = { data: colored, layout: withLook({ data: colored, layout }) };
  const toSvg = () => renderSvg(spec);
  const toBundle: Figure["toBundle"] = async ({ png } = {}) => ({
    "application/vnd.plotly.v1+json": {
      data: spec.data,
      layout: spec.layout,
      config: { displaylogo: false, responsive: true },
    },
    "image/svg+xml": await toSvg(),
    ...(png === undefined ? {} : { "image/png": png }),
    "text/plain": plainText(spec),
  });
  const toHtml = (plotly: PlotlyScript) => {
    return page({ title: layout.title?.text ?? "Figure", sections: [{ figure: made }], plotly });
  };
  const made: Figure = Object.defineProperty({ ...spec, toSvg, toHtml, toBundle }, display, {
    value: () => toBundle(),
  });
  return made;
}

/** Traces with a colour each: those that name none get one by name, equal names the same. */
function withColors(data: readonly Trace[]): Trace[] {
  const colorOf = (trace: Trace) => trace.marker?.color ?? (trace.type === "scatter" ? trace.line?.color : undefined);
  const without = (trace: Trace) => trace.type !== "heatmap" && colorOf(trace) === undefined;
  const names = [...new Set(data.map((trace, i) => without(trace) ? trace.name ?? `trace ${i}` : undefined))]
    .filter((name) => name !== undefined);
  const colors = colorsOf(names, data.flatMap((trace) => colorOf(trace) ?? []));
  return data.map((trace, i) => {
    if (trace.type === "heatmap") return trace;
    const color = colorOf(trace) ?? colors[names.indexOf(trace.name ?? `trace ${i}`)];
    const marker = { color, ...trace.marker };
    return trace.type === "bar" ? { ...trace, marker } : { ...trace, marker, line: { color, ...trace.line } };
  });
}

const titleSize = 17;
const subtitleSize = 13;

function withLook({ data, layout }: FigureSpec): Layout {
  const { width = 830, height = 460 } = layout;
  const lines = (text: string | undefined, size: number) =>
    text ? text.split("<br>").flatMap((line) => brokenLines(line, width - 30, size)) : [];
  const title = lines(layout.title?.text, titleSize);
  const subtitle = lines(layout.title?.subtitle?.text, subtitleSize);
  const axes = panelsOf(data).flatMap(({ x, y, traces }) =>
    [[x, y], [y, x]].map(([ref, anchor]) => {
      const categories = categoriesOf(layout, ref, traces);
      // Between bars and around cells a grid says nothing; dots in a row need it.
      const showgrid = categories === undefined || (ref[0] === "y" && traces.every(({ type }) => type === "scatter"));
      // A second panel's axes have to name their partner, or Plotly draws them at the first panel.
      const look = {
        automargin: true,
        gridcolor: grid,
        linecolor: ink,
        showline: true,
        zeroline: false,
        showgrid,
        anchor,
      };
      const type = categories === undefined ? {} : { type: "category" };
      return [`${ref[0]}axis${ref.slice(1)}`, { ...look, ...type, ...axisOf(layout, ref) }] as const;
    })
  );
  const legend = legendOf(data, { ...layout, width });
  const below = data.some(({ type }) => type === "heatmap") ? 50 : legend.rows * 20;
  const above = 20 + 26 * title.length + 22 * subtitle.length + (layout.annotations?.length ? 32 : 12);
  const margin = {
    l: leftOf({ data, layout }),
    r: 24,
    t: above,
    b: 56 + below,
    ...layout.margin,
  };
  return {
    font: { family: fontFamily, size: 12, color: ink },
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    bargap: 0.2,
    bargroupgap: 0.1,
    // At the foot: above the panels it would run into titles of unknown length.
    legend: { orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0.01, yanchor: "bottom" },
    showlegend: legend.names.length > 1,
    ...layout,
    ...(title.length === 0 ? {} : {
      title: {
        font: { size: titleSize, weight: 700 },
        x: 0.02,
        xanchor: "left",
        yref: "container",
        y: 1,
        yanchor: "top",
        pad: { t: 14 },
        ...layout.title,
        text: title.join("<br>"),
        ...(subtitle.length === 0
          ? {}
          : { subtitle: { font: { size: subtitleSize }, ...layout.title?.subtitle, text: subtitle.join("<br>") } }),
      },
    }),
    width,
    height,
    margin,
    ...Object.fromEntries(axes),
  };
}

/** Pixels for labels and title at the left of the panels that stand there. */
function leftOf({ data, layout }: FigureSpec): number {
  const widths = panelsOf(data).filter(({ x }) => (axisOf(layout, x).domain?.[0] ?? 0) < 0.02).map(({ y, traces }) => {
    const labels = (categoriesOf(layout, y, traces) ?? ["0.00"]).flatMap((label) => label.split("<br>"));
    return Math.max(...labels.map((label) => textWidth(label, 12))) + (axisOf(layout, y).title?.text ? 24 : 0);
  });
  return Math.ceil(24 + Math.max(0, ...widths));
}

/** What a figure is, in words, for terminals and screen readers. */
function plainText({ data, layout }: FigureSpec): string {
  const names = [...new Set(data.map((trace) => trace.name ?? trace.type))];
  return `Figure: ${layout.title?.text.replaceAll("<br>", " ") ?? "untitled"} (${names.join("; ")})`;
}
