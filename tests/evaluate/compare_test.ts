import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { armMean, compare, type Outcomes, outcomesOf, resolvable } from "../../lib/evaluate/compare.ts";
import { resolutionText, sentenceOf, verdictLine } from "../../lib/evaluate/sentence.ts";
import { studentQuantile } from "../../lib/evaluate/student.ts";
import type { Measurement } from "../../lib/evaluate/study.ts";
import type { Row } from "../../lib/report/rows.ts";

const five = [1, 2, 3, 4, 5];
const constant = (value: number, n: number) => Array<number>(n).fill(value);

/** Accuracy of 200 items: seed s answers the first `rights[s]`. */
function arm(label: string, rights: readonly number[], rest: Partial<Outcomes> = {}): Outcomes {
  const rows = rights.map((right) => Array.from({ length: 200 }, (_, i) => Number(i < right)));
  return { label, metric: "accuracy", seeds: rights.map((_, s) => s + 1), items: { quiz: rows }, ...rest };
}

const good = arm("levels", [150, 152, 149, 151, 150]), poor = arm("official", [120, 119, 122, 121, 120]);

Deno.test("a comparison is paired by seed and item, and says which arm is better", () => {
  const c = compare(good, poor);
  assertEquals([c.a, c.b, c.metric, c.tasks, c.n, c.seeds, c.seedless], [
    "levels",
    "official",
    "accuracy",
    ["quiz"],
    200,
    5,
    false,
  ]);
  assert(Math.abs(c.difference - (150.4 - 120.4) / 200) < 1e-15);
  assertEquals(c.verdict, "better");
  const half = studentQuantile(0.975, c.degrees) * c.standardError;
  assertEquals(c.interval, [c.difference - half, c.difference + half]);
  const back = compare(poor, good);
  assertEquals([back.verdict, back.difference, back.standardError], ["worse", -c.difference, c.standardError]);
  // Each seed is paired with itself: seeds that move both arms alike leave no error.
  const moved = compare(arm("a", [100, 140, 60, 180, 20]), arm("b", [90, 130, 50, 170, 10]));
  const shuffled = compare(arm("a", [100, 140, 60, 180, 20]), arm("b", [170, 10, 90, 50, 130]));
  assertEquals([moved.verdict, shuffled.verdict], ["better", "no difference seen"]);
  assert(Math.abs(moved.difference - shuffled.difference) < 1e-15);
  // Plain data.
  assertEquals(JSON.parse(JSON.stringify(c)), c);
});

Deno.test("fewer nats are better, more right answers are better", () => {
  const nats = (label: string, by: number): Outcomes => ({
    label,
    metric: "nats per token",
    seeds: five,
    items: { text: five.map((s) => [2, 2.5, 3, 2.2].map((x, i) => x + by * (1 + 0.01 * ((s * i) % 3)))) },
  });
  assertEquals(compare(nats("a", 0.1), nats("b", 0.2)).verdict, "better");
  assertEquals(compare(nats("a", 0.2), nats("b", 0.1)).verdict, "worse");
  assertEquals(compare(nats("a", 0.1), nats("b", 0.1)).verdict, "no difference seen");
});

Deno.test("under five seeds there is no verdict, however clear the difference", () => {
  const four = (o: Outcomes): Outcomes => ({ ...o, seeds: [1, 2, 3, 4], items: { quiz: o.items.quiz.slice(0, 4) } });
  assertEquals(compare(four(good), four(poor)).verdict, "too few seeds");
  assertEquals(compare(arm("a", [150]), arm("b", [20])).verdict, "too few seeds");
  // Unless there is nothing that a seed could change.
  const rounded = compare(arm("fp", [150], { seedless: true }), arm("rtn", [20], { seedless: true }));
  assertEquals([rounded.verdict, rounded.seeds, rounded.seedless], ["better", 1, true]);
  // An arm without a seed stands beside each seed of the other, which still needs its five.
  const fixed = arm("rtn", [20], { seedless: true });
  assertEquals([compare(good, fixed).verdict, compare(good, fixed).seeds], ["better", 5]);
  assertEquals(compare(fixed, four(good)).verdict, "too few seeds");
  assertEquals(compare(fixed, good).difference, -compare(good, fixed).difference);
});

Deno.test("seeds do not multiply items: repeating the answers of one seed leaves the error of the items", () => {
  const once = compare(arm("a", [120], { seedless: true }), arm("b", [110], { seedless: true }));
  const often = compare(arm("a", constant(120, 20)), arm("b", constant(110, 20)));
  assert(Math.abs(once.standardError - often.standardError) < 1e-15);
  assertEquals([once.n, often.n], [200, 200]);
});

