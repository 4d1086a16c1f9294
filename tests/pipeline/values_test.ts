/** Values of few bits: their grids, and what attention makes of them, against float64 loops. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { simulateMasks, visible } from "../../lib/diffusion/mcs.ts";
import type { Model } from "../../lib/model/model.ts";
import { RoundedValues } from "../../lib/model/values.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { quantizeValues } from "../../lib/pipeline/values.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { valueScale } from "../../lib/quant/value_scale.ts";
import { roundHalfEven } from "../../lib/tensor/rounding.ts";
import { arraysOf, familyConfigs, randomTokens, tinyModel } from "../model/tiny.ts";
import { referencePass } from "../model/reference.ts";

const windows = Array.from({ length: 5 }, (_, i) => randomTokens(12, 30 + i));
const calibration = simulateMasks({ windows }, { maskId: 22, seed: 1 });
const gridsOf = ({ forward }: Model) => {
  if (!(forward instanceof RoundedValues)) throw new TypeError("the values of this model are not rounded");
  return forward.grids;
};
/** A row of values on the grids of its block. */
const onGrid = (model: Model) => (layer: number, v: Float64Array) => {
  const { bits, scales, zeros } = gridsOf(model)[layer];
  return v.map((x, j) => {
    const code = Math.min(2 ** bits - 1, Math.max(0, roundHalfEven(x / scales[j]) + zeros[j]));
    return scales[j] * (code - zeros[j]);
  });
};
const farthest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);

for (const family of ["LLaDA, grouped queries", "Dream", "Qwen3 diffusion", "LLaDA-MoE"] as const) {
  Deno.test(`${family}: values are rounded to grids of least error by the attention that they get, block by block`, async () => {
    await using model = await tinyModel({ config: familyConfigs[family] });
    await using rounded = await quantizeValues(model, { calibration, bits: 4, batch: 2 });
    const a = model.architecture, arrays = arraysOf(model), shared = a.heads / a.kvHeads;
    const passes = calibration.windows.map((w) => referencePass(a, arrays, w, undefined, onGrid(rounded)));
    for (let layer = 0; layer < a.layers; layer++) {
      const { scales, zeros } = gridsOf(rounded)[layer];
      for (let j = 0; j < a.kvHeads * a.headSize; j++) {
        const first = Math.floor(j / a.headSize) * shared;
        const attention = passes.flatMap(({ seen }) =>
          Array.from(seen[layer][first], (_, p) => {
            let sum = 0;
            for (let head = first; head < first + shared; head++) sum += seen[layer][head][p];
            return sum;
          })
        );
        const wanted = valueScale(passes.flatMap(({ values }) => values[layer].map((row) => row[j])), attention);
        assert(Math.abs(scales[j] / wanted.scale - 1) < 1e-4, `block ${layer}, feature ${j}`);
        assertEquals(zeros[j], wanted.zero);
      }
    }
    const tokens = randomTokens(10, 9), { data } = await rounded.logits(tokens);
    const { logits } = referencePass(a, arrays, tokens, undefined, onGrid(rounded));
    assert(farthest(data, logits.flatMap((row) => [...row])) < 1e-4);
    // A part of a sequence against kept values is rounded as the whole is.
    const cache = rounded.openCache(), rows = Int32Array.of(4, 5, 6);
    await cache.run(tokens, { from: 0, to: 10, rows: Int32Array.of(9) });
    const part = await cache.run(tokens, { from: 3, to: 8, rows });
    assert(farthest(part.data, data.subarray(4 * a.vocabSize, 7 * a.vocabSize)) < 1e-4);
  });
}

Deno.test("values in 8 bits are nearly full precision, in fewer they move more; weights are those of the model", async () => {
  await using model = await tinyModel();
  // Every token stands in enough places that no range is new.
  const calibration = visible({ windows: Array.from({ length: 60 }, (_, i) => randomTokens(5, 300 + i)) });
  const tokens = randomTokens(10, 9), full = await model.logits(tokens, { batch: 2 });
  const moved = async (bits: number) => {
    await using rounded = await quantizeValues(model, { calibration, bits });
    assertEquals(rounded.provenance.values, `${bits} bits, ${calibration.name}`);
    return farthest((await rounded.logits(tokens, { batch: 2 })).data, full.data);
  };
  const [eight, four, two] = [await moved(8), await moved(4), await moved(2)];
  const largest = farthest(full.data, full.data.map(() => 0));
  assert(eight > 0 && eight < 0.02 * largest && eight < 0.3 * four && four < two, `${eight}, ${four}, ${two}`);
  const coarse = await quantize(model, rtn({ bits: 3, group: 8 }));
  await using both = await quantizeValues(coarse, { calibration, bits: 8 });
  assertEquals([both.quantized, both.storedBytes, both.weights], [
    coarse.quantized,
    coarse.storedBytes,
    coarse.weights,
  ]);
  assert(farthest((await both.logits(tokens)).data, (await coarse.logits(tokens)).data) < 0.05 * largest);
  for (const bits of [0, 9, 1.5]) {
    await assertRejects(() => quantizeValues(model, { calibration, bits }), RangeError, "bits");
  }
});
