/** Reads what Vega draws: whether it is well-formed, and where its texts stand. */
import { assert, assertEquals } from "@std/assert";
import { textWidth } from "../../lib/report/look.ts";

/** Throws unless every element of an XML text is closed in its order and every attribute is quoted. */
export function assertWellFormed(xml: string) {
  const open: string[] = [];
  const rest = xml.replace(
    /<(\/?)([\w:-]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g,
    (_, closing, name, _attributes, empty) => {
      if (closing) assertEquals(open.pop(), name);
      else if (!empty) open.push(name);
      return "";
    },
  );
  assertEquals(open, []);
  assert(!/[<>]|&(?!amp;|lt;|gt;|quot;|#39;|#34;)/.test(rest), "markup left over");
  // deno-lint-ignore no-control-regex -- the characters XML forbids
  assert(!/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/.test(xml), "a control character is left");
}

export interface TextBox {
  readonly content: string;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Boxes of the lines that stand level or upright, from the estimated width of their letters; others are left out. */
export function textBoxes(svg: string): TextBox[] {
  const boxes: TextBox[] = [];
  const places: [number, number][] = [[0, 0]];
  const number = (attributes: string, pattern: RegExp) => Number(pattern.exec(attributes)?.[1] ?? 0);
  for (
    const [, tag, attributes, content] of svg.matchAll(
      /<(g|\/g|text)((?:\s[^>]*)?)>(?:((?:[^<]|<\/?tspan[^>]*>)*)<\/text>)?/g,
    )
  ) {
    if (tag === "/g") places.pop();
    const [x, y] = places.at(-1)!;
    const moved = /translate\(([-\d.e]+),([-\d.e]+)\)/.exec(attributes);
    const [left, top] = [x + Number(moved?.[1] ?? 0), y + Number(moved?.[2] ?? 0)];
    if (tag === "g") places.push([left, top]);
    if (tag !== "text" || !content) continue;
    const size = number(attributes, /font-size="([\d.]+)px"/);
    const turned = number(attributes, /rotate\(([-\d.]+)\)/);
    const lines = content.includes("<tspan")
      ? content.split("</tspan>").map((line) => line.replace(/<[^>]*>/, ""))
      : [content];
    lines.filter((line) => line !== "").forEach((raw, i) => {
      const line = raw.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll(
        "&amp;",
        "&",
      );
      const width = textWidth(line, size) / 1.08;
      const back = attributes.includes('"middle"') ? width / 2 : attributes.includes('"end"') ? width : 0;
      const base = top + i * (size + 2);
      if (turned === 0) {
        boxes.push({
          content: line,
          left: left - back,
          right: left - back + width,
          top: base - 0.75 * size,
          bottom: base + 0.2 * size,
        });
      }
      if (turned === -90) {
        // Letters stand on the right, their heads to the left.
        const foot = left + number(attributes, /\)\s*translate\(0,([-\d.]+)\)/);
        const [head, heel] = [foot - 0.75 * size, foot + 0.2 * size];
        boxes.push({ content: line, left: head, right: heel, top: top + back - width, bottom: top + back });
      }
    });
  }
  return boxes;
}

/** The texts of a picture, one line each. */
export const linesOf = (svg: string): string[] => textBoxes(svg).map(({ content }) => content);
