/** HTML pages: figures and tables under headings, interactive where scripts run, static pictures where they do not. */
import { escapeHtml, scriptJson } from "./escape.ts";
import type { FigureSpec } from "./spec.ts";
import type { Table } from "./table.ts";
import { renderSvg } from "./vega/render.ts";

/** Where the page gets plotly.js from: its text, to be inlined once, or the address of a file. */
export type PlotlyScript = { readonly script: string } | { readonly src: string };

/** A part of a page: a heading, a note, a figure, a table, each where there is one. */
export interface Section {
  readonly heading?: string;
  /** Plain text under the heading. */
  readonly note?: string;
  readonly figure?: FigureSpec;
  readonly table?: Table;
}

const style =
  `body{font-family:Helvetica,Arial,sans-serif;color:#222;max-width:1240px;margin:24px auto;padding:0 16px;line-height:1.45}
table{border-collapse:collapse;margin:12px 0;font-variant-numeric:tabular-nums}caption{text-align:left;padding:4px 0;color:#5c5c5c}
th,td{padding:4px 8px;white-space:nowrap;border-bottom:1px solid #e3e3e3}thead th{border-bottom:2px solid #222}
.figure,.table{overflow-x:auto;margin:12px 0}.figure img{max-width:100%;height:auto}`;

/**
 * A page of sections in the order given. Each figure stands there as a picture and is replaced by its interactive form
 * when plotly.js runs.
 *
 * @example
 * ```ts
 * import { decodeRows, page, paretoFront } from "quant-dllm";
 *
 * const means = decodeRows(await Deno.readTextFile("data/results/means.jsonl"));
 * const bounds = means.filter(({ study, task }) => study === "bits" && task === "elbo");
 * const figure = paretoFront(bounds, { point: "label" });
 * const plotly = { src: "plotly.min.js" }; // beside the page; without it the picture stays
 * const html = await page({ title: "What a bit buys", sections: [{ figure }], plotly });
 * ```
 */
export async function page(
  { title, sections, plotly }: {
    readonly title: string;
    readonly sections: readonly Section[];
    readonly plotly: PlotlyScript;
  },
): Promise<string> {
  const pictures = await Promise.all(sections.map(({ figure }) => figure && picture(figure)));
  const body = sections.map(({ heading, note, table }, i) =>
    (heading ? `<h2>${escapeHtml(heading)}</h2>\n` : "") +
    (note ? `<p>${escapeHtml(note)}</p>\n` : "") +
    (table ? `<div class="table">${table.toHtml()}</div>\n` : "") +
    (pictures[i] ? `<div class="figure" id="figure-${i}">${pictures[i]}</div>\n` : "")
  );
  const figures = sections.map(({ figure }, i) =>
    figure && { id: `figure-${i}`, data: figure.data, layout: figure.layout }
  ).filter((f) => f);
  const library = "src" in plotly
    ? `<script src="${escapeHtml(plotly.src)}"></script>`
    : `<script>${scriptText(plotly.script)}</script>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
${sections.length === 1 ? "" : `<h1>${escapeHtml(title)}</h1>\n`}${body.join("")}${figures.length === 0 ? "" : library}
<script>
for (const { id, data, layout } of ${scriptJson(figures)}) {
  if (!window.Plotly) break;
  const place = document.getElementById(id);
  place.replaceChildren();
  Plotly.newPlot(place, data, layout, { displaylogo: false, responsive: true });
}
</script>
</body>
</html>
`;
}

/** A figure as an image element: ids inside of one SVG cannot meet those of another. */
async function picture(figure: FigureSpec): Promise<string> {
  const name = (figure.layout.title?.text ?? "figure").replaceAll("<br>", " ");
  return `<img alt="${escapeHtml(name)}" src="data:image/svg+xml,${encodeURIComponent(await renderSvg(figure))}">`;
}

/**
 * A library's text inside a script element; in JavaScript a backslash before the slash changes nothing within strings
 * and patterns.
 */
function scriptText(text: string): string {
  return text.replace(/<\/(script)/gi, "<\\/$1").replaceAll("<!--", "<\\!--");
}
