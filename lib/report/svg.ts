/** Static pictures without a browser: a figure's specification in, one self-contained SVG out. */
import { escapeHtml } from "./escape.ts";
import { linearScale } from "./scale.ts";
import type { FigureSpec, HeatmapTrace, Trace } from "./spec.ts";
import { heatColor, heatRange, marker, marks, paintOf, patterns, stroke } from "./svg_marks.ts";
import { type Box, type Panel, panelsOf } from "./svg_panels.ts";
import { faint, fontFamily, ink, px, text, textWidth } from "./svg_text.ts";

const tickSize = 12;
const titleSize = 13;
const slant = 35; // degrees of category labels that do not fit side by side
const maxLines = 3; // of category labels that fit when they are broken at spaces

/**
 * Draws a figure: bars with error bars, lines and points on linear, log or category axes, heat maps with a colour bar,
 * histograms, in one panel or several (Plotly's `domain`). Everything outside `spec.ts` is ignored. The same
 * specification gives the same bytes.
 */
export function renderSvg(spec: FigureSpec): string {
  const { layout, data } = spec;
  const width = layout.width ?? 820;
  const height = layout.height ?? 460;
  const id = `f${hash(JSON.stringify(spec))}`;
  const heat = data.find((trace): trace is HeatmapTrace => trace.type === "heatmap" && trace.showscale !== false);
  const title = layout.title?.text ?? "";
  const subtitle = layout.title?.subtitle?.text ?? "";
  const entries = layout.showlegend === false ? [] : legendEntries(data);
  const titleBottom = 10 + (title ? 24 : 0) + (subtitle ? 19 : 0);
  const legend = legendRows(entries, width - 40);
  const top = titleBottom + legend.length * 21 + (panelTitles(spec) ? 26 : 10);
  const rough = panelsOf(spec, { left: 70, right: width - 20, top, bottom: height - 60 });
  const area: Box = {
    left: 14 + Math.max(...rough.filter((p) => (p.xaxis.domain?.[0] ?? 0) < 0.02).map(leftOf), 0),
    right: width - (heat ? colorBarWidth(heat) : 18),
    top,
    bottom: height - 12 - Math.max(...rough.filter((p) => (p.yaxis.domain?.[0] ?? 0) < 0.02).map(belowOf), 0),
  };
  const panels = panelsOf(spec, area);
  const clips = panels.map(({ box }, i) => {
    return `<clipPath id="${id}c${i}"><rect x="${px(box.left)}" y="${px(box.top - 14)}" width="${
      px(box.right - box.left)
    }" height="${px(box.bottom - box.top + 14)}"/></clipPath>`;
  });
  const indexOf = (trace: Trace) => data.indexOf(trace);
  const body = [
    title && text(20, 28, title, { size: 17, weight: "bold" }),
    subtitle && text(20, title ? 48 : 24, subtitle, { size: 13, fill: faint }),
    legendMarks(legend, data, titleBottom, id),
    ...panels.map(gridOf),
    ...panels.map((panel, i) => `<g clip-path="url(#${id}c${i})">${marks(panel, indexOf, id)}</g>`),
    ...panels.map(axesOf),
    heat && colorBar(heat, area),
    annotationsOf(spec, panels, area),
  ];
  const name = title || "figure";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${px(width)} ${px(height)}" width="${
    px(width)
  }" height="${px(height)}" role="img" ` +
    `aria-label="${escapeHtml(name)}" font-family="${fontFamily}"><title>${escapeHtml(name)}</title><defs>${
      clips.join("")
    }${patterns(data, id)}</defs>` +
    `<rect width="100%" height="100%" fill="#fff"/>${body.filter((part) => part).join("\n")}</svg>\n`;
}

function gridOf({ x, y, box }: Panel): string {
  const lines = (y.band ? [] : y.ticks).map(({ at }) => `M${px(box.left)} ${px(at)}H${px(box.right)}`);
  if (!x.band) lines.push(...x.ticks.map(({ at }) => `M${px(at)} ${px(box.top)}V${px(box.bottom)}`));
  return lines.length === 0 ? "" : `<path d="${lines.join("")}" stroke="#e3e3e3" stroke-width="1" fill="none"/>`;
}

