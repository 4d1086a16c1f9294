import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { simulateMasks, visible } from "../../lib/diffusion/mcs.ts";
import type { ElboTask } from "../../lib/evaluate/tasks.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { type Arm, type ArmInputs, identityOf, measure } from "../../lib/evaluate/study.ts";
import { randomTokens, tinyModel } from "../model/tiny.ts";

const task: ElboTask = {
  kind: "elbo",
  id: "text",
  version: "2",
  draws: 2,
  windows: () => Promise.resolve(Array.from({ length: 8 }, (_, i) => randomTokens(9, i))),
};
const corpus = (count: number, seed: number) =>
  Promise.resolve({ windows: Array.from({ length: count }, (_, i) => randomTokens(12, 1000 * seed + i)) });
const arm: Arm = {
  label: "GPTQ",
  method: gptq({ bits: 2, group: 16 }),
  calibration: (c, seed) => simulateMasks(c, { maskId: 22, seed }),
  windows: 4,
  tasks: [{ task, limit: 6 }, { task: { ...task, id: "again" }, limit: 3 }],
};

Deno.test("an arm is quantised and evaluated at its seed, and says what was done", async () => {
  await using model = await tinyModel({ tokenizer: { encode: () => new Int32Array(), decode: () => "" } });
  const shares: number[] = [];
  const m = await measure(model, arm, { seed: 3, corpus, onProgress: (share) => shares.push(share) });
  assertEquals([m.label, m.seed], ["GPTQ", 3]);
  assertEquals(m.rows.map((r) => [r.label, r.task, r.n, r.seed, r.calibrationSize, r.method]), [
    ["GPTQ", "text", 6, 3, 4, arm.method!.name],
    ["GPTQ", "again", 3, 3, 4, arm.method!.name],
  ]);
  assertEquals(m.linears.length, 14);
  assertEquals(Object.values(m.items).map((v) => v.length), [6, 3]);
  assert(
    shares.every((s, i) => s > 0 && s <= 1 && (i === 0 || s >= shares[i - 1])) && shares.at(-1) === 1,
    `${shares}`,
  );
  assert(m.seconds! > 0);
  assertEquals({ ...await measure(model, arm, { seed: 3, corpus }), seconds: m.seconds }, m);

  const fp = await measure(model, { ...arm, label: "FP", method: undefined, calibration: undefined }, {
    seed: 3,
    corpus,
  });
  assertEquals([fp.linears, fp.rows[0].method, fp.rows[0].calibrationSize], [[], "fp", 0]);
  assert(fp.rows[0].value !== m.rows[0].value);
  const signal = AbortSignal.abort(new Error("enough"));
  await assertRejects(() => measure(model, arm, { seed: 3, corpus, signal }), Error, "enough");
});

Deno.test("equal identities are equal measurements: all that changes a number changes them, the label does not", () => {
  const inputs: ArmInputs = { code: "1+a", device: "cpu", model: "b", corpus: "c", tasks: { text: "d", again: "e" } };
  const identity = (a: Arm, changes: Partial<ArmInputs> = {}, seed = 1) =>
    identityOf(a, { seed, inputs: { ...inputs, ...changes } });
  const own = identity(arm);
  assertEquals(identity({ ...arm, label: "another" }), own);
  const others: Arm[] = [
    { ...arm, method: undefined },
    { ...arm, method: rtn({ bits: 2, group: 16 }) },
    { ...arm, method: gptq({ bits: 3, group: 16 }) },
    { ...arm, calibration: visible },
    { ...arm, calibration: (c, seed) => simulateMasks(c, { maskId: 22, seed, prefix: 0.5 }) },
    { ...arm, windows: 5 },
    { ...arm, tasks: arm.tasks.slice(1) },
    { ...arm, tasks: [{ task, limit: 7 }, arm.tasks[1]] },
    { ...arm, tasks: [{ task: { ...task, version: "3" }, limit: 6 }, arm.tasks[1]] },
    { ...arm, tasks: [{ task: { ...task, draws: 3 }, limit: 6 }, arm.tasks[1]] },
  ];
  const changes: Partial<ArmInputs>[] = [
    { code: "1+x" },
    { device: "webgpu" },
    { model: "x" },
    { corpus: "x" },
    { tasks: { ...inputs.tasks, again: "x" } },
  ];
  const all = [own, identity(arm, {}, 2), ...others.map((a) => identity(a)), ...changes.map((c) => identity(arm, c))];
  assertEquals(new Set(all).size, all.length);

  // What an arm does not depend on: tasks that it does not measure, and text where it reads none.
  assertEquals(identity(arm, { tasks: { ...inputs.tasks, other: "x" } }), own);
  const fp = { ...arm, method: undefined, calibration: undefined };
  assertEquals(identity({ ...fp, windows: 9 }, { corpus: "x" }), identity(fp));
  assertThrows(() => identity(arm, { tasks: { text: "d" } }), RangeError, 'no digest of the task "again"');
});
