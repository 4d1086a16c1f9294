/**
 * Pictures through a headless Chromium, where one is installed. Nothing else needs a browser: figures are
 * drawn as SVG without one.
 */
import { basename, dirname, join, toFileUrl } from "@std/path";
import { parseArgs } from "node:util";

const names = ["chromium"];
/** A browser without a window that keeps to its page. */
export const browserFlags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface RenderOptions {
  /** Pixels; by default the size that an SVG says it has. */
  readonly width?: number;
  readonly height?: number;
  /** Device pixels per pixel: 2 by default, for sharp print. */
  readonly scale?: number;
  /** Milliseconds that scripts of the page get. */
  readonly patience?: number;
  /** Told why there is no picture. */
  readonly onProblem?: (message: string) => void;
}

/** The first Chromium or Chrome on the path, or undefined. */
export async function findBrowser(): Promise<string | undefined> {
  for (const name of names) {
    try {
      const { success } = await new Deno.Command(name, { args: ["--version"], stdout: "null", stderr: "null" })
        .output();
      if (success) return name;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/**
 * Renders an SVG or HTML file to a PNG. Returns false, after a message to `onProblem`, when there is no browser or it
 * made no picture. Throws `SyntaxError` when no size is given and the file says none. Needs permission to run the browser and to write the folder of `to`, where the browser's profile
 * lives for the moment.
 */
export async function renderPng(from: string, to: string, options: RenderOptions): Promise<boolean> {
  const { scale = 2, patience = 4000, onProblem = console.error } = options;
  const given = options.width && options.height ? { width: options.width, height: options.height } : undefined;
  const { width, height } = given ?? sizeOfSvg(await Deno.readTextFile(from));
  const browser = await findBrowser();
  if (!browser) {
    onProblem(`No PNG of ${from}: found none of ${names.join(", ")}; install Debian's chromium, or use the SVG`);
    return false;
  }
  const profile = await Deno.makeTempDir({
    dir: dirname(to),
    prefix: ".browser-",
  });
  try {
    const [source, target] = await Promise.all([Deno.realPath(from), absolute(to)]);
    const args = [
      ...browserFlags,
      "--hide-scrollbars",
      `--user-data-dir=${profile}`,
      `--window-size=${Math.ceil(width)},${Math.ceil(height)}`,
      `--force-device-scale-factor=${scale}`,
      `--virtual-time-budget=${patience}`,
      `--screenshot=${target}`,
      toFileUrl(source).href,
    ];
    // A stale picture must not pass for a new one.
    await Deno.remove(target).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    const { success, stderr } = await new Deno.Command(browser, { args, stdout: "null", stderr: "piped" }).output();
    const written = await Deno.stat(target).then(({ size }) => size > 0, () => false);
    if (success && written) return true;
    onProblem(`No PNG of ${from}: ${browser} failed: ${new TextDecoder().decode(stderr).trim().split("\n").at(-1)}`);
    return false;
  } finally {
    await Deno.remove(profile, { recursive: true }).catch(() => {}); // the browser may still be letting go of it
  }
}

/** The size that an SVG says it has, in pixels. */
export function sizeOfSvg(svg: string): { readonly width: number; readonly height: number } {
  const [width, height] = ["width", "height"].map((name) => Number(svg.match(`<svg[^>]*\\s${name}="([\\d.]+)"`)?.[1]));
  if (!(width > 0 && height > 0)) {
    throw new SyntaxError("Cannot size a picture: its svg element has no width and height");
  }
  return { width, height };
}

const absolute = async (path: string): Promise<string> => join(await Deno.realPath(dirname(path)), basename(path));

if (import.meta.main) {
  const { positionals: [from, to], values: { width, height } } = parseArgs({
    args: Deno.args,
    options: { width: { type: "string" }, height: { type: "string" } },
    allowPositionals: true,
  });
  if (from === undefined || to === undefined) {
    console.error("Usage: render.ts FROM.svg|FROM.html TO.png [--width 1080] [--height 720]; an SVG says its own size");
    Deno.exit(2);
  }
  const size = width && height ? { width: Number(width), height: Number(height) } : {};
  if (!await renderPng(from, to, size)) Deno.exit(1);
}
