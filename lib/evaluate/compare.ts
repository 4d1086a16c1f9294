/** Comparisons of arms, paired by seed and item, and what they allow to say: the one place that turns differences into verdicts. */
import { studentQuantile } from "./student.ts";
import type { Measurement } from "./study.ts";
import { type Crossed, crossedMean, errorOf, type Estimate, type Variances } from "./variance.ts";

/** What is compared; the names are those of `Row.metric`. */
export type Metric = "accuracy" | "nats per token" | "passes per token";

/** Of arm a against arm b. */
export type Verdict = "better" | "worse" | "no difference seen" | "too few seeds";

/** Fewer seeds do not show how far the next one would fall: no verdict. */
export const leastSeeds = 5;

/** Which way is better, and the least change of one outcome. */
const metrics: Readonly<Record<Metric, { readonly better: 1 | -1; readonly step: number }>> = {
  "accuracy": { better: 1, step: 1 },
  "nats per token": { better: -1, step: 0 },
  "passes per token": { better: -1, step: 0 },
};

/** What one arm did, item by item. */
export interface Outcomes {
  readonly label: string;
  readonly metric: Metric;
  /** What the rows of each matrix are the outcomes of. Arms are paired by them. */
  readonly seeds: readonly number[];
  /**
   * Per task `[seeds][items]`: 1 for right and 0 for wrong, or the nats per token of a window. Arms are paired by items, so equal keys stand for the
   * same items in the same order. A mean over several tasks gives each the same weight.
   */
  readonly items: Readonly<Record<string, Crossed>>;
  /** What it was measured on, where that is known: device, system and versions. */
  readonly platform?: string;
  /** The arm is the same for every seed, which draws its masks only (full precision, rounding). One row then stands for all seeds of the other arm. */
  readonly seedless?: boolean;
}

/** One arm's mean, as a cell of a table shows it. Plain data: goes through JSON unchanged. */
export interface ArmMean extends Estimate {
  readonly label: string;
  readonly metric: Metric;
  readonly tasks: readonly string[];
  /** 95 %. */
  readonly interval: readonly [number, number];
  readonly seedless: boolean;
}

/** Arm a against arm b. Plain data: goes through JSON unchanged. */
export interface Comparison {
  readonly a: string;
  readonly b: string;
  readonly metric: Metric;
  readonly tasks: readonly string[];
  /** Mean of a - b, in the unit of the metric. */
  readonly difference: number;
  /** Over seeds and items; over items alone with one seed. */
  readonly standardError: number;
  /** Of freedom, of the Student's t in `interval`. */
  readonly degrees: number;
  /** 95 %, for other seeds and other items like these. */
  readonly interval: readonly [number, number];
  /** Items, each counted once however many seeds saw it. */
  readonly n: number;
  readonly seeds: number;
  /** Neither arm depends on the seed, so that a verdict needs no further ones. */
  readonly seedless: boolean;
  /** Whether a is better, where the interval does not hold zero. */
  readonly verdict: Verdict;
  readonly variances: Variances;
}

/**
 * What `measure` kept of one arm at several seeds, on all tasks of a metric or those named. Throws `RangeError` when the measurements are not of one arm,
 * of distinct seeds and of the same versions of the tasks.
 *
 * @example
 * ```ts
 * import { armMean, type Measurement, outcomesOf } from "quant-dllm";
 *
 * // `deno task reproduce` keeps a line for each measurement: an arm at a seed.
 * const lines = (await Deno.readTextFile("results/reproduce/arms.jsonl")).split("\n").filter(Boolean);
 * const all = lines.map((line) => JSON.parse(line) as Measurement);
 * for (const [label, own] of Map.groupBy(all, ({ label }) => label)) {
 *   console.log(label, armMean(outcomesOf(own, { metric: "nats per token" })).mean);
 * }
 * ```
 */
