/** The testbed gate: is the model good enough to be hurt, and does 2 bits hurt it? Prints the table, exits 1 when the gate does not hold. */
import {
  armMean,
  choiceTasks,
  compare,
  type Device,
  evaluate,
  loadModel,
  type Outcomes,
  quantize,
  rtn,
  sentenceOf,
} from "quant-dllm";
import { count, deviceOption, meter, readOptions } from "./cli.ts";

const options = readOptions("deno task gate [options]", {
  model: { default: "data/nano-llada", help: "checkpoint folder", path: true },
  group: { default: "32", help: "columns that share a scale", check: count() },
  device: deviceOption,
});
const group = Number(options.group);
await using model = await loadModel(options.model, { device: options.device as Device });
const arms = {
  fp: model,
  "rtn 4 bits": await quantize(model, rtn({ bits: 4, group })),
  "rtn 2 bits": await quantize(model, rtn({ bits: 2, group })),
};
const progress = meter("gate", 3 * choiceTasks.length, "tasks");
const accuracy: Record<string, number[]> = {};
const outcomes: Record<string, Outcomes> = {};
let chance: number[] = [];
for (const [a, [name, arm]] of Object.entries(arms).entries()) {
  const items: Record<string, readonly ArrayLike<number>[]> = {};
  const rows = await evaluate(arm, choiceTasks, {
    seed: 1,
    onItems: (task, right) => items[task] = [right],
    onProgress: (done, total, task) => {
      const index = a * choiceTasks.length + choiceTasks.findIndex(({ id }) => id === task);
      progress.update(index + done / total, `${name}, ${task}`);
    },
  });
  accuracy[name] = rows.map((row) => row.value);
  chance = rows.map((row) => row.chance as number);
  // Rounding draws nothing, so one seed is enough.
  outcomes[name] = { label: name, metric: "accuracy", seeds: [1], items, seedless: true };
}
progress.finish();
const percent = (x: number) => (100 * x).toFixed(1).padStart(6);
const mean = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;
const kept = (name: string) =>
  mean(accuracy[name].map((a, i) => a - chance[i])) / mean(accuracy.fp.map((a, i) => a - chance[i]));
console.log(["task".padEnd(20), "chance", ...Object.keys(arms).map((a) => a.padStart(10))].join("  "));
choiceTasks.forEach(({ id }, i) =>
  console.log(
    [id.padEnd(20), percent(chance[i]), ...Object.values(accuracy).map((a) => percent(a[i]).padStart(10))].join("  "),
  )
);
const means = Object.values(outcomes).map(armMean);
console.log(["mean".padEnd(20), percent(mean(chance)), ...means.map((m) => percent(m.mean).padStart(10))].join("  "));
console.log(
  ["± standard error".padEnd(20), "".padEnd(6), ...means.map((m) => percent(m.standardError).padStart(10))].join("  "),
);
const lost = compare(outcomes.fp, outcomes["rtn 4 bits"]);
console.log(sentenceOf(lost));
const strong = accuracy.fp.filter((a) => a >= 0.8).length;
const conditions: [string, boolean][] = [
  [`full precision reaches 80 % on ${strong} of ${choiceTasks.length} tasks, wanted at least 5`, strong >= 5],
  [
    `RTN 4-bit loses ${(100 * lost.difference).toFixed(2)} points on average, wanted less than 1`,
    lost.difference < 0.01,
  ],
  [
    `RTN 2-bit keeps ${percent(kept("rtn 2 bits")).trim()} % of (accuracy - chance), wanted at most 66.7`,
    kept("rtn 2 bits") <= 2 / 3,
  ],
];
for (const [text, holds] of conditions) console.log(`${holds ? "ok  " : "FAIL"} ${text}`);
if (!conditions.every(([, holds]) => holds)) Deno.exit(1);
