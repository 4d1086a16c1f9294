/** Intervals of `compare` on planted outcomes: how many hold the true difference. */
import { assert } from "@std/assert";
import { compare, type Comparison, type Outcomes, resolvable } from "../../lib/evaluate/compare.ts";
import { studentTail } from "../../lib/evaluate/student.ts";
import { type Rng, rng } from "../../lib/tensor/rng.ts";

interface Setting {
  readonly name: string;
  readonly seeds: number;
  readonly items: number;
  readonly tasks: number;
  /** Standard deviations of what a seed, an item and both together do to the difference. */
  readonly seed: number;
  readonly item: number;
  readonly rest: number;
  /** Right and wrong instead of numbers: of an arm that lies `gap` above the other in ability. */
  readonly gap?: number;
  /** The other arm has one row for all seeds. */
  readonly seedless?: boolean;
}

/** Outcomes of two arms. */
type Pair = readonly [Outcomes, Outcomes];

/** Numbers: the other arm is what all share, so that the difference is as planted around 0.5. */
function numbers(r: Rng, { seeds, items, tasks, seed, item, rest, seedless }: Setting): Pair {
  const bySeed = normals(r, seeds, seed);
  const [ours, theirs]: Record<string, Float64Array[]>[] = [{}, {}];
  for (let t = 0; t < tasks; t++) {
    const byItem = normals(r, items, item, 0.5);
    const shared = new Float64Array(items).fill(t);
    ours[t] = Array.from(bySeed, (s) => {
      const row = normals(r, items, rest, s + t);
      for (let i = 0; i < items; i++) row[i] += byItem[i];
      return row;
    });
    theirs[t] = seedless ? [shared] : ours[t].map(() => shared);
  }
  return pair("nats per token", ours, theirs, seeds, seedless);
}

/** What an item is to one arm beyond what it is to all. */
const taste = 0.5;

/** Right or wrong: ability of the arm at this seed, plus ease of the item, for all and for the arm, plus noise of both, above zero. */
function answers(r: Rng, { seeds, items, tasks, seed, item, rest, gap = 0, seedless }: Setting): Pair {
  const abilities = [normals(r, seeds, seed, gap), seedless ? normals(r, 1, 0) : normals(r, seeds, seed)];
  const sides: Record<string, Float64Array[]>[] = [{}, {}];
  for (let t = 0; t < tasks; t++) {
    const ease = normals(r, items, item, 0.6);
    abilities.forEach((arm, side) => {
      const own = normals(r, items, taste);
      sides[side][t] = Array.from(arm, (ability) => {
        const row = normals(r, items, rest, ability);
        for (let i = 0; i < items; i++) row[i] = Number(row[i] + ease[i] + own[i] > 0);
        return row;
      });
    });
  }
  return pair("accuracy", sides[0], sides[1], seeds, seedless);
}

function normals(r: Rng, count: number, deviation: number, mean = 0): Float64Array {
  const out = new Float64Array(count).fill(mean);
  if (deviation > 0) { for (let i = 0; i < count; i++) out[i] += deviation * r.normal(); }
  return out;
}

function pair(
  metric: Outcomes["metric"],
  ours: Outcomes["items"],
  theirs: Outcomes["items"],
  seeds: number,
  seedless = false,
): Pair {
  const names = Array.from({ length: seeds }, (_, s) => s);
  return [
    { label: "a", metric, seeds: names, items: ours },
    { label: "b", metric, seeds: seedless ? [0] : names, items: theirs, seedless },
  ];
}

function truth({ gap, seed, item, rest, seedless }: Setting): number {
  if (gap === undefined) return 0.5;
  // Student's distribution with a million degrees is the normal one to 1e-6.
  const share = (ability: number, spread: number) => 1 - studentTail(ability / spread, 1e6);
  const own = Math.hypot(item, taste, rest), drawn = Math.hypot(own, seed);
  return share(0.6 + gap, drawn) - share(0.6, seedless ? own : drawn);
}

