/**
 * Sharing planes out among units by a loss that is measured. What a unit's plane is worth does not add up over units, so single changes only rank;
 * whether a set of changes is kept, its joint loss decides.
 */

/** Losses after one unit alone was given a plane less or more; infinite where it may not be. */
export interface Singles {
  /** Before any change. */
  readonly loss: number;
  readonly down: readonly number[];
  readonly up: readonly number[];
}

/** Orders of units that a step changes. */
export interface Move {
  readonly unit: number;
  readonly from: number;
  readonly to: number;
}

/** A set of changes that was tried. */
export interface SearchStep {
  readonly moves: readonly Move[];
  /** Mean planes of a weight after it. */
  readonly average: number;
  readonly before: number;
  readonly after: number;
  /** A step towards the budget is always taken, a swap within it where the loss falls. */
  readonly accepted: boolean;
}

export interface SearchOptions {
  /** Weights of each unit. */
  readonly sizes: readonly number[];
  /** Mean planes of a weight: never above, and below by less than the least unit that could still have one more. */
  readonly average: number;
  /** Fewest and most planes of a unit. */
  readonly least: number;
  readonly most: number;
  /** Swaps that are tried at most. */
  readonly trials: number;
  /** The loss with these orders. */
  readonly loss: (orders: readonly number[]) => Promise<number>;
  /** The losses of all single changes of these orders. */
  readonly singles: (orders: readonly number[]) => Promise<Singles>;
  readonly onStep?: (step: SearchStep) => void;
}

/** Units that are looked at for swaps: so many that gain most, and so many that cost least. */
const REACH = 32;
/** The share of the units that the first swap moves in each direction. */
const FIRST = 1 / 8;

/** Orders within the budget whose loss no swap among those tried lowers, the loss, and every step on the way. */
export async function searchOrders(
  options: SearchOptions,
): Promise<{ readonly orders: readonly number[]; readonly loss: number; readonly steps: readonly SearchStep[] }> {
  const { sizes, least, most, trials, onStep } = options, steps: SearchStep[] = [];
  let orders: readonly number[] = sizes.map(() => startOf(options));
  let loss = await options.loss(orders);
  const attempt = async (moves: readonly Move[], always: boolean): Promise<boolean> => {
    const next = moved(orders, moves), after = await options.loss(next);
    const accepted = always || after < loss;
    const step = { moves, average: planes(next, sizes) / total(sizes), before: loss, after, accepted };
    steps.push(step);
    onStep?.(step);
    if (accepted) [orders, loss] = [next, after];
    return accepted;
  };

  let count = Math.max(1, Math.floor(sizes.length * FIRST)), singles: Singles | undefined, tried = 0;
  const refused = new Set<string>();
  for (;;) {
    if (needsChange(options, orders)) {
      // Towards the budget: half of what is left each time, since every change alters what the others are worth.
      const moves = towards(options, orders, singles ?? await options.singles(orders));
      await attempt(moves.slice(0, Math.ceil(moves.length / 2)), true);
      singles = undefined;
      refused.clear();
      continue;
    }
    // Within it: as many swaps at once as are accepted.
    if (tried++ === trials || least === most) break;
    singles ??= await options.singles(orders);
    const swaps = swapsOf(options, { orders, singles, refused, count });
    if (swaps.length === 0) break;
    if (await attempt(filled(options, { orders, singles, moves: swaps.flatMap(({ moves }) => moves) }), false)) {
      singles = undefined;
      refused.clear();
    } else if (swaps.length === 1) refused.add(swaps[0].key);
    else count = Math.floor(swaps.length / 2);
  }
  return { orders, loss, steps };
}

/** Planes that all units begin with. */
export function startOf({ average, least, most }: Pick<SearchOptions, "average" | "least" | "most">): number {
  return Math.min(most, Math.max(least, Math.floor(average + 0.5)));
}

type Budget = Pick<SearchOptions, "sizes" | "average" | "least" | "most">;

const total = (sizes: readonly number[]) => sizes.reduce((sum, size) => sum + size, 0);
const planes = (orders: readonly number[], sizes: readonly number[]) =>
  orders.reduce((sum, k, unit) => sum + k * sizes[unit], 0);

/** Planes of weights that are still to be given; negative where too many are. */
function slackOf({ sizes, average }: Budget, orders: readonly number[]): number {
  return Math.floor(average * total(sizes) + 1e-6) - planes(orders, sizes);
}

