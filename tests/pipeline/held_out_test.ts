/** Windows that are held out: errors are measured on them, all the way through the model, and nothing is fitted to them. */
import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { type Calibration, simulateMasks } from "../../lib/diffusion/mcs.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { type LinearReport, quantize } from "../../lib/pipeline/quantize.ts";
import { randomTokens, tinyModel } from "../model/tiny.ts";

const windows = (from: number) => Array.from({ length: 6 }, (_, i) => randomTokens(12, from + i));
const used = simulateMasks({ windows: windows(0) }, { maskId: 22, seed: 1 });
const others = simulateMasks({ windows: windows(50) }, { maskId: 22, seed: 2 });
const join = (a: Calibration, b: Calibration): Calibration => ({
  ...a,
  windows: [...a.windows, ...b.windows],
  timesteps: [...a.timesteps, ...b.timesteps],
});

async function made(calibration: Calibration, heldOut: number) {
  await using model = await tinyModel();
  const reports: LinearReport[] = [];
  const options = { calibration, heldOut, seed: 1, batch: 4 };
  const onProgress = (_done: number, _total: number, report: LinearReport) => reports.push(report);
  const { quantized } = await quantize(model, gptq({ bits: 2, group: 8 }), { ...options, onProgress });
  return { reports, forms: [...quantized.values()].map(({ tensors }) => tensors) };
}

Deno.test("what is held out changes no stored form", async () => {
  const alone = await made(used, 0), beside = await made(join(used, others), 6);
  assertEquals(beside.forms, alone.forms);
  assertNotEquals((await made(join(used, others), 0)).forms, alone.forms); // they would, if they were fitted to
  assert(alone.reports.every(({ heldOutError }) => heldOutError === undefined));
});

Deno.test("held-out copies of the calibration have its errors, at every linear of every block", async () => {
  const { reports } = await made(join(used, used), 6);
  assertEquals(reports.length, 14);
  for (const { name, relativeError, heldOutError } of reports) {
    assertAlmostEquals(heldOutError!, relativeError!, 1e-5 * relativeError!, name);
  }
  const { reports: apart } = await made(join(used, others), 6);
  const total = (of: (report: LinearReport) => number) => apart.reduce((sum, report) => sum + of(report), 0);
  assert(total(({ heldOutError }) => heldOutError!) > total(({ relativeError }) => relativeError!));
});
