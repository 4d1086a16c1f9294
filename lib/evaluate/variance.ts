/**
 * How sure a mean over seeds and items is when all seeds see the same items (crossed random effects). An outcome is
 *
 *   y_si = mean + seed_s + item_i + rest_si,   so that   Var(mean of S seeds, n items) = σ²_seed / S + σ²_item / n + σ²_rest / (S n):
 *
 * more seeds do not average the items' part, and more items do not average the seeds' part. The variances are those of the analysis of variance
 * (Searle, Casella, McCulloch, Variance Components, ch. 4), the degrees of freedom Satterthwaite's (Biometrics Bulletin 2, 1946).
 */

/** Outcomes of one task `[seeds][items]`, a row for each seed. */
export type Crossed = readonly ArrayLike<number>[];

/** Unbiased estimates from the mean squares: they may come out below zero. */
export interface Variances {
  /** σ²_seed of the mean over tasks, which a seed moves all together; undefined with one seed, from which it cannot be known. */
  readonly seed?: number;
  /** One entry per task: n, and σ²_item and σ²_rest of one outcome. With one seed `item` holds both. */
  readonly tasks: readonly { readonly n: number; readonly item: number; readonly rest: number }[];
}

/** A mean over tasks of the means over seeds and items. */
export interface Estimate {
  readonly mean: number;
  /** Of seeds and items; of the items alone with one seed. */
  readonly standardError: number;
  /** Of freedom, for Student's t. */
  readonly degrees: number;
  /** Items, each counted once however many seeds saw it. */
  readonly n: number;
  readonly seeds: number;
  readonly variances: Variances;
}

export interface CrossedOptions {
  /** No outcome depends on the seed but by masks, which are drawn for each item anew: σ²_seed is known to be zero. */
  readonly seedless?: boolean;
  /**
   * The least change of an outcome: 1 where items are right or wrong. Where all n items of a task agree, one more that does not is taken as seen, since
   * n equal answers do not prove that there are no others.
   */
  readonly step?: number;
}

/** Estimates the mean of tasks of equal weight. Throws `RangeError` unless every task has the same number of seeds, and at least two items. */
export function crossedMean(tasks: readonly Crossed[], { seedless = false, step = 0 }: CrossedOptions = {}): Estimate {
  check(tasks);
  const seeds = tasks[0].length;
  const all = tasks.map((task) => meanSquares(task, step));
  const seedMeans = tasks[0].map((_, s) => meanOf(all.map(({ bySeed }) => bySeed[s])));
  const each = all.map(({ n, itemVariance, rest }) => ({ n, item: itemVariance - rest / seeds, rest }));
  const restOfMeans = sumOf(each.map(({ n, rest }) => rest / n)) / tasks.length ** 2;
  const seed = seedless ? 0 : seeds > 1 ? varianceOf(seedMeans) - restOfMeans : undefined;
  const variances = { ...(seed === undefined ? {} : { seed }), tasks: each };
  const { variance, degrees } = errorOf(variances, { seeds, seedless });
  const n = sumOf(each.map((task) => task.n));
  return { mean: meanOf(seedMeans), standardError: Math.sqrt(variance), degrees, n, seeds, variances };
}

/** Variance of the mean and its degrees of freedom that `variances` give for a run of `seeds` seeds, and of n items per task as they say. */
export function errorOf(
  { seed, tasks }: Variances,
  { seeds, seedless }: { readonly seeds: number; readonly seedless: boolean },
): { readonly variance: number; readonly degrees: number } {
  const weight = 1 / tasks.length ** 2;
  const items = tasks.map(({ n, item, rest }) => ({ variance: weight * (item + rest / seeds) / n, degrees: n - 1 }));
  const rests = tasks.map(({ n, rest }) => ({ variance: weight * rest / seeds / n, degrees: (seeds - 1) * (n - 1) }));
  const itemPart = sumOfParts(items);
  if (seedless || seed === undefined) return itemPart;
  const restPart = sumOfParts(rests);
  // The spread of the seeds' means holds the seeds' part and the rest, that of the items' means the items' part and the rest.
  const seedPart = { variance: seed / seeds + restPart.variance, degrees: seeds - 1 };
  // Where one shows no more than the rest, its own part is not seen: the other says it all, and is never undercut.
  if (seedPart.variance <= restPart.variance || itemPart.variance <= restPart.variance) {
    return itemPart.variance >= seedPart.variance ? itemPart : seedPart;
  }
  return sumOfParts([seedPart, itemPart], restPart);
}

interface Part {
  readonly variance: number;
  readonly degrees: number;
}

/** Σ plus - minus, with Satterthwaite's degrees of freedom. */
function sumOfParts(plus: readonly Part[], minus?: Part): Part {
  const variance = sumOf(plus.map((p) => p.variance)) - (minus?.variance ?? 0);
  const parts = minus ? [...plus, minus] : plus;
  const spread = sumOf(parts.map((p) => p.variance === 0 ? 0 : p.variance ** 2 / p.degrees));
  return { variance, degrees: spread === 0 ? sumOf(plus.map((p) => p.degrees)) : variance ** 2 / spread };
}

/** The seeds' means, the variance of the items' means, and the mean square of what is left of the outcomes `[seeds][n]` without both. */
function meanSquares(task: Crossed, step: number) {
  const seeds = task.length, n = task[0].length;
  const byItem = new Float64Array(n);
  const bySeed = task.map((row) => {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      sum += row[i];
      byItem[i] += row[i];
    }
    return sum / n;
  });
  for (let i = 0; i < n; i++) byItem[i] /= seeds;
  const mean = meanOf(bySeed);
  let left = 0;
  task.forEach((row, s) => {
    for (let i = 0; i < n; i++) left += (row[i] - byItem[i] - (bySeed[s] - mean)) ** 2;
  });
  let agree = true;
  for (const row of task) {
    for (let i = 1; i < n; i++) agree &&= row[i] === row[0];
  }
  // The variance of n equal items and one that differs by a step.
  const itemVariance = agree ? step ** 2 / (n + 1) : varianceOf(byItem);
  return { n, bySeed, itemVariance, rest: seeds > 1 ? left / ((seeds - 1) * (n - 1)) : 0 };
}

function check(tasks: readonly Crossed[]): void {
  if (tasks.length === 0) throw new RangeError("Cannot take a mean over no tasks: wanted at least one");
  const seeds = tasks[0].length;
  tasks.forEach((task, t) => {
    const where = `Cannot take the mean of task ${t}`;
    if (task.length !== seeds || seeds === 0) {
      throw new RangeError(`${where}: it has ${task.length} seeds, task 0 has ${seeds}; wanted the same, at least one`);
    }
    const n = task[0].length;
    if (n < 2) throw new RangeError(`${where}: it has ${n} items, wanted at least 2`);
    for (const row of task) {
      if (row.length !== n) {
        throw new RangeError(`${where}: its seeds have ${n} and ${row.length} items, wanted the same for all`);
      }
      for (let i = 0; i < n; i++) {
        if (!Number.isFinite(row[i])) {
          throw new RangeError(`${where}: outcome ${i} is ${row[i]}, wanted a finite number; evaluate it again`);
        }
      }
    }
  });
}

const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, x) => sum + x, 0);
const meanOf = (numbers: readonly number[]) => sumOf(numbers) / numbers.length;

/** Sample variance, with n - 1. */
function varianceOf(numbers: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < numbers.length; i++) sum += numbers[i];
  const mean = sum / numbers.length;
  let squares = 0;
  for (let i = 0; i < numbers.length; i++) squares += (numbers[i] - mean) ** 2;
  return squares / (numbers.length - 1);
}
