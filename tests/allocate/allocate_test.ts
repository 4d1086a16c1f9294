import { assert, assertEquals, assertRejects } from "@std/assert";
import { allocate, type AllocateOptions, type Allocation, type AllocationStep } from "../../lib/allocate/allocate.ts";
import { divergence } from "../../lib/diffusion/divergence.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import type { TextSource } from "../../lib/diffusion/text.ts";
import { type Allotment, allotment } from "../../lib/methods/allotment.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import type { Model } from "../../lib/model/model.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { planQuantization } from "../../lib/pipeline/plan.ts";
import type { Method } from "../../lib/quant/method.ts";
import { except } from "../../lib/quant/except.ts";
import { storedBits } from "../../lib/quant/forms/decode.ts";
import { blockOrders } from "../../lib/quant/forms/grouped.ts";
import { scaled8 } from "../../lib/quant/forms/row_scales.ts";
import { formBytes } from "../../lib/quant/forms/size.ts";
import { referenceKernels as kernels } from "../../lib/tensor/kernels.ts";
import { tuned } from "../../lib/tune/tuned.ts";
import { randomTokens, tinyModel } from "../model/tiny.ts";

const TIME = 12, MASK = 22;
const windowsOf = (count: number, seed: number) => {
  const tokens = randomTokens(count * TIME, seed);
  return Array.from({ length: count }, (_, w) => tokens.slice(w * TIME, (w + 1) * TIME));
};
const calibration = simulateMasks({ windows: windowsOf(16, 50) }, { maskId: MASK, seed: 1 });
const text = { windows: windowsOf(24, 60) };

const method = (bits: number | Allotment) => levels({ bits, group: 8, profile: "official" });
const options: AllocateOptions = { method, average: 1.75, calibration, text, seed: 4, trials: 4, kernels };

/** Mean planes of a weight of what is stored, and the counted bits. */
function planesOf(model: Model): { planes: number; weights: number; bits: number } {
  let planes = 0, weights = 0, bits = 0;
  for (const { name } of model.linearNames()) {
    const q = model.quantized.get(name)!, [rows, cols] = q.shape, orders = blockOrders(q);
    orders.forEach((k) => planes += k * rows * cols / orders.length);
    weights += rows * cols;
    bits += storedBits(q);
  }
  return { planes, weights, bits };
}

const judged = async (teacher: Model, student: Model) => {
  const { forward, answers } = await divergence(teacher, student, { text, seed: 4 });
  return (forward + answers) / 2;
};

Deno.test("an allocation meets its average, is what it says, and comes out the same from JSON and again", async () => {
  await using model = await tinyModel();
  const told: AllocationStep[] = [];
  const found = await allocate(model, { ...options, onStep: (step) => told.push(step) });
  const student = await quantize(model, method(found), { calibration, kernels });
  const { planes, weights, bits } = planesOf(student);
  assertEquals([planes / weights, found.average], [1.75, 1.75]);
  assertEquals(found.divergence, await judged(model, student));
  assertEquals(found.steps, told);
  const swaps = found.steps.filter(({ average }, i) => i > 0 && found.steps[i - 1].average === average);
  assert(swaps.length > 0 && swaps.every(({ before, after, accepted }) => accepted === after < before));
  assertEquals(student.provenance.method, `daq-official-levels-${found.name}-g8`);
  assert(/^kl1\.75-[0-9a-f]{8}$/.test(found.name), found.name);
  // The bits of scales do not depend on planes: what is saved is a quarter of the codes of one plane.
  const uniform = model.linearNames().reduce(
    (sum, { shape: [rows, cols] }) => sum + 8 * formBytes.levels({ rows, cols, order: 2, group: 8 }),
    0,
  );
  assertEquals(bits, uniform - weights / 4);

  const again: Allocation = JSON.parse(JSON.stringify(await allocate(model, options)));
  assertEquals(again, found);
  const loaded = await quantize(model, method(again), { calibration, kernels });
  assertEquals([...loaded.quantized], [...student.quantized]);
});