Deno.test("a cell is never certain of items that it has not seen", () => {
  const { mean, standardError, n, seeds } = armMean(arm("fp", constant(180, 5)));
  assertEquals([mean, n, seeds], [0.9, 200, 5]);
  assert(Math.abs(standardError - Math.sqrt(0.9 * 0.1 / 199)) < 1e-15);
  const perfect = armMean(arm("fp", constant(200, 5)));
  assert(perfect.standardError > 0.004 && perfect.standardError < 0.006, `${perfect.standardError}`);
  assert(compare(arm("a", constant(200, 5)), arm("b", constant(200, 5))).standardError > 0.004);
});

Deno.test("a mean over tasks weighs each alike", () => {
  const two: Outcomes = { ...good, items: { quiz: good.items.quiz, small: five.map(() => [0, 1]) } };
  const { mean, n, tasks } = armMean(two);
  assert(Math.abs(mean - (150.4 / 200 + 0.5) / 2) < 1e-15);
  assertEquals([n, tasks], [202, ["quiz", "small"]]);
});

Deno.test("resolvable: half the interval of the run; more seeds and items resolve less, to a floor that the other part sets", () => {
  const c = compare(arm("a", [150, 141, 149, 160, 150]), arm("b", [121, 130, 122, 121, 110]));
  assertEquals(resolvable(c), (c.interval[1] - c.interval[0]) / 2);
  assert(Math.abs(resolvable(c, { seeds: 5, items: 200 }) - resolvable(c)) < 1e-12);
  fc.assert(
    fc.property(fc.integer({ min: 5, max: 40 }), fc.integer({ min: 50, max: 4000 }), (seeds, items) => {
      const own = resolvable(c, { seeds, items });
      assert(resolvable(c, { seeds: 2 * seeds, items }) < own);
      // Where the seeds' part rules, fewer degrees of freedom may take back what more items bring: not more than that.
      assert(resolvable(c, { seeds, items: 2 * items }) < 1.03 * own);
      assert(resolvable(c, { seeds, items: 50 }) > own || items < 100);
    }),
    { seed: 5, numRuns: 50 },
  );
  const { seed } = c.variances;
  assert(resolvable(c, { items: 1e7 }) > 1.96 * Math.sqrt(seed! / 5));
  const alone = compare(arm("a", [150]), arm("b", [120]));
  assertThrows(() => resolvable(alone, { seeds: 5 }), RangeError, "Cannot plan 5 seeds from 1");
  assertThrows(() => resolvable(c, { items: 1 }), RangeError, "Cannot plan 1 items");
});

Deno.test("arms that do not pair are not compared", () => {
  const cases: [Outcomes, Outcomes, string][] = [
    [good, { ...poor, metric: "nats per token" }, "accuracy, the other nats"],
    [good, { ...poor, seeds: [1, 2, 3, 4, 6] }, "1, 2, 3, 4, 5 and 1, 2, 3, 4, 6"],
    [good, arm("b", [150]), "the seeds are"],
    [good, { ...poor, items: { other: poor.items.quiz } }, "the tasks are quiz and other"],
    [good, { ...poor, items: { quiz: five.map(() => [0, 1]) } }, "200 items here and 2 there"],
    [good, { ...poor, items: { quiz: poor.items.quiz.slice(1) } }, "4 rows for the seeds"],
  ];
  for (const [a, b, message] of cases) assertThrows(() => compare(a, b), RangeError, message);
});

function measurement(seed: number, change: Partial<Measurement> = {}, taskVersion = "1"): Measurement {
  const row = (task: string, metric: string) => ({ task, metric, taskVersion }) as Row;
  return {
    label: "GPTQ",
    seed,
    rows: [row("quiz", "accuracy"), row("bound", "nats per token"), row("other", "accuracy")],
    linears: [],
    items: { quiz: [1, 0, seed % 2], bound: [2.5, 2 + seed], other: [0, 0, 1] },
    ...change,
  };
}

Deno.test("outcomes are what measurements of one arm kept, by seed and task", () => {
  const all = [measurement(2), measurement(1)];
  assertEquals(outcomesOf(all, { metric: "accuracy" }), {
    label: "GPTQ",
    metric: "accuracy",
    seeds: [1, 2],
    items: { "quiz@1": [[1, 0, 1], [1, 0, 0]], "other@1": [[0, 0, 1], [0, 0, 1]] },
  });
  assertEquals(outcomesOf(all, { metric: "nats per token", seedless: true }), {
    label: "GPTQ",
    metric: "nats per token",
    seeds: [1, 2],
    items: { "bound@1": [[2.5, 3], [2.5, 4]] },
    seedless: true,
  });
  assertEquals(Object.keys(outcomesOf(all, { metric: "accuracy", tasks: ["other"] }).items), ["other@1"]);
  const bad: [readonly Measurement[], string][] = [
    [[], "wanted those of one arm"],
    [[measurement(1), measurement(2, { label: "RTN" })], "wanted those of one arm"],
    [[measurement(1), measurement(1)], "must not count twice"],
    [[measurement(1), measurement(2, {}, "2")], "of the versions 1, 2"],
    [[measurement(1), measurement(2, { rows: [] })], "seed 2 has no accuracy of quiz"],
  ];
  for (const [list, message] of bad) assertThrows(() => outcomesOf(list, { metric: "accuracy" }), RangeError, message);
});