function axesOf(panel: Panel): string {
  const { x, y, box, xaxis, yaxis } = panel;
  const broken = brokenLabels(panel);
  const skip = broken || !x.band ? 1 : Math.ceil(15 / x.band);
  const parts = [
    `<path d="M${px(box.left)} ${px(box.top)}V${px(box.bottom)}H${
      px(box.right)
    }" stroke="${ink}" stroke-width="1" fill="none"/>`,
  ];
  x.ticks.forEach(({ at, label }, i) => {
    if (i % skip !== 0) return;
    if (!x.band) parts.push(`<path d="M${px(at)} ${px(box.bottom)}v4" stroke="${ink}"/>`);
    if (!broken) parts.push(text(at + 5, box.bottom + 15, label, { size: tickSize, anchor: "end", rotate: -slant }));
    broken?.[i].forEach((line, l) =>
      parts.push(text(at, box.bottom + 18 + 14 * l, line, { size: tickSize, anchor: "middle" }))
    );
  });
  const every = y.band ? Math.ceil(13 / y.band) : 1;
  y.ticks.forEach(({ at, label }, i) => {
    if (i % every === 0) {
      parts.push(text(box.left - 7, at, label, { size: tickSize, anchor: "end", baseline: "middle" }));
    }
  });
  const middle = (box.left + box.right) / 2;
  if (xaxis.title?.text) {
    parts.push(text(middle, box.bottom + belowOf(panel) - 2, xaxis.title.text, { size: titleSize, anchor: "middle" }));
  }
  if (yaxis.title?.text) {
    const at = box.left - leftOf(panel) + 8;
    parts.push(
      text(at, (box.top + box.bottom) / 2, yaxis.title.text, {
        size: titleSize,
        anchor: "middle",
        rotate: -90,
        baseline: "middle",
      }),
    );
  }
  return parts.join("");
}

/** Pixels that tick labels and title take to the left of a panel. */
function leftOf({ y, yaxis }: Panel): number {
  return 10 + Math.max(0, ...y.ticks.map(({ label }) => textWidth(label, tickSize))) + (yaxis.title?.text ? 22 : 0);
}

/** Pixels that tick labels and title take below a panel. */
function belowOf(panel: Panel): number {
  const widest = Math.max(0, ...panel.x.ticks.map(({ label }) => textWidth(label, tickSize)));
  const broken = brokenLabels(panel);
  const labels = broken
    ? 6 + 14 * Math.max(1, ...broken.map((lines) => lines.length))
    : 16 + widest * Math.sin(slant * Math.PI / 180);
  return labels + (panel.xaxis.title?.text ? 24 : 4);
}

/** The labels of the x axis in lines that fit side by side, or undefined where they have to be slanted. */
function brokenLabels({ x }: Panel): string[][] | undefined {
  const gaps = x.ticks.slice(1).map(({ at }, i) => Math.abs(at - x.ticks[i].at));
  const room = (x.band || Math.min(Infinity, ...gaps)) - 6;
  const fits = (line: string) => textWidth(line, tickSize) <= room;
  const labels = x.ticks.map(({ label }) => {
    const lines: string[] = [];
    for (const word of label.split(" ")) {
      const longer = lines.length > 0 ? `${lines.at(-1)} ${word}` : word;
      if (lines.length > 0 && fits(longer)) lines[lines.length - 1] = longer;
      else lines.push(word);
    }
    return lines;
  });
  return labels.every((lines) => lines.length <= maxLines && lines.every(fits)) ? labels : undefined;
}

interface Entry {
  readonly index: number;
  readonly name: string;
}

function legendEntries(data: readonly Trace[]): Entry[] {
  const entries = data.map((trace, index) => ({ index, name: trace.name ?? "" }));
  const shown = entries.filter(({ index, name }) =>
    name !== "" && data[index].showlegend !== false && data[index].type !== "heatmap"
  );
  return shown.length > 1 || data.some((trace) => trace.showlegend === true) ? shown : [];
}

const entryWidth = ({ name }: Entry) => 26 + textWidth(name, 12.5) + 20;

