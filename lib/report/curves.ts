/** Figures over steps: what falls while something is tuned, and a text that is unmasked. */
import { type Figure, figure } from "./figure.ts";
import { basisOf, distinct, type Labels, same, stacked, symbols, titles } from "./figure_parts.ts";
import { colorsOf, sequential } from "./look.ts";
import type { Row } from "./rows.ts";
import type { Axis, HeatmapTrace, ScatterTrace } from "./spec.ts";

export interface CurveOptions extends Labels {
  /** The field along the horizontal axis; "step" by default. */
  readonly x?: string;
  /** The field that names a curve; "label" by default. */
  readonly series?: string;
  /** Values on a linear axis. */
  readonly linear?: boolean;
}

/**
 * Values against steps, a curve for each series, a panel for each task, on a logarithmic axis.
 *
 * @example
 * ```ts
 * import { curves, decodeRows } from "quant-dllm";
 *
 * const rows = decodeRows(await Deno.readTextFile("data/results/tuning_curves.jsonl"));
 * const svg = await curves(rows.filter(({ study }) => study === "tuning"), { value: "KL, nats" }).toSvg();
 * ```
 */
export function curves(rows: readonly Row[], options: CurveOptions = {}): Figure {
  const { x = "step", series = "label", label = same, scale = 1 } = options;
  const names = distinct(rows.map((row) => String(row[series]))), colors = colorsOf(names);
  const panels = [...Map.groupBy(rows, ({ task }) => task)], domains = stacked(panels.map(() => 1), 0.1);
  const axes: Record<string, Axis> = {};
  const data = panels.flatMap(([task, own], p) => {
    const ref = p === 0 ? "" : String(p + 1);
    axes[`xaxis${ref}`] = p === panels.length - 1 ? { title: { text: x } } : {};
    axes[`yaxis${ref}`] = {
      title: { text: `${options.value ?? own[0].metric}, ${task}` },
      domain: domains[p],
      ...(options.linear ? {} : { type: "log" as const }),
    };
    return names.flatMap((name, i): ScatterTrace[] => {
      const line = own.filter((row) => String(row[series]) === name).sort((a, b) => Number(a[x]) - Number(b[x]));
      if (line.length === 0) return [];
      return [{
        type: "scatter",
        mode: "lines+markers",
        name: label(name),
        showlegend: panels.every(([, rows], q) => q >= p || !rows.some((row) => String(row[series]) === name)),
        x: line.map((row) => Number(row[x])),
        y: line.map(({ value }) => value * scale),
        marker: { color: colors[i], size: 7, symbol: symbols[i % symbols.length] },
        line: { color: colors[i] },
        xaxis: `x${ref}`,
        yaxis: `y${ref}`,
      }];
    });
  });
  const height = 120 + 330 * panels.length;
  return figure({ data, layout: { ...titles(options, "On the way", basisOf(rows)), height, ...axes } });
}

/** A point of a sampler's way, as samplers yield them. */
export interface UnmaskingState {
  /** Prompt and answer. */
  readonly tokens: ArrayLike<number>;
  /** Masked positions left. */
  readonly masked: number;
  readonly done: number;
  /** What the step before committed. */
  readonly committed?: readonly { readonly position: number; readonly token: number; readonly confidence: number }[];
}

export interface UnmaskingOptions extends Omit<Labels, "ours" | "label" | "scale"> {
  /** A token's text, which names its row. */
  readonly decode: (token: number) => string;
}

/** Most steps whose numbers have room below the figure. */
const mostNumbers = 40;

/**
 * An answer as it is unmasked: a row for each of its tokens, a column for each step, grey while masked and coloured from then on by the confidence of the
 * commit. Confidences between 0 and 1 have the whole scale, others (negative entropies) that of their own range.
 *
 * @param states of one walk in order, from the one before the first step on, in which all of the answer and nothing else is masked.
 * @throws RangeError when there are no states, or the first one is not that.
 *
 * @example
 * ```ts
 * import { lladaSampler, loadModel, unmaskingFigure } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada"), prompt = model.tokenizer.encode("lomen rubs the boat and it");
 * const sampler = lladaSampler({ block: 8, threshold: 0.9 });
 * const states = await Array.fromAsync(sampler.walk(model, prompt, { length: 24, steps: 24, seed: 1 }));
 * const svg = await unmaskingFigure(states, { decode: (token) => model.tokenizer.decode([token]) }).toSvg();
 * ```
 */
export function unmaskingFigure(states: readonly UnmaskingState[], options: UnmaskingOptions): Figure {
  if (states.length === 0) throw new RangeError("Cannot draw how a text is unmasked: there are no states");
  const { tokens } = states.at(-1)!, length = states[0].masked, from = tokens.length - length;
  const commits = states.flatMap(({ done, committed = [] }) => committed.map((commit) => ({ ...commit, done })));
  if (states[0].done > 0 || commits.some(({ position }) => position < from)) {
    throw new RangeError(
      "Cannot draw how a text is unmasked: wanted all states of a walk, the one before its first step too",
    );
  }
  const at = new Map(commits.map((commit) => [commit.position, commit]));
  const steps = states.slice(1).map(({ done }) => done), positions = Array.from({ length }, (_, i) => from + i);
  const values = commits.map(({ confidence }) => confidence);
  const [low, high] = [Math.min(0, ...values), Math.max(...values)];
  const [zmin, zmax] = low === 0 && high <= 1 ? [0, 1] : [low, high > low ? high : low + 1];
  const trace: HeatmapTrace = {
    type: "heatmap",
    x: steps.map(String),
    // With their numbers: rows are told apart by their names.
    y: positions.map((p, i) => `${i + 1}: ${at.has(p) ? shown(options.decode(at.get(p)!.token)) : "·"}`),
    z: positions.map((p) => {
      const commit = at.get(p);
      return steps.map((step) => commit && commit.done <= step ? commit.confidence : null);
    }),
    ...{ zmin, zmax, colorscale: sequential },
    colorbar: { title: { text: options.value ?? "confidence", side: "right" } },
  };
  const xaxis: Axis = { type: "category", title: { text: "step" }, showticklabels: steps.length <= mostNumbers };
  return figure({
    data: [trace],
    layout: {
      ...titles(options, "A text as it is unmasked"),
      height: 200 + Math.max(6, length) * 16,
      ...{ xaxis, yaxis: { type: "category", autorange: "reversed" } },
    },
  });
}

const shown = (text: string) => text.replaceAll("\n", "↵").trim() || "␣";
