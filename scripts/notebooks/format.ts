/** Notebook files as values, and the form in which executed ones are kept: re-executing gives the same bytes where the results are the same. */
import { displayName, kernelName } from "../kernel.ts";
import { sizeOfSvg } from "../render.ts";

export interface Output {
  readonly output_type: "stream" | "display_data" | "execute_result" | "error";
  /** Of a stream. */
  readonly name?: string;
  readonly text?: string | readonly string[];
  /** Of a display or result, by MIME type. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly execution_count?: number | null;
  /** Of an error. */
  readonly ename?: string;
  readonly evalue?: string;
  readonly traceback?: readonly string[];
}

export interface Cell {
  readonly cell_type: "code" | "markdown" | "raw";
  readonly id: string;
  readonly source: string | readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly outputs?: readonly Output[];
  readonly execution_count?: number | null;
}

export interface Notebook {
  readonly cells: readonly Cell[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly nbformat: number;
  readonly nbformat_minor: number;
}

/** Notebook texts are strings or lists of lines. */
export function textOf(text: string | readonly string[]): string {
  return typeof text === "string" ? text : text.join("");
}

/** Parses a notebook file. Throws `SyntaxError` naming the file. */
export function parseNotebook(text: string, name: string): Notebook {
  let value: Partial<Notebook>;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`Cannot read ${name}: ${(error as Error).message}`);
  }
  if (!Array.isArray(value?.cells) || value.nbformat !== 4) {
    throw new SyntaxError(`Cannot read ${name}: wanted a Jupyter notebook of format 4 with a list of cells`);
  }
  return value as Notebook;
}

/** The text of a notebook as Jupyter itself writes it: sorted keys, one space of indent. */
export function formatNotebook(notebook: Notebook): string {
  return JSON.stringify(sorted(notebook), null, 1) + "\n";
}

/** The first cell that failed, counted from 1, and what it said. */
export function failureOf({ cells }: Notebook): { readonly cell: number; readonly message: string } | undefined {
  for (const [i, { outputs = [] }] of cells.entries()) {
    const error = outputs.find(({ output_type }) => output_type === "error");
    if (error) return { cell: i + 1, message: `${error.ename ?? "Error"}: ${error.evalue ?? "no message"}` };
  }
}

/** Drops what differs from run to run or machine to machine: times of execution, versions, whatever editors add to the metadata. */
export function normalised(notebook: Notebook): Notebook {
  const cells = notebook.cells.map((cell) => {
    const { execution: _, ...metadata } = cell.metadata;
    return { ...cell, metadata };
  });
  const metadata = {
    kernelspec: { display_name: displayName, language: "typescript", name: kernelName },
    language_info: { name: "typescript", file_extension: ".ts", mimetype: "text/x.typescript" },
  };
  return { cells, metadata, nbformat: 4, nbformat_minor: 5 };
}

/** Places in a notebook that name a folder of this machine. */
export function machinePaths(notebook: Notebook, folders: readonly string[]): string[] {
  return notebook.cells.flatMap((cell, i) => {
    const text = JSON.stringify(cell);
    return folders.filter((folder) => text.includes(folder)).map((folder) => `cell ${i + 1} contains ${folder}`);
  });
}

/** What stands in an output beside its PNG: the picture's source, so that a figure that did not change keeps its bytes. */
const sourceKey = "svg_sha256";

/**
 * Replaces SVG by PNG in all outputs. GitHub's viewer and notebooks that are not trusted in JupyterLab leave SVG out, and both prefer it to a PNG that
 * stands beside it. A picture whose SVG is the one that `before` was made from is taken from there; others are rendered (undefined: the SVG stays).
 */
export async function withPictures(
  notebook: Notebook,
  before: Notebook | undefined,
  render: (svg: string, size: { readonly width: number; readonly height: number }) => Promise<string | undefined>,
): Promise<Notebook> {
  const known = new Map<string, unknown>();
  for (const { data, metadata } of before?.cells.flatMap(({ outputs = [] }) => outputs) ?? []) {
    if (data?.["image/png"] && metadata?.[sourceKey]) known.set(String(metadata[sourceKey]), data["image/png"]);
  }
  const convert = async (output: Output): Promise<Output> => {
    const svg = output.data?.["image/svg+xml"];
    if (svg === undefined) return output;
    const text = textOf(svg as string | string[]);
    const source = await sha256(text);
    const size = sizeOfSvg(text);
    const png = known.get(source) ?? await render(text, size);
    if (png === undefined) return output;
    const { "image/svg+xml": _, ...rest } = output.data!;
    const metadata = { ...output.metadata, [sourceKey]: source, "image/png": size };
    return { ...output, data: { ...rest, "image/png": png }, metadata };
  };
  const cells: Cell[] = [];
  for (const cell of notebook.cells) {
    const outputs: Output[] = [];
    for (const output of cell.outputs ?? []) outputs.push(await convert(output));
    cells.push(cell.outputs ? { ...cell, outputs } : cell);
  }
  return { ...notebook, cells };
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([k, v]) => [k, sorted(v)]));
}