/** Shares of `runs` whose interval holds the truth: that of `compare`, and the mean over seeds ± two standard errors of the seeds' means. */
function coverage(setting: Setting, runs: number): { readonly crossed: number; readonly seedsOnly: number } {
  const wanted = truth(setting), draw = setting.gap === undefined ? numbers : answers;
  let crossed = 0, seedsOnly = 0;
  for (let run = 0; run < runs; run++) {
    const { difference, interval, variances, seeds } = compare(...draw(rng(7, setting.name, run), setting));
    crossed += Number(interval[0] <= wanted && wanted <= interval[1]);
    const rest = variances.tasks.reduce((sum, t) => sum + t.rest / t.n, 0) / variances.tasks.length ** 2;
    const error = Math.sqrt(Math.max(0, variances.seed! + rest) / seeds);
    seedsOnly += Number(Math.abs(difference - wanted) <= 2 * error);
  }
  return { crossed: crossed / runs, seedsOnly: seedsOnly / runs };
}

const usual = { seeds: 5, items: 30, tasks: 1, seed: 0.2, item: 1, rest: 1 };
/** Points of accuracy as measured here: two between seeds, thirty between items. */
const binary = { seeds: 5, items: 50, tasks: 1, seed: 0.08, item: 1, rest: 0.7, gap: 0.3 };
const both: readonly Setting[] = [
  { ...usual, name: "five seeds" },
  { ...usual, name: "ten seeds", seeds: 10, items: 20 },
  { ...usual, name: "small seed part", seed: 0.07 },
  { ...usual, name: "large seed part", seed: 0.5 },
  { ...usual, name: "small item part", item: 0.3 },
  { ...usual, name: "no rest", rest: 0 },
  { ...usual, name: "three tasks, against an arm without a seed", tasks: 3, items: 15, seedless: true },
  { ...binary, name: "answers" },
  { ...binary, name: "answers, seven seeds, two tasks", seeds: 7, tasks: 2, items: 30 },
  { ...binary, name: "answers, against an arm without a seed", seedless: true },
];
for (const setting of both) {
  Deno.test(`coverage: 93 to 97 % of intervals hold the truth: ${setting.name}`, () => {
    const { crossed } = coverage(setting, 2000);
    assert(crossed >= 0.93 && crossed <= 0.97, `${crossed}`);
  });
}

const one: readonly Setting[] = [
  { ...usual, name: "no seed part", seed: 0 },
  { ...usual, name: "no item part", item: 0 },
  { ...usual, name: "neither", seed: 0, item: 0 },
  { ...usual, name: "items alone", seed: 0, rest: 0 },
  { ...usual, name: "seeds alone", item: 0, rest: 0 },
  { ...binary, name: "answers, no seed part", seed: 0 },
];
for (const setting of one) {
  // A part that is not there cannot be told from one that is small, so that some of these err to the safe side.
  Deno.test(`coverage: 93 to 98 % where a variance is zero: ${setting.name}`, () => {
    const { crossed } = coverage(setting, 2000);
    assert(crossed >= 0.93 && crossed <= 0.98, `${crossed}`);
  });
}

Deno.test("coverage: two standard errors of the seeds' means alone hold the truth far too seldom", () => {
  const { seedsOnly } = coverage({ ...usual, name: "five seeds" }, 500);
  assert(seedsOnly < 0.8, `${seedsOnly}`);
});

Deno.test("coverage: the smallest difference that a run resolves is seen by about half of such runs, less is seen seldom", () => {
  const setting = { ...usual, name: "resolvable", seeds: 6 };
  const runs = Array.from({ length: 600 }, (_, run) => compare(...numbers(rng(8, run), setting)));
  // Planned from many runs of five seeds, for six.
  const pilots = Array.from({ length: 200 }, (_, run) => compare(...numbers(rng(9, run), { ...setting, seeds: 5 })));
  const planned = pilots.map((pilot) => resolvable(pilot, { seeds: 6 })).sort((a, b) => a - b)[100];
  // Adding to every outcome moves a comparison by as much.
  const seen = (size: number) => runs.filter((c) => above(c, size - 0.5)).length / runs.length;
  assert(seen(planned) > 0.4 && seen(planned) < 0.6, `${seen(planned)}`);
  assert(seen(0) < 0.05 && seen(2 * planned) > 0.9, `${seen(0)}, ${seen(2 * planned)}`);
});

const above = ({ interval }: Comparison, by: number) => interval[0] + by > 0;
