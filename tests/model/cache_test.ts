/** Keys and values that are kept: parts of a sequence against the whole of it, for every family, dense and from codes. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import type { Model } from "../../lib/model/model.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { visible } from "../../lib/diffusion/mcs.ts";
import { familyConfigs, inFolder, randomTokens, tinyConfig, tinyModel } from "./tiny.ts";

const families = { LLaDA: tinyConfig(), ...familyConfigs };
const TIME = 14, cpu = { device: "cpu", threads: 1 } as const;

function near(found: Float32Array, wanted: Float32Array, what: string, tolerance = 2e-5): void {
  assertEquals(found.length, wanted.length, what);
  const size = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  wanted.forEach((x, i) =>
    assert(Math.abs(x - found[i]) <= tolerance * size, `${what}: ${i} is ${found[i]}, not ${x}`)
  );
}

/** Every part of a sequence whose rest is kept as it is answers as the whole sequence does. */
async function checkParts(model: Model, what: string): Promise<void> {
  const tokens = randomTokens(TIME, 3), first = model.firstPredicted;
  const rows = Int32Array.from({ length: TIME - first }, (_, i) => first + i);
  const whole = await model.logits(tokens, { rows }), vocab = model.vocabSize;
  const of = (positions: Int32Array) =>
    Float32Array.from(positions, (p) => p).reduce<number[]>((all, p) => {
      const at = (p - first) * vocab;
      return all.concat([...whole.data.subarray(at, at + vocab)]);
    }, []);
  await using cache = model.openCache();
  const all = await cache.run(tokens, { from: 0, to: TIME, rows });
  assertEquals([cache.kept, all.shape], [TIME, [rows.length, vocab]]);
  near(all.data, whole.data, `${what}, whole`);
  for (const [from, to] of [[4, 9], [TIME - 3, TIME], [0, 5], [6, 7 + first]]) {
    const own = Int32Array.from({ length: to - from - first }, (_, i) => from + first + i);
    const { data } = await cache.run(tokens, { from, to, rows: own });
    near(data, Float32Array.from(of(own)), `${what}, ${from} to ${to}`);
  }
  // From what is kept to the end, as a prefix is used.
  cache.crop(5);
  assertEquals(cache.kept, 5);
  const own = rows.filter((p) => p >= 5 + first);
  near((await cache.run(tokens, { from: 5, to: TIME, rows: own })).data, Float32Array.from(of(own)), `${what}, suffix`);
}

for (const [family, config] of Object.entries(families)) {
  Deno.test(`${family}: parts against kept keys and values are the whole sequence's, dense and packed`, () =>
    inFolder(async (folder) => {
      await using model = await tinyModel({ config });
      await checkParts(model, "dense");
      const calibration = visible({ windows: [randomTokens(10, 1), randomTokens(10, 2)] });
      await saveModel(await quantize(model, levels({ bits: 2, group: 8 }), { calibration }), `${folder}/packed`);
      await using packed = await loadModel(`${folder}/packed`, { ...cpu, run: "packed", accuracyLevel: 0 });
      await checkParts(packed, "packed");
    }));
}

Deno.test("what is kept is what was run: a changed token outside of a part is seen as it was", async () => {
  await using model = await tinyModel();
  await using cache = model.openCache();
  const tokens = randomTokens(TIME, 3), rows = Int32Array.of(6, 7);
  await cache.run(tokens, { from: 0, to: TIME, rows });
  const changed = tokens.slice();
  changed[2] = (changed[2] + 1) % 20;
  const kept = (await cache.run(changed, { from: 6, to: 8, rows })).data;
  near(kept, (await model.logits(tokens, { rows })).data, "as it was");
  const now = (await model.logits(changed, { rows })).data;
  assert(now.some((x, i) => Math.abs(x - kept[i]) > 1e-3));
  // Run again, it is seen as it is.
  await cache.run(changed, { from: 0, to: TIME, rows });
  near((await cache.run(changed, { from: 6, to: 8, rows })).data, now, "as it is");
});

Deno.test("what cannot be run is refused", async () => {
  await using dream = await tinyModel({ config: familyConfigs.Dream });
  await using cache = dream.openCache();
  const tokens = randomTokens(TIME, 3),
    run = (from: number, to: number, ...rows: number[]) => cache.run(tokens, { from, to, rows: Int32Array.from(rows) });
  await assertRejects(() => run(2, 5), RangeError, "0 are kept");
  await run(0, 8, 3);
  await assertRejects(() => run(4, 6, 4), RangeError, "predicts from the position before");
  await assertRejects(() => run(4, 6, 6), RangeError, "position 6");
  await assertRejects(() => run(5, 5), RangeError, "5 to 5");
  await assertRejects(() => run(5, TIME + 1), RangeError, `5 to ${TIME + 1}`);
  assertThrows(() => cache.crop(9), RangeError, "Cannot keep 9");
  cache.crop(3);
  assertEquals(cache.kept, 3);
});
