/**
 * Static pictures: Vega draws SVG without a browser. It is loaded when the first picture is drawn, so that what draws
 * none does not wait for it.
 */
import { withoutControls } from "../escape.ts";
import { textWidth } from "../look.ts";
import type { FigureSpec } from "../spec.ts";
import { vegaLite } from "./translate.ts";

/** What Vega asks for the width of a text; its typings leave this export out. */
interface TextMetrics {
  readonly textMetrics: { width: (item: { readonly fontSize?: number }, text: unknown) => number };
}

/**
 * Draws a figure that `figure` has completed. Everything outside `spec.ts` is ignored; equal figures give equal bytes.
 * Throws `TypeError` with Vega-Lite's words on a figure that it would not draw as it stands.
 */
export async function renderSvg(spec: FigureSpec): Promise<string> {
  const [{ compile }, vega] = await Promise.all([import("vega-lite"), import("vega")]);
  const problems: string[] = [];
  const note = (...texts: unknown[]) => (problems.push(texts.join(" ")), logger);
  const logger = { level: () => logger, error: note, warn: note, info: () => logger, debug: () => logger };
  const { spec: compiled } = compile(vegaLite(spec), { logger: logger as never });
  if (problems.length > 0) {
    throw new TypeError(`Cannot draw ${JSON.stringify(spec.layout.title?.text ?? "a figure")}: ${problems.join("; ")}`);
  }
  // Vega asks a canvas how wide letters are; without one its guess is half as wide again as they are.
  (vega as unknown as TextMetrics).textMetrics.width = ({ fontSize = 11 }, text) =>
    textWidth(String([text].flat()[0] ?? ""), fontSize);
  const view = new vega.View(vega.parse(compiled), { renderer: "none", logLevel: vega.Error });
  const svg = await view.toSVG();
  view.finalize();
  // Vega counts ids over all pictures of a process.
  const ids = [...new Set(svg.match(/(?<=\bid=")[^"]+/g))];
  return withoutControls(svg.replaceAll(/(?<=\bid="|url\(#)[^")]+/g, (id) => `part${ids.indexOf(id)}`)) + "\n";
}
