/** Comparisons in words. Reports and notebooks say what these sentences say. */
import { type Comparison, leastSeeds, type Metric, resolvable } from "./compare.ts";

/** How a metric is shown. */
const shown: Readonly<Record<Metric, { unit: string; scale: number; digits: number; items: string }>> = {
  "accuracy": { unit: "points", scale: 100, digits: 1, items: "items" },
  "nats per token": { unit: "nats per token", scale: 1, digits: 4, items: "windows" },
  "passes per token": { unit: "passes per token", scale: 1, digits: 3, items: "prompts" },
};

/**
 * One sentence: "levels is better than official by 3.4 ± 0.6 points (95 % interval 1.9 to 4.9; n = 2,800 items, 5 seeds)". What stands after ± is the
 * standard error.
 *
 * @example
 * ```ts
 * import { type Comparison, sentenceOf } from "quant-dllm";
 *
 * const lines = (await Deno.readTextFile("data/results/verdicts.jsonl")).split("\n").filter(Boolean);
 * for (const line of lines) console.log(sentenceOf(JSON.parse(line) as Comparison));
 * ```
 */
export function sentenceOf(comparison: Comparison): string {
  const { a, b, verdict, difference, metric } = comparison;
  const how = `(${detailsOf(comparison)})`;
  const size = `${plain(Math.abs(difference), metric)} ± ${errorText(comparison)}`;
  if (verdict === "better" || verdict === "worse") return `${a} is ${verdict} than ${b} by ${size} ${how}`;
  const signed = `${differenceText(comparison)} ${how}`;
  return verdict === "too few seeds"
    ? `too few seeds to compare ${a} with ${b}: ${signed}`
    : `no difference seen between ${a} and ${b}: ${signed}`;
}

/**
 * What becomes of the claim that a is better than b: "holds: +5.1 ± 0.6 points".
 *
 * @example
 * ```ts
 * import { type Comparison, verdictLine } from "quant-dllm";
 *
 * const lines = (await Deno.readTextFile("data/results/verdicts.jsonl")).split("\n").filter(Boolean);
 * const comparisons = lines.map((line) => JSON.parse(line) as Comparison);
 * for (const c of comparisons) console.log(`${c.a} is better than ${c.b} in ${c.metric}: ${verdictLine(c)}`);
 * ```
 */
export function verdictLine(comparison: Comparison): string {
  const text = differenceText(comparison);
  switch (comparison.verdict) {
    case "better":
      return `holds: ${text}`;
    case "worse":
      return `does not hold, the reverse does: ${text}`;
    case "no difference seen":
      return `does not hold, no difference seen: ${text}`;
    case "too few seeds":
      return `too few seeds (${comparison.seeds}, wanted ${leastSeeds}): ${text}`;
  }
}

/** The difference a - b: "+5.1 ± 0.6 points", what stands after ± being the standard error. */
export function differenceText(comparison: Comparison): string {
  const { difference, metric } = comparison;
  return `${signed(difference, metric)} ± ${errorText(comparison)}`;
}

/**
 * What a run can tell apart at all: "5 seeds and 2,800 items tell a difference of 1.2 points from none".
 *
 * @example
 * ```ts
 * import { type Comparison, resolutionText } from "quant-dllm";
 *
 * const [line] = (await Deno.readTextFile("data/results/verdicts.jsonl")).split("\n");
 * console.log(resolutionText(JSON.parse(line) as Comparison)); // whether the run could have seen it at all
 * ```
 */
export function resolutionText(comparison: Comparison): string {
  const { metric } = comparison;
  return `${seedsText(comparison)} and ${itemsText(comparison)} tell a difference of ` +
    `${plain(resolvable(comparison), metric)} ${shown[metric].unit} from none`;
}

function detailsOf(comparison: Comparison): string {
  const { interval: [low, high], metric, seeds, seedless } = comparison;
  const alone = seeds === 1 && !seedless ? ", without the error of seeds" : "";
  return `95 % interval ${signed(low, metric)} to ${signed(high, metric)}; n = ${itemsText(comparison)}, ` +
    seedsText(comparison) + alone;
}

function seedsText({ seeds, seedless }: Comparison): string {
  if (seedless) return "arms without a seed";
  return seeds === 1 ? "1 seed" : `${seeds} seeds`;
}

const itemsText = ({ n, metric }: Comparison) => `${n.toLocaleString("en")} ${shown[metric].items}`;

const errorText = ({ standardError, metric }: Comparison) => `${plain(standardError, metric)} ${shown[metric].unit}`;

function plain(value: number, metric: Metric): string {
  const { scale, digits } = shown[metric];
  return (scale * value).toFixed(digits);
}

/** With its sign, unless it shows as zero. */
function signed(value: number, metric: Metric): string {
  const text = plain(Math.abs(value), metric);
  return Number(text) === 0 ? text : `${value < 0 ? "-" : "+"}${text}`;
}
