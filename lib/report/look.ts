/** How every figure looks: its letters, and its colours, one for each method wherever it appears. */

import type { Layout, Trace } from "./spec.ts";

export const fontFamily = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";

/** Colours of text and axes. */
export const ink = "#222222";
export const faint = "#5c5c5c";
export const grid = "#e3e3e3";

/**
 * A colour for each family of methods, told by its label or canonical name: the first pattern that fits. After Okabe
 * and Ito (2008), distinct for colour-blind readers; relatives have neighbouring hues.
 */
const families: readonly (readonly [RegExp, string])[] = [
  [/^(full precision|fp\d*|bf16)\b/i, "#444444"],
  [/^rtn\b/i, "#999999"],
  [/^gptq\b.*(mcs|masked)/i, "#56b4e9"],
  [/^gptq\b/i, "#0072b2"],
  [/^gptaq\b/i, "#1b2a6b"],
  [/^awq\b/i, "#8c6d1f"],
  [/^slim-?llm\b/i, "#cc79a7"],
  [/\blevels\b/i, "#009e73"],
  [/\bplus\b/i, "#d55e00"],
  [/\b(quant-dllm|daq)\b.*\bpaper\b/i, "#f0c75e"],
  [/\b(quant-dllm|daq|official)\b/i, "#e69f00"],
];

/** For what is no method: series of a training run, calibrations, inputs. */
const others = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d1f", "#999999", "#1b2a6b"];

/**
 * A colour for each name, none twice: a method's own when no earlier name of its family has it, else the next free one.
 * `taken` are not given to names without a family. Throws `RangeError` when there are more names than colours.
 */
export function colorsOf(names: readonly string[], taken: readonly string[] = []): string[] {
  const used = new Set(taken);
  const own = new Map<string, string>();
  for (const name of names) {
    const color = families.find(([pattern]) => pattern.test(name))?.[1];
    if (color !== undefined && !used.has(color) && !own.has(name)) used.add(color) && own.set(name, color);
  }
  for (const name of names) {
    if (own.has(name)) continue;
    const free = others.find((color) => !used.has(color));
    if (free === undefined) {
      throw new RangeError(
        `Cannot colour ${names.length} series: there are ${used.size} colours that can be told apart; ` +
          "split the figure, or set marker.color of each trace",
      );
    }
    used.add(free);
    own.set(name, free);
  }
  return names.map((name) => own.get(name)!);
}

/** `color` ("#rrggbb") mixed with white: what was printed by others, beside what was measured here. */
export function pale(color: string, share = 0.72): string {
  const part = (at: number) => {
    const value = parseInt(color.slice(at, at + 2), 16);
    return Math.trunc(value + (255 - value) * share).toString(16).padStart(2, "0");
  };
  return `#${part(1)}${part(3)}${part(5)}`;
}

/** From little (pale) to much (dark), one hue, so that it also reads in grey. */
export const sequential: readonly (readonly [number, string])[] = [
  [0, "#f3f7fb"],
  [0.2, "#c9dcec"],
  [0.4, "#8fb9d8"],
  [0.6, "#4b8fc0"],
  [0.8, "#1b629c"],
  [1, "#08305f"],
];

/**
 * Width of `text` in pixels at font size `size`, by classes of letters of a Helvetica-like face: without a browser there
 * is nothing to ask. A few percent wide, so that nothing overlaps.
 */
export function textWidth(text: string, size: number): number {
  let em = 0;
  for (const c of text) em += letterWidth(c);
  return em * size * 1.08;
}

function letterWidth(c: string): number {
  if (/[iljI.,:;'|!]/.test(c)) return 0.27;
  if (/[ frt()[\]\-/"]/.test(c)) return 0.34;
  if (/[mwMW%@]/.test(c)) return 0.87;
  if (/[A-Z&]/.test(c)) return 0.69;
  if (/[+=<>±~×\u2212]/.test(c)) return 0.6;
  return c.codePointAt(0)! > 0x2e80 ? 1 : 0.56;
}

/** Lines of at most `width` pixels, broken after spaces and hyphens; a word that is longer stands alone. */
export function brokenLines(text: string, width: number, size: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(/(?<=[ -])/)) {
    const longer = `${lines.at(-1) ?? ""}${word}`;
    if (lines.length > 0 && textWidth(longer.trimEnd(), size) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines.map((line) => line.trimEnd());
}

/** The traces of a legend by name, each name once, and how many columns and rows they take in a figure of this width. */
export function legendOf(
  data: readonly Trace[],
  { showlegend, width = 830 }: Layout,
): { readonly names: readonly string[]; readonly columns: number; readonly rows: number } {
  const shown = data.filter((trace) => trace.type !== "heatmap" && trace.name && trace.showlegend !== false);
  const names = [...new Set(shown.map(({ name }) => name!))];
  if (showlegend === false || (names.length < 2 && showlegend !== true)) return { names: [], columns: 0, rows: 0 };
  const widest = Math.max(...names.map((name) => textWidth(name, 12))) + 40;
  const fitting = Math.max(1, Math.min(names.length, Math.floor((width - 60) / widest)));
  const rows = Math.ceil(names.length / fitting);
  return { names, rows, columns: Math.ceil(names.length / rows) };
}