export function outcomesOf(
  measurements: readonly Measurement[],
  { metric, tasks, seedless, acrossPlatforms = false }: {
    readonly metric: Metric;
    readonly tasks?: readonly string[];
    readonly seedless?: boolean;
    /** Take measurements of several devices or versions together all the same. */
    readonly acrossPlatforms?: boolean;
  },
): Outcomes {
  const bySeed = [...measurements].sort((a, b) => a.seed - b.seed);
  const seeds = bySeed.map(({ seed }) => seed);
  const labels = [...new Set(bySeed.map(({ label }) => label))];
  const where = `Cannot put measurements of ${labels.map((l) => JSON.stringify(l)).join(", ") || "no arm"} together`;
  if (labels.length !== 1) throw new RangeError(`${where}: wanted those of one arm`);
  if (new Set(seeds).size < seeds.length) {
    throw new RangeError(`${where}: the seeds are ${seeds.join(", ")}, and the same seed must not count twice`);
  }
  const wanted = tasks ?? bySeed[0].rows.filter((row) => row.metric === metric).map(({ task }) => task);
  const items = wanted.map((task) => {
    const versions = bySeed.map(({ seed, rows, items }) => {
      const row = rows.find((r) => r.task === task && r.metric === metric);
      if (!row || !items[task]) throw new RangeError(`${where}: seed ${seed} has no ${metric} of ${task}; measure it`);
      return row.taskVersion;
    });
    if (new Set(versions).size > 1) {
      throw new RangeError(`${where}: ${task} is of the versions ${versions.join(", ")}; measure the old ones again`);
    }
    // The version says which items these are, so that arms that saw others do not pair.
    return [`${task}@${versions[0]}`, bySeed.map((m) => m.items[task])] as const;
  });
  const known = bySeed.flatMap(({ rows }) => rows.map((row) => row.platform as string | undefined));
  const platform = onePlatform(known, { where, acrossPlatforms });
  return {
    ...{ label: labels[0], metric, seeds, items: Object.fromEntries(items) },
    ...(platform ? { platform } : {}),
    ...(seedless ? { seedless } : {}),
  };
}

/**
 * What all of them were measured on; undefined where no one says, as in older rows, or where several are asked for. Throws `RangeError` for several else.
 */
export function onePlatform(
  platforms: readonly (string | undefined)[],
  { where, acrossPlatforms }: { readonly where: string; readonly acrossPlatforms: boolean },
): string | undefined {
  const known = [...new Set(platforms.filter((platform) => platform !== undefined))];
  if (known.length > 1 && !acrossPlatforms) {
    throw new RangeError(
      `${where}: they were measured on ${known.join("; and on ")}; measure all on one, or ask for it (${asking})`,
    );
  }
  return known.length === 1 ? known[0] : undefined;
}

/** In the library, and from the command line. */
const asking = "acrossPlatforms, --across-devices";

/**
 * Mean of one arm over seeds and items, with the error of both. Throws `RangeError` as `crossedMean` does.
 *
 * @example
 * ```ts
 * import { armMean, evaluate, loadModel, tasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const items: Record<string, ArrayLike<number>[]> = {};
 * const onItems = (task: string, right: ArrayLike<number>) => items[task] = [right];
 * await evaluate(model, [tasks.nano_mmlu, tasks.nano_piqa], { limit: 100, seed: 1, onItems });
 * const arm = { label: "full precision", seeds: [1], items, seedless: true }; // its masks are all that a seed draws
 * const { mean, interval } = armMean({ ...arm, metric: "accuracy" });
 * ```
 */
export function armMean({ label, metric, items, seedless = false }: Outcomes): ArmMean {
  const estimate = crossedMean(Object.values(items), { seedless, step: metrics[metric].step });
  return { label, metric, tasks: Object.keys(items), ...estimate, interval: around(estimate.mean, estimate), seedless };
}

/**
 * Compares arm a with arm b by their differences, seed by seed and item by item. Throws `RangeError` when metric, seeds, tasks or numbers of items are not
 * those of the other, and when they were measured on different devices or versions.
 *
 * @example
 * ```ts
 * import { compare, type Measurement, outcomesOf, sentenceOf } from "quant-dllm";
 *
 * const lines = (await Deno.readTextFile("results/reproduce/arms.jsonl")).split("\n").filter(Boolean);
 * const all = lines.map((line) => JSON.parse(line) as Measurement);
 * const arm = (name: string) => outcomesOf(all.filter(({ label }) => label === name), { metric: "nats per token" });
 * console.log(sentenceOf(compare(arm("GPTQ + MCS"), arm("GPTQ"))));
 * ```
 */