Deno.test("whole linears change as one; extra planes are given as well", async () => {
  await using model = await tinyModel();
  const found = await allocate(model, { ...options, unit: "linear", average: 2.25, trials: 2 });
  assert(Object.values(found.orders).every((orders) => new Set(orders).size === 1));
  assert(found.average <= 2.25 && found.average > 2, `${found.average}`);
  assert(found.steps.length > 0 && found.steps.every(({ moves }) => moves.every(({ group }) => group === undefined)));
});

Deno.test("what wraps a method may be inside: tuning decides after it, 8-bit scales and exceptions come along", async () => {
  await using model = await tinyModel();
  const source: TextSource = {
    name: "random",
    batch: 4,
    length: TIME,
    draw: (seed, step) => ({ windows: windowsOf(4, 100 * seed + step) }),
  };
  const wrapped = (bits: number | Allotment) =>
    except(
      tuned(scaled8(daq({ bits, group: 16, profile: "official" })), { what: "scales", text: source, steps: 3 }),
      { embed: rtn({ bits: 8, group: 16 }) },
    );
  const found = await allocate(model, { ...options, method: wrapped, average: 1.5, trials: 1 });
  const student = await quantize(model, wrapped(found), { calibration, kernels, seed: 4 });
  assertEquals(found.divergence, await judged(model, student));
  const { planes, weights } = planesOf(student);
  assertEquals(planes / weights, found.average);
  assert(found.average <= 1.5 && found.average > 1.4, `${found.average}`);
});

Deno.test("a plan of an allotted method probes noise, which no allotment knows", async () => {
  await using model = await tinyModel();
  const orders = Object.fromEntries(
    model.linearNames().map(({ name, shape }) => [name, new Array(shape[1] / 8).fill(1)]),
  );
  const plain = { group: 8, profile: "official", dor: false, compensation: "none" } as const; // needs no data
  const sizes = { windows: 0, length: TIME, batch: 4, kernels, now: () => 0 };
  for (const wrap of [(m: Method) => m, scaled8]) {
    const [given, flat] = [allotment(orders), 1].map((bits) => wrap(levels({ bits, ...plain })));
    const plan = await planQuantization(model, given, sizes);
    assertEquals(plan.bitsPerWeight, (await planQuantization(model, flat, sizes)).bitsPerWeight);
  }
  await assertRejects(() => quantize(model, method(allotment({})), { calibration }), RangeError, "missing");
});

Deno.test("what cannot be is refused by name, before any work", async () => {
  await using model = await tinyModel();
  const refused = async (
    changes: Partial<AllocateOptions>,
    kind: typeof RangeError | typeof TypeError,
    message: string,
  ) => {
    await assertRejects(() => allocate(model, { ...options, ...changes }), kind, message);
  };
  await refused({ average: 0.5 }, RangeError, "Cannot allocate an average of 0.5 planes: wanted 1 to 3");
  await refused({ average: 3.5 }, RangeError, "average of 3.5 planes: wanted 1 to 3");
  await refused({ average: NaN }, RangeError, "average of NaN planes");
  await refused({ average: 1.5, least: 2 }, RangeError, "average of 1.5 planes: wanted 2 to 3");
  await refused({ least: 3, most: 2 }, RangeError, "Cannot allocate 3 to 2 planes");
  await refused({ most: 5 }, RangeError, "1 to 5 planes");
  await refused({ most: 4 }, RangeError, "Cannot make levels with 4 bits");
  await refused({ trials: -1 }, RangeError, "-1 trials");
  await refused({ unit: "row" as "group" }, RangeError, 'by "row"');
  await refused({ calibration: undefined }, TypeError, "it needs data");
  await refused({ method: () => rtn({ bits: 2, group: 8 }) }, TypeError, "is stored without planes; use daq or levels");
  await refused({ method: () => method(2) }, TypeError, "pass the argument of method on as bits");
});
