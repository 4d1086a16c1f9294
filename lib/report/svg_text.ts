/** Text in SVG: how wide it is, without a browser to ask, and the elements themselves. */
import { escapeHtml } from "./escape.ts";

export const fontFamily = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";
export const ink = "#222222";
export const faint = "#5c5c5c";

/**
 * Width of `text` in pixels at font size `size`, by classes of letters of a Helvetica-like face; a few percent wide,
 * so that nothing overlaps.
 */
export function textWidth(text: string, size: number): number {
  let em = 0;
  for (const c of text) em += letterWidth(c);
  return em * size * 1.04;
}

function letterWidth(c: string): number {
  if (/[iljI.,:;'|!]/.test(c)) return 0.27;
  if (/[ frt()[\]\-/"]/.test(c)) return 0.34;
  if (/[mwMW%@]/.test(c)) return 0.87;
  if (/[A-Z&]/.test(c)) return 0.69;
  if (/[+=<>±~×]/.test(c)) return 0.6;
  return c.codePointAt(0)! > 0x2e80 ? 1 : 0.56;
}

export interface TextOptions {
  readonly size?: number;
  readonly anchor?: "start" | "middle" | "end";
  /** "middle" centres the letters on y; the baseline stands there otherwise. */
  readonly baseline?: "middle";
  readonly fill?: string;
  readonly weight?: "bold";
  /** Degrees, clockwise, around (x, y). */
  readonly rotate?: number;
  /** A white outline, for text over lines. */
  readonly halo?: boolean;
}

/** One text element. Letters are centred by a shift of 0.35 em: `dominant-baseline` is not read by every renderer. */
export function text(x: number, y: number, content: string, options: TextOptions = {}): string {
  const { size = 12, anchor = "start", baseline, fill = ink, weight, rotate, halo } = options;
  const at = rotate === undefined
    ? `x="${px(x)}" y="${px(baseline ? y + 0.35 * size : y)}"`
    : `transform="translate(${px(x)} ${px(y)}) rotate(${px(rotate)})"${baseline ? ` dy="0.35em"` : ""}`;
  const more = (anchor === "start" ? "" : ` text-anchor="${anchor}"`) + (weight ? ` font-weight="${weight}"` : "") +
    (halo ? ` stroke="#fff" stroke-width="3" stroke-linejoin="round" paint-order="stroke"` : "");
  return `<text ${at} font-size="${px(size)}" fill="${fill}"${more}>${escapeHtml(content)}</text>`;
}

/** A coordinate with at most two decimals. */
export function px(value: number): string {
  return String(Number(value.toFixed(2)) + 0);
}

/**
 * A colour as an attribute value: what is not a plain colour name or code becomes the ink colour, so that a spec
 * cannot smuggle markup.
 */
export function color(value: string | undefined, otherwise: string = ink): string {
  return value !== undefined && /^(#[0-9a-fA-F]{3,8}|[a-zA-Z]+|rgba?\([\d\s.,%]+\))$/.test(value) ? value : otherwise;
}