function legendRows(entries: readonly Entry[], room: number): Entry[][] {
  const rows: Entry[][] = [];
  let used = Infinity;
  for (const entry of entries) {
    const need = entryWidth(entry);
    if (used + need > room) {
      rows.push([]);
      used = 0;
    }
    rows.at(-1)!.push(entry);
    used += need;
  }
  return rows;
}

function legendMarks(rows: readonly Entry[][], data: readonly Trace[], top: number, id: string): string {
  return rows.map((entries, r) => {
    let x = 20;
    const y = top + r * 21 + 12;
    return entries.map((entry) => {
      const trace = data[entry.index];
      const paint = paintOf(trace, entry.index, id);
      const left = x;
      x += entryWidth(entry);
      const swatch = trace.type === "scatter"
        ? (trace.mode.includes("lines")
          ? `<path d="M${px(left)} ${px(y)}h20" stroke="${paint.color}" ${stroke(trace)}/>`
          : "") +
          (trace.mode.includes("markers") ? marker(left + 10, y, trace, paint) : "")
        : `<rect x="${px(left + 3)}" y="${px(y - 6)}" width="14" height="12" fill="${paint.fill}" fill-opacity="${
          px(paint.opacity)
        }" stroke="${paint.color}"/>`;
      return swatch + text(left + 26, y, entry.name, { size: 12.5, baseline: "middle" });
    }).join("");
  }).join("");
}

function colorBarScale(trace: HeatmapTrace, bottom: number, top: number) {
  const [lo, hi] = heatRange(trace);
  return linearScale(lo, hi > lo ? hi : lo + 1, bottom, top, 6);
}

function colorBarWidth(trace: HeatmapTrace): number {
  const labels = colorBarScale(trace, 300, 0).ticks.map(({ label }) => textWidth(label, tickSize));
  return 18 + 16 + 8 + Math.max(...labels) + (trace.colorbar?.title?.text ? 24 : 0) + 10;
}

function colorBar(trace: HeatmapTrace, { right, top, bottom }: Box): string {
  const left = right + 18;
  const steps = 48;
  const slice = (bottom - top) / steps;
  const parts = Array.from({ length: steps }, (_, i) => {
    const fill = heatColor(trace, (i + 0.5) / steps);
    return `<rect x="${px(left)}" y="${px(bottom - (i + 1) * slice)}" width="16" height="${
      px(slice + 0.5)
    }" fill="${fill}"/>`;
  });
  const { ticks } = colorBarScale(trace, bottom, top);
  for (const { at, label } of ticks) parts.push(text(left + 22, at, label, { size: tickSize, baseline: "middle" }));
  const widest = Math.max(...ticks.map(({ label }) => textWidth(label, tickSize)));
  const title = trace.colorbar?.title?.text;
  if (title) {
    parts.push(
      text(left + 22 + widest + 16, (top + bottom) / 2, title, {
        size: titleSize,
        anchor: "middle",
        rotate: -90,
        baseline: "middle",
      }),
    );
  }
  return parts.join("");
}

function panelTitles({ layout }: FigureSpec): boolean {
  return (layout.annotations ?? []).some(({ yref, y }) => yref.includes("domain") && y >= 1);
}

function annotationsOf({ layout }: FigureSpec, panels: readonly Panel[], area: Box): string {
  const parts = (layout.annotations ?? []).map(({ text: content, xref, yref, x, y, xanchor, yanchor }) => {
    const boxOf = (ref: string, axis: "xref" | "yref") => panels.find((p) => `${p[axis]} domain` === ref)?.box ?? area;
    const [bx, by] = [boxOf(xref, "xref"), boxOf(yref, "yref")];
    const at = by.bottom - y * (by.bottom - by.top) + (yanchor === "top" ? 16 : yanchor === "middle" ? 4 : -8);
    const anchor = xanchor === "right" ? "end" : xanchor === "center" ? "middle" : "start";
    return text(bx.left + x * (bx.right - bx.left), at, content, { size: 13, anchor, weight: "bold", halo: true });
  });
  return parts.join("");
}

/** A short name for the ids of one document: several pictures may be put into one page. FNV-1a, 32 bits. */
function hash(content: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < content.length; i++) h = Math.imul(h ^ content.charCodeAt(i), 0x01000193);
  return (h >>> 0).toString(36);
}
