/** A text as it is unmasked, in the terminal. */
import type { Commit } from "quant-dllm";

/** A place of the answer: its text and how sure the model was of it, or a mask. */
export interface Cell {
  readonly text?: string;
  readonly confidence?: number;
}

const MASK = "·";

/** Colours by confidence: green from .9 on, yellow from .5 on, red below. */
const colourOf = (confidence: number): string => confidence >= 0.9 ? "32" : confidence >= 0.5 ? "33" : "31";

/** Lines of at most `width` characters; words stay whole where they fit. With `colour`, escapes that take no room stand around what is written. */
export function canvasLines(
  cells: readonly Cell[],
  { width, colour }: { readonly width: number; readonly colour: boolean },
): string[] {
  const lines: string[] = [];
  let line = "", length = 0;
  const end = () => {
    lines.push(line);
    [line, length] = ["", 0];
  };
  for (const { text, confidence } of cells) {
    const [first, ...others] = (text ?? MASK).split("\n");
    for (const [i, whole] of [first, ...others].entries()) {
      if (i > 0) end();
      // Cut by characters, which the terminal counts.
      let rest = [...whole.replaceAll("\t", " ").replaceAll(/\p{Cc}/gu, "")];
      while (rest.length > 0) {
        if (length > 0 && length + rest.length > width) end();
        if (length === 0) rest = rest.join("").replace(/^ +/, "").split(/(?:)/u).filter(Boolean);
        const part = rest.slice(0, width), shown = part.join("");
        line += colour && text === undefined
          ? `\x1b[2m${shown}\x1b[0m`
          : colour && confidence !== undefined
          ? `\x1b[${colourOf(confidence)}m${shown}\x1b[0m`
          : shown;
        length += part.length;
        rest = rest.slice(width);
      }
    }
  }
  if (length > 0) end();
  return lines;
}

export interface CanvasOptions {
  /** Positions of the answer: `from` .. `from + length - 1`. */
  readonly from: number;
  readonly length: number;
  readonly maskId: number;
  readonly decode: (tokens: ArrayLike<number>) => string;
  readonly write: (text: string) => void;
  readonly size: () => { readonly columns: number; readonly rows: number };
  readonly colour: boolean;
}

/** Draws one state after another in the same place, the end of it where it is higher than the terminal, and takes it away again. */
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
    const { from, length, maskId, decode, size, colour } = this.options, { columns, rows } = size();
    const cells = Array.from({ length }, (_, i): Cell => {
      const token = tokens[from + i], space = i === 0 ? "" : this.#separator;
      if (token === maskId) return space ? { text: `${space}${MASK}` } : {};
      return { text: space + decode([token]), confidence: this.#confidence.get(from + i) };
    });
    const lines = canvasLines(cells, { width: columns, colour }).slice(-Math.max(1, rows - 2));
    this.#put([...lines, status.slice(0, columns)]);
  }

  clear(): void {
    this.#put([]);
  }

  #put(lines: readonly string[]): void {
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    this.options.write(`${up}\r\x1b[J${lines.map((line) => `${line}\n`).join("")}`);
    this.#drawn = lines.length;
  }
}