/** Whether there are too many planes, or one more would fit. */
function needsChange(budget: Budget, orders: readonly number[]): boolean {
  const slack = slackOf(budget, orders);
  return slack < 0 || orders.some((k, unit) => k < budget.most && budget.sizes[unit] <= slack);
}

function moved(orders: readonly number[], moves: readonly Move[]): number[] {
  const next = [...orders];
  for (const { unit, to } of moves) next[unit] = to;
  return next;
}

/** Units that may have a plane less or more, those first where that is best per weight; with what it adds to the loss. */
function ranked(
  { sizes, least, most }: Budget,
  { orders, singles, by }: { readonly orders: readonly number[]; readonly singles: Singles; readonly by: 1 | -1 },
): { readonly unit: number; readonly added: number; readonly move: Move }[] {
  const after = by > 0 ? singles.up : singles.down;
  return orders.flatMap((from, unit) => {
    const to = from + by;
    return to < least || to > most ? [] : [{ unit, added: after[unit] - singles.loss, move: { unit, from, to } }];
  }).sort((a, b) => a.added / sizes[a.unit] - b.added / sizes[b.unit] || a.unit - b.unit);
}

/** All changes that lead to the budget if single ones tell the truth. */
function towards(budget: Budget, orders: readonly number[], singles: Singles): Move[] {
  let slack = slackOf(budget, orders);
  if (slack >= 0) return filled(budget, { orders, singles, moves: [] });
  const moves: Move[] = [];
  for (const { unit, move } of ranked(budget, { orders, singles, by: -1 })) {
    if (slack >= 0) break;
    moves.push(move);
    slack += budget.sizes[unit];
  }
  return moves;
}

/** `moves`, and more planes to units that they leave alone as long as any fits. */
function filled(
  budget: Budget,
  { orders, singles, moves }: {
    readonly orders: readonly number[];
    readonly singles: Singles;
    readonly moves: readonly Move[];
  },
): Move[] {
  let slack = slackOf(budget, moved(orders, moves));
  const all = [...moves], touched = new Set(moves.map(({ unit }) => unit));
  for (const { unit, move } of ranked(budget, { orders, singles, by: 1 })) {
    if (touched.has(unit) || budget.sizes[unit] > slack) continue;
    all.push(move);
    slack -= budget.sizes[unit];
  }
  return all;
}

/** A unit that gains a plane, and those that pay for it. */
interface Swap {
  readonly key: string;
  readonly moves: readonly Move[];
}

/** At most `count` swaps of different units that together stay within the budget, those with the largest gain first if single changes tell the truth. */
function swapsOf(
  budget: Budget,
  { orders, singles, refused, count }: {
    readonly orders: readonly number[];
    readonly singles: Singles;
    readonly refused: ReadonlySet<string>;
    readonly count: number;
  },
): Swap[] {
  const { sizes } = budget;
  const ups = ranked(budget, { orders, singles, by: 1 }).slice(0, REACH);
  const downs = ranked(budget, { orders, singles, by: -1 }).slice(0, REACH);
  const pairs = ups.flatMap((up) => downs.map((down) => ({ up, down, added: up.added + down.added })))
    .filter(({ up, down, added }) => up.unit !== down.unit && added < 0).sort((a, b) => a.added - b.added);
  let slack = slackOf(budget, orders);
  const swaps: Swap[] = [], touched = new Set<number>();
  for (const { up, down, added } of pairs) {
    const key = `${up.unit} for ${down.unit}`;
    if (swaps.length === count) break;
    if (touched.has(up.unit) || touched.has(down.unit) || refused.has(key)) continue;
    let left = slack - sizes[up.unit] + sizes[down.unit], sum = added;
    const paying = [down];
    // A large unit may take several small ones.
    for (const other of downs) {
      if (left >= 0) break;
      if (other.unit === up.unit || other.unit === down.unit || touched.has(other.unit)) continue;
      paying.push(other);
      left += sizes[other.unit];
      sum += other.added;
    }
    // Of what several small ones pay, none is more than needed.
    for (const other of [...paying]) {
      if (paying.length === 1 || sizes[other.unit] > left) continue;
      paying.splice(paying.indexOf(other), 1);
      left -= sizes[other.unit];
      sum -= other.added;
    }
    if (left < 0 || !(sum < 0)) continue;
    swaps.push({ key, moves: [up.move, ...paying.map(({ move }) => move)] });
    for (const { unit } of [up, ...paying]) touched.add(unit);
    slack = left;
  }
  return swaps;
}
