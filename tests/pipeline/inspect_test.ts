/** What a method sees of a model: by name of the linear, and the same however many ask at once. */
import { assertEquals } from "@std/assert";
import { simulateMasks, visible } from "../../lib/diffusion/mcs.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { secondMoments } from "../../lib/pipeline/inspect.ts";
import { randomTokens, tinyModel } from "../model/tiny.ts";

const corpus = { windows: Array.from({ length: 6 }, (_, i) => randomTokens(12, 100 + i)) };
const both = [visible(corpus), simulateMasks(corpus, { maskId: 22, seed: 1 })];

Deno.test("second moments of two calibrations that are taken at once are those of each alone", async () => {
  await using model = await tinyModel();
  const take = (calibration: typeof both[number]) => secondMoments(model, { calibration, batch: 2 });
  const alone = await Array.fromAsync(both, take);
  assertEquals(Object.keys(alone[0]), model.linearNames().map(({ name }) => name));
  assertEquals(await Promise.all(both.map(take)), alone);
});

Deno.test("two runs of quantize on one model at once give what each gives alone", async () => {
  await using model = await tinyModel();
  const method = daq({ bits: 2, group: 16 });
  const bytes = async (calibration: typeof both[number]) =>
    (await quantize(model, method, { calibration, batch: 2 })).quantized;
  const alone = await Array.fromAsync(both, bytes);
  assertEquals(await Promise.all(both.map(bytes)), alone);
});
