/** From measurements to what may be said: comparisons of a study's pairs, and of methods at equal counted bits. */
import {
  type Arm,
  armMean,
  compare,
  type Comparison,
  type Measurement,
  type Metric,
  type Outcomes,
  outcomesOf,
  type Row,
} from "quant-dllm";
import { names, type Pair, type Point, type Scale, type Study } from "./studies.ts";

/** The measurement of an arm at a seed. */
export type Find = (arm: Arm, seed: number) => Measurement;

/** A comparison, and where it belongs. Plain data: a line of verdicts.jsonl. */
export interface Verdict extends Comparison {
  readonly study: string;
  /** Counted bits per weight of both arms. */
  readonly bits: readonly [a: number, b: number];
}

/** What `verdictsOf` and its kin read. */
export interface Measured {
  readonly scale: Scale;
  readonly find: Find;
}

const metrics: readonly Metric[] = ["accuracy", "nats per token"];

/** Does the arm depend on the seed through its masks only? */
const isSeedless = ({ method }: Arm) => method === undefined || method.name.startsWith("rtn-");

function outcomes(arm: Arm, metric: Metric, { scale, find }: Measured, tasks?: readonly string[]): Outcomes {
  return outcomesOf(scale.seeds.map((seed) => find(arm, seed)), { metric, tasks, seedless: isSeedless(arm) });
}

const bitsOf = (arm: Arm, { scale, find }: Measured) => find(arm, scale.seeds[0]).rows[0].bitsPerWeight;

const isOf = ({ kind }: Arm["tasks"][number]["task"], metric: Metric) =>
  (kind === "choice") === (metric === "accuracy");

/** The pairs of a study, accuracy and bound of each. */
export function verdictsOf({ id, settings, pairs }: Study, measured: Measured): Verdict[] {
  const named = (label: string) => settings.find((arm) => arm.label === label)!;
  return pairs.flatMap(([a, b]) => {
    const bits = [bitsOf(named(a), measured), bitsOf(named(b), measured)] as const;
    return metrics.filter((metric) => named(a).tasks.some(({ task }) => isOf(task, metric))).map((metric) => ({
      study: id,
      bits,
      ...compare(outcomes(named(a), metric, measured), outcomes(named(b), metric, measured)),
    }));
  });
}

/** The cells of a study's table: means with the error of seeds and items together, and the mean over the choice tasks. */
export function meansOf({ id, settings }: Pick<Study, "id" | "settings">, measured: Measured): Row[] {
  return settings.flatMap((arm) => {
    const { rows } = measured.find(arm, measured.scale.seeds[0]);
    const choice = rows.filter(({ metric }) => metric === "accuracy").map(({ task }) => task);
    const cells = [...rows.map((row) => ({ row, task: row.task, over: [row.task] })), {
      row: rows[0],
      task: "mean",
      over: choice,
    }];
    return cells.map(({ row, task, over }): Row => {
      const { mean, standardError, n, seeds } = armMean(outcomes(arm, row.metric as Metric, measured, over));
      const { method, metric, bitsPerWeight, storedBytes, seed, taskVersion, codeVersion, calibrationSize } = row;
      const same = { method, metric, bitsPerWeight, storedBytes, seed, taskVersion, codeVersion, calibrationSize };
      return { ...same, study: id, label: arm.label, task, value: mean, standardError, n, seeds };
    });
  });
}

/** Budgets in counted bits per weight: just above what levels, planes and three-bit codes take in groups of 128. */
export const budgets = [2.2, 2.4, 3.2] as const;

/** What each method is compared with at each budget. */
const rivals: readonly Pair[] = [
  [names.gptqMasked, names.rtn],
  [names.official, names.gptqMasked],
  [names.plus, names.gptqMasked],
  [names.levels, names.gptqMasked],
  [names.plus, names.official],
  [names.levels, names.official],
  [names.plus, names.levels],
];

/**
 * Every method at its best within a budget: among its points that take at most so many counted bits, the one with the least bound on the second half of the
 * windows, averaged over seeds. What is compared is accuracy, and the bound on the first half, which the choice has not seen.
 */
export function equalBits(points: readonly Point[], measured: Measured): Verdict[] {
  return budgets.flatMap((budget) => {
    const best = new Map<string, Arm>();
    for (const [method, own] of Map.groupBy(points, ({ method }) => method)) {
      const fit = own.map(({ arm }) => arm).filter((arm) => bitsOf(arm, measured) <= budget);
      const costs = fit.map((arm) => meanOf(halfOf(outcomes(arm, "nats per token", measured), 1)));
      if (fit.length > 0) best.set(method, fit[costs.indexOf(Math.min(...costs))]);
    }
    return rivals.flatMap(([a, b]) => {
      const [x, y] = [best.get(a), best.get(b)];
      if (!x || !y) return [];
      const bits = [bitsOf(x, measured), bitsOf(y, measured)] as const;
      return metrics.map((metric) => {
        const half = (arm: Arm, name: string) => {
          const all = outcomes(arm, metric, measured);
          return { ...(metric === "accuracy" ? all : halfOf(all, 0)), label: `${name} (${arm.label})` };
        };
        return { study: `at most ${budget} bits`, bits, ...compare(half(x, a), half(y, b)) };
      });
    });
  });
}

/** The first (0) or second (1) half of the items of every task. */
function halfOf(outcomes: Outcomes, half: 0 | 1): Outcomes {
  const cut = (values: ArrayLike<number>) => {
    const middle = Math.ceil(values.length / 2);
    return Array.from(values).slice(...(half === 0 ? [0, middle] : [middle]));
  };
  const items = Object.entries(outcomes.items).map(([task, rows]) => [task, rows.map(cut)]);
  return { ...outcomes, items: Object.fromEntries(items) };
}

function meanOf({ items }: Outcomes): number {
  const all = Object.values(items).flat().flatMap((row) => Array.from(row));
  return all.reduce((sum, value) => sum + value, 0) / all.length;
}
