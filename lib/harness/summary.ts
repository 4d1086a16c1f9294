/** Sample rows become the numbers of a task and of a group; and outcomes that `compare` pairs. */
import { onePlatform, type Outcomes } from "../evaluate/compare.ts";
import { mcField, type SampleRow } from "./samples.ts";

/** A metric of a task or group, by one filter. */
export interface Score {
  readonly metric: string;
  readonly filter: string;
  readonly value: number;
  /** Over the choice of rows: sample standard deviation / sqrt(n). It holds the noise of the masks too. NaN for one row. */
  readonly standardError: number;
  /** Over the random masks alone; absent where none are drawn. */
  readonly mcStandardError?: number;
  readonly n: number;
}

/** What a task's rows say, by filter and metric, in order of appearance. */
export function scoresOf(rows: readonly SampleRow[]): Score[] {
  return [...Map.groupBy(rows, ({ filter }) => filter)].flatMap(([filter, own]) =>
    own[0].metrics.map((metric): Score => {
      const values = own.map((row) => row[metric] as number);
      const n = values.length;
      const value = sum(values) / n;
      const spread = sum(values.map((x) => (x - value) ** 2));
      const variances = own.map((row) => row[mcField(metric)] as number | undefined);
      return {
        metric,
        filter,
        value,
        standardError: n > 1 ? Math.sqrt(spread / (n - 1) / n) : NaN,
        ...(variances[0] === undefined ? {} : { mcStandardError: Math.sqrt(sum(variances.map(Number))) / n }),
        n,
      };
    })
  );
}

/** A group's scores from those of its tasks: means weighted by rows, and the pooled standard error of lm-evaluation-harness. */
export function groupScores(tasks: readonly (readonly Score[])[]): Score[] {
  return tasks[0].map(({ metric, filter }): Score => {
    const own = tasks.map((scores) => scores.find((s) => s.metric === metric && s.filter === filter)!);
    const n = sum(own.map((score) => score.n));
    const pooled = sum(own.map((score) => (score.n - 1) * score.standardError ** 2 * score.n)) / (n - own.length);
    const masks = own.map((score) => score.mcStandardError);
    return {
      metric,
      filter,
      value: sum(own.map((score) => score.value * score.n)) / n,
      standardError: Math.sqrt(pooled / n),
      ...(masks[0] === undefined ? {} : {
        mcStandardError: Math.sqrt(sum(masks.map((error, i) => (error! * own[i].n) ** 2))) / n,
      }),
      n,
    };
  });
}

/** What a run kept of its tasks: see `HarnessRun`. */
export interface RunItems {
  readonly seed: number;
  /** What it was made on, where that is known. */
  readonly platform?: string;
  /** Per task with its version and the hash of what was asked, the first metric of the first filter, row by row. */
  readonly items: Readonly<Record<string, readonly number[]>>;
}

/** A task's first metric by its first filter, row by row, under a name that says what was asked. */
export function itemsOf({ id, version, hash, rows }: {
  readonly id: string;
  readonly version: string;
  readonly hash: string;
  readonly rows: readonly SampleRow[];
}): RunItems["items"] {
  const [{ filter, metrics: [metric] }] = rows;
  const values = rows.filter((row) => row.filter === filter).map((row) => row[metric] as number);
  return { [`${id}@${version} ${hash.slice(0, 12)}`]: values };
}

/**
 * The outcomes of one model at one or several seeds, for `compare`: two models that were asked the same at one seed saw the same masks, so that their
 * differences are paired row by row. What was asked stands in the names of the tasks: models that were asked different things do not pair. Throws
 * `RangeError` for runs of several devices or versions, unless that is asked for.
 *
 * @example
 * ```ts
 * import { compare, harnessOutcomes, type HarnessRun, sentenceOf } from "quant-dllm";
 *
 * const say = (full: HarnessRun, quantized: HarnessRun) =>
 *   sentenceOf(compare(harnessOutcomes("2 bits", [quantized]), harnessOutcomes("16 bits", [full])));
 * console.log(say.length);
 * ```
 */
export function harnessOutcomes(
  label: string,
  runs: readonly RunItems[],
  { acrossPlatforms = false }: { readonly acrossPlatforms?: boolean } = {},
): Outcomes {
  const tasks = Object.keys(runs[0].items);
  const platform = onePlatform(runs.map((run) => run.platform), {
    where: `Cannot put runs of ${JSON.stringify(label)} together`,
    acrossPlatforms,
  });
  return {
    label,
    ...(platform === undefined ? {} : { platform }),
    metric: "accuracy",
    seeds: runs.map(({ seed }) => seed),
    items: Object.fromEntries(tasks.map((task) => [task, runs.map(({ items }) => items[task])])),
    // The model is one: its seeds draw masks only.
    seedless: true,
  };
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
