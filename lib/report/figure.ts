/**
 * Figures as values: one Plotly specification, shown interactively where that can be and as a static picture
 * everywhere else.
 */
import { page, type PlotlyScript } from "./page.ts";
import { axisOf, type FigureSpec, palette } from "./spec.ts";
import { renderSvg } from "./svg.ts";

/** A figure. As the last expression of a notebook cell it shows itself. */
export interface Figure extends FigureSpec {
  /** The static picture; needs no browser. */
  toSvg(): string;
  /** A standalone interactive page, with the static picture where scripts do not run. */
  toHtml(plotly: PlotlyScript): string;
  /** What a notebook stores; `png` (base64) is added when the caller has rendered one. */
  toBundle(options?: { readonly png?: string }): Record<string, unknown>;
}

const display = Symbol.for("Jupyter.display");

/**
 * A figure over a Plotly specification, completed with this kit's look (fonts, colours, grid).
 *
 * Notebook front ends choose one form of the bundle: those with a Plotly renderer (VS Code; JupyterLab with its
 * extension) the interactive one, all others, GitHub included, the picture. There is no text/html in it on purpose:
 * front ends prefer it to pictures, and GitHub strips its scripts.
 */
export function figure({ data, layout }: FigureSpec): Figure {
  const spec: FigureSpec = { data, layout: withLook({ data, layout }) };
  const toSvg = () => renderSvg(spec);
  const toBundle: Figure["toBundle"] = ({ png } = {}) => ({
    "application/vnd.plotly.v1+json": {
      data: spec.data,
      layout: spec.layout,
      config: { displaylogo: false, responsive: true },
    },
    "image/svg+xml": toSvg(),
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

const titlePlace = {
  font: { size: 18, weight: 700 },
  x: 0.02,
  xanchor: "left",
  yref: "container",
  y: 1,
  yanchor: "top",
  pad: { t: 16 },
} as const;

function withLook({ data, layout }: FigureSpec): FigureSpec["layout"] {
  const font = { family: "Helvetica, Arial, sans-serif", size: 13, color: "#222222" };
  const refs = [...new Set(data.flatMap((trace) => [trace.xaxis ?? "x", trace.yaxis ?? "y"]))];
  const axes = refs.map((ref) => {
    const on = data.filter((t) => (t.xaxis ?? "x") === ref || (t.yaxis ?? "y") === ref);
    const category = on.some((t) => t.type === "heatmap" || (t.type === "bar" && ref[0] === "x"));
    const look = {
      automargin: true,
      gridcolor: "#e3e3e3",
      linecolor: "#222222",
      showline: true,
      zeroline: false,
      showgrid: !category,
    };
    // A second panel's axes have to name their partner, or Plotly draws them at the first panel.
    const anchor = ref[0] === "x" ? on[0].yaxis ?? "y" : on[0].xaxis ?? "x";
    return [`${ref[0]}axis${ref.slice(1)}`, { ...look, anchor, ...axisOf(layout, ref) }] as const;
  });
  const top = 45 + (layout.title ? 30 : 0) + (layout.title?.subtitle ? 25 : 0);
  return {
    font,
    colorway: palette,
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    bargap: 0.2,
    bargroupgap: 0.1,
    // At the foot: above the panels it would run into titles of unknown length.
    legend: { orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0.01, yanchor: "bottom" },
    ...layout,
    ...(layout.title ? { title: { ...titlePlace, ...layout.title } } : {}),
    margin: { t: top, r: 30, b: 50, ...layout.margin as Record<string, number> | undefined },
    ...Object.fromEntries(axes),
  };
}

/** What a figure is, in words, for terminals and screen readers. */
function plainText({ data, layout }: FigureSpec): string {
  const names = [...new Set(data.map((trace) => trace.name ?? trace.type))];
  return `Figure: ${layout.title?.text ?? "untitled"} (${names.join("; ")})`;
}
