/** A text as it is unmasked, in the terminal. */
import { stripVTControlCharacters } from "node:util";
import type { Commit } from "quant-dllm";

/** A place of the answer: what is written there, or a mask. */
export interface Cell {
  readonly text?: string;
  /** What stands before it, written or not: the space of tokenizers whose tokens are whole words. */
  readonly before?: string;
  /** How sure of it the model was, from 0 to 1. */
  readonly confidence?: number;
  /** An end token, which has no text of its own. */
  readonly end?: boolean;
}

const MASK = "·", END = "∎", PALE = "2";

/** Colours by confidence: green from .9 on, yellow from .5 on, red below. */
const colourOf = (confidence: number): string => confidence >= 0.9 ? "32" : confidence >= 0.5 ? "33" : "31";

/** A character on the screen. */
interface Glyph {
  readonly text: string;
  /** Columns. */
  readonly width: number;
  readonly style: string;
  /** Whether a line may end after it. */
  readonly breaks: boolean;
}

const isWide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

function glyphsOf({ text, before = "", confidence, end }: Cell): Glyph[] {
  const style = text === undefined || end ? PALE : confidence === undefined ? "" : colourOf(confidence);
  // What would move the cursor is left out.
  const shown = (end ? END : text ?? MASK).replaceAll("\t", " ").replaceAll(/(?!\n)[\p{Cc}\p{Cf}]/gu, "");
  const glyph = (text: string, style: string): Glyph => {
    const width = /\p{M}/u.test(text) ? 0 : isWide.test(text) ? 2 : 1;
    return { text, width, style, breaks: text === " " || text === MASK || text === END || width === 2 };
  };
  return [...[...before].map((c) => glyph(c, "")), ...[...shown].map((c) => glyph(c, style))];
}

/**
 * Lines of at most `width` columns; words stay whole where they fit, of however many tokens they are. With `colour`, escapes that take no room stand around
 * what is written.
 */
export function canvasLines(
  cells: readonly Cell[],
  { width, colour }: { readonly width: number; readonly colour: boolean },
): string[] {
  const lines: Glyph[][] = [[]];
  for (const glyph of cells.flatMap(glyphsOf)) {
    if (glyph.text === "\n") {
      lines.push([]);
      continue;
    }
    const line = lines.at(-1)!, columns = line.reduce((sum, { width }) => sum + width, glyph.width);
    // Spaces stand over the edge, where nobody sees them.
    if (columns > width && glyph.text !== " " && line.length > 0) {
      const start = line.findLastIndex(({ breaks }) => breaks) + 1;
      lines.push(start > 0 ? line.splice(start) : []);
    }
    lines.at(-1)!.push(glyph);
  }
  if (lines.at(-1)!.length === 0) lines.pop();
  return lines.map((line) => textOf(line, colour));
}

function textOf(line: readonly Glyph[], colour: boolean): string {
  const shown = line.slice(0, line.findLastIndex(({ text }) => text !== " ") + 1);
  if (!colour) return shown.map(({ text }) => text).join("");
  let out = "", style = "";
  for (const glyph of shown) {
    // A space has no colour to see: it keeps what stands before it.
    if (glyph.style !== style && glyph.text !== " ") {
      out += `${style && "\x1b[0m"}${glyph.style && `\x1b[${glyph.style}m`}`;
      style = glyph.style;
    }
    out += glyph.text;
  }
  return style ? `${out}\x1b[0m` : out;
}

/** The lines that fit: those up to the last one on which something is written, and one more. */
export function linesInSight(lines: readonly string[], count: number): readonly string[] {
  const written = lines.findLastIndex((line) => /[^ ·]/.test(stripVTControlCharacters(line)));
  const end = Math.max(count, Math.min(lines.length, written + 2));
  return lines.slice(Math.max(0, end - count), end);
}

export interface CanvasOptions {
  /** Positions of the answer: `from` .. `from + length - 1`. */
  readonly from: number;
  readonly length: number;
  readonly maskId: number;
  /** Tokens that end a text. */
  readonly ends: readonly number[];
  readonly decode: (tokens: ArrayLike<number>) => string;
  readonly write: (text: string) => void;
  readonly size: () => { readonly columns: number; readonly rows: number };
  readonly colour: boolean;
}

/** Draws one state after another in the same place, as much of it as the terminal has lines for, and takes it away again. */
export class Canvas {
  readonly #confidence = new Map<number, number>();
  readonly #separator: string;
  #drawn = 0;

  constructor(readonly options: CanvasOptions) {
    // Tokenizers of whole words put the spaces between them when they decode several.
    const { decode, maskId } = options, other = maskId > 0 ? 0 : 1;
    this.#separator = decode([other, other]).length > 2 * decode([other]).length ? " " : "";
  }

  draw(tokens: Int32Array, committed: readonly Commit[], status: string): void {
    for (const { position, confidence } of committed) this.#confidence.set(position, confidence);
    const { columns, rows } = this.options.size();
    const lines = canvasLines(this.#cells(tokens), { width: columns, colour: this.options.colour });
    this.#put([...linesInSight(lines, Math.max(1, rows - 2)), status.slice(0, columns)]);
  }

  clear(): void {
    this.#put([]);
  }

  #cells(tokens: Int32Array): Cell[] {
    const { from, length, maskId, ends, decode } = this.options, stop = from + length, cells: Cell[] = [];
    const isText = (p: number) => p < stop && tokens[p] !== maskId && !ends.includes(tokens[p]);
    for (let p = from, next = p; p < stop; p = next) {
      const before = p === from ? "" : this.#separator;
      next = p + 1;
      if (!isText(p)) {
        cells.push({ before, end: tokens[p] !== maskId });
        continue;
      }
      let text = decode(tokens.subarray(p, next));
      // Characters of several tokens, four bytes at most.
      while (text.endsWith("\ufffd") && next < p + 4 && isText(next)) text = decode(tokens.subarray(p, ++next));
      const sure = [...tokens.subarray(p, next).keys()].map((k) => this.#confidence.get(p + k) ?? NaN);
      const confidence = Math.min(...sure);
      cells.push({ before, text, ...(Number.isNaN(confidence) ? {} : { confidence }) });
    }
    return cells;
  }

  #put(lines: readonly string[]): void {
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    this.options.write(`${up}\r\x1b[J${lines.map((line) => `${line}\n`).join("")}`);
    this.#drawn = lines.length;
  }
}