export function compare(
  a: Outcomes,
  b: Outcomes,
  { acrossPlatforms = false }: { readonly acrossPlatforms?: boolean } = {},
): Comparison {
  const tasks = checkPairs(a, b);
  if (a.platform && b.platform && a.platform !== b.platform && !acrossPlatforms) {
    throw new RangeError(
      `Cannot compare ${JSON.stringify(a.label)} with ${
        JSON.stringify(b.label)
      }: the one was measured on ${a.platform}, the ` +
        `other on ${b.platform}, and that alone changes numbers; measure both on one, or ask for it (${asking})`,
    );
  }
  const seeds = Math.max(a.seeds.length, b.seeds.length);
  const at = (outcomes: Outcomes, task: string, s: number) =>
    outcomes.items[task][outcomes.items[task].length === 1 ? 0 : s];
  const differences = tasks.map((task) =>
    Array.from({ length: seeds }, (_, s) => {
      const [ours, theirs] = [at(a, task, s), at(b, task, s)];
      const row = new Float64Array(ours.length);
      for (let i = 0; i < row.length; i++) row[i] = ours[i] - theirs[i];
      return row;
    })
  );
  const seedless = Boolean(a.seedless && b.seedless);
  const { better, step } = metrics[a.metric];
  const { mean: difference, ...estimate } = crossedMean(differences, { seedless, step });
  const interval = around(difference, estimate);
  const seen = interval[0] > 0 || interval[1] < 0;
  const verdict = seeds < leastSeeds && !seedless
    ? "too few seeds"
    : !seen
    ? "no difference seen"
    : better * difference > 0
    ? "better"
    : "worse";
  return { a: a.label, b: b.label, metric: a.metric, tasks, difference, ...estimate, interval, seedless, verdict };
}

/**
 * The smallest difference that a run can tell from none at 95 % (two-sided): half the width of its interval, so that a true difference of this size is seen
 * in about half of such runs. Without a plan it is that of the run itself; else that of a run with so many seeds and so many items per task, by the
 * variances that this one had. Throws `RangeError` for a plan from one seed, which knows no variance between seeds.
 */
export function resolvable(
  { interval, variances, seeds, seedless }: Pick<Comparison, "interval" | "variances" | "seeds" | "seedless">,
  plan: { readonly seeds?: number; readonly items?: number } = {},
): number {
  if (plan.seeds === undefined && plan.items === undefined) return (interval[1] - interval[0]) / 2;
  const planned = { seeds: plan.seeds ?? seeds, seedless };
  if (!seedless && (seeds < 2 || !(planned.seeds >= 2))) {
    throw new RangeError(`Cannot plan ${planned.seeds} seeds from ${seeds}: wanted at least two of both`);
  }
  if (!(plan.items === undefined || plan.items >= 2)) {
    throw new RangeError(`Cannot plan ${plan.items} items per task: wanted at least 2`);
  }
  // An estimate below zero is noise around little or nothing.
  const seed = Math.max(0, variances.seed ?? 0);
  const tasks = variances.tasks.map(({ n, item, rest }) => ({ n: plan.items ?? n, item: Math.max(0, item), rest }));
  const { variance, degrees } = errorOf({ seed, tasks }, planned);
  return studentQuantile(0.975, degrees) * Math.sqrt(variance);
}

function around(mean: number, { standardError, degrees }: Pick<Estimate, "standardError" | "degrees">) {
  const half = studentQuantile(0.975, degrees) * standardError;
  return [mean - half, mean + half] as const;
}

/** The tasks of both. */
function checkPairs(a: Outcomes, b: Outcomes): readonly string[] {
  const where = `Cannot compare ${JSON.stringify(a.label)} with ${JSON.stringify(b.label)}`;
  if (a.metric !== b.metric) throw new RangeError(`${where}: the one is ${a.metric}, the other ${b.metric}`);
  const oneForAll = (x: Outcomes) => x.seedless && x.seeds.length === 1;
  if (!oneForAll(a) && !oneForAll(b) && a.seeds.join() !== b.seeds.join()) {
    throw new RangeError(`${where}: the seeds are ${a.seeds.join(", ")} and ${b.seeds.join(", ")}; measure the same`);
  }
  const tasks = Object.keys(a.items);
  if ([...tasks].sort().join() !== Object.keys(b.items).sort().join()) {
    throw new RangeError(`${where}: the tasks are ${tasks.join(", ")} and ${Object.keys(b.items).join(", ")}`);
  }
  for (const task of tasks) {
    for (const { items, seeds } of [a, b]) {
      if (items[task].length !== seeds.length) {
        throw new RangeError(`${where}: ${task} has ${items[task].length} rows for the seeds ${seeds.join(", ")}`);
      }
    }
    const [n, m] = [a, b].map(({ items }) => items[task][0].length);
    if (n !== m) {
      throw new RangeError(`${where}: ${task} has ${n} items here and ${m} there; evaluate both on the same`);
    }
  }
  return tasks;
}