Deno.test("what was measured on different devices or versions is not compared, unless that is asked for", () => {
  const arm = (label: string, platform?: string) => ({
    ...{ label, metric: "accuracy" as const, seeds: [1, 2, 3, 4, 5] },
    ...{ items: { a: [1, 2, 3, 4, 5].map((s) => [s % 2, 1, 0, 1]) }, platform },
  });
  const [one, two] = [arm("one", "cuda (H100)"), arm("two", "cuda (A100)")];
  assertThrows(() => compare(one, two), RangeError, "the one was measured on cuda (H100), the other on cuda (A100)");
  assertEquals(compare(one, two, { acrossPlatforms: true }).difference, 0);
  assertEquals(compare(one, arm("three", "cuda (H100)")).difference, 0);
  assertEquals(compare(one, arm("older rows")).difference, 0);
  const measured = (seed: number, platform: string): Measurement => ({
    ...{ label: "arm", seed, linears: [], items: { a: [1, 0] } },
    rows: [{
      ...{ method: "m", task: "a", metric: "accuracy", value: 0.5, n: 2, standardError: 0, bitsPerWeight: 2, seed },
      ...{ taskVersion: "1", codeVersion: "1", platform },
    }],
  });
  const both = [measured(1, "cpu"), measured(2, "webgpu")];
  assertThrows(() => outcomesOf(both, { metric: "accuracy" }), RangeError, "measured on cpu; and on webgpu");
  assertEquals(outcomesOf(both, { metric: "accuracy", acrossPlatforms: true }).platform, undefined);
  assertEquals(outcomesOf([both[0]], { metric: "accuracy" }).platform, "cpu");
});

Deno.test("sentences: what is better, by how much, how sure, from what", () => {
  const c = {
    ...compare(good, poor),
    difference: 0.0512,
    standardError: 0.0061,
    interval: [0.034, 0.0684] as const,
    n: 2800,
  };
  const details = "(95 % interval +3.4 to +6.8; n = 2,800 items, 5 seeds)";
  assertEquals(sentenceOf(c), `levels is better than official by 5.1 ± 0.6 points ${details}`);
  assertEquals(verdictLine(c), "holds: +5.1 ± 0.6 points");
  const worse = { ...c, difference: -0.0512, verdict: "worse" as const };
  assertEquals(sentenceOf(worse), `levels is worse than official by 5.1 ± 0.6 points ${details}`);
  assertEquals(verdictLine(worse), "does not hold, the reverse does: -5.1 ± 0.6 points");
  const none = { ...c, difference: 0.004, standardError: 0.011, verdict: "no difference seen" as const };
  assertEquals(sentenceOf(none), `no difference seen between levels and official: +0.4 ± 1.1 points ${details}`);
  assertEquals(verdictLine(none), "does not hold, no difference seen: +0.4 ± 1.1 points");
  const few = { ...c, seeds: 1, verdict: "too few seeds" as const, interval: [-0.0001, 0.1] as const };
  assertEquals(
    sentenceOf(few),
    "too few seeds to compare levels with official: +5.1 ± 0.6 points " +
      "(95 % interval 0.0 to +10.0; n = 2,800 items, 1 seed, without the error of seeds)",
  );
  assertEquals(verdictLine(few), "too few seeds (1, wanted 5): +5.1 ± 0.6 points");
  const nats = { ...c, metric: "nats per token" as const, difference: -0.01234, standardError: 0.0041, n: 128 };
  assertEquals(verdictLine(nats), "holds: -0.0123 ± 0.0041 nats per token");
  assertEquals(resolutionText(c), "5 seeds and 2,800 items tell a difference of 1.7 points from none");
  const seedless = { ...nats, seeds: 1, seedless: true };
  assertEquals(
    sentenceOf(seedless),
    "levels is better than official by 0.0123 ± 0.0041 nats per token " +
      "(95 % interval +0.0340 to +0.0684; n = 128 windows, arms without a seed)",
  );
});
