import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { apdSampler } from "../../../lib/diffusion/apd/apd.ts";
import { lladaSampler } from "../../../lib/diffusion/samplers/llada.ts";
import { decodingOf } from "../../../lib/evaluate/decoding/decoding.ts";
import { type Dial, tradeoff } from "../../../lib/evaluate/decoding/tradeoff.ts";
import { rtn } from "../../../lib/methods/rtn.ts";
import { quantize } from "../../../lib/pipeline/quantize.ts";
import { randomTokens, tinyModel } from "../../model/tiny.ts";

const prompts = {
  id: "words",
  version: "1",
  items: Array.from({ length: 6 }, (_, i) => ({
    id: `${i}`,
    prompt: randomTokens(5, i),
    answer: randomTokens(4, 100 + i),
  })),
};
const dials: Dial[] = [
  { name: "R", values: [0, 1], sampler: (mix) => apdSampler({ mix }) },
  { name: "tokens per step", values: [1, 2, 4], sampler: () => lladaSampler(), steps: (k, length) => length / k },
];

Deno.test("every model at every setting: the rows of decodingOf, with dial, setting and passes per token", async () => {
  await using model = await tinyModel();
  await using quantized = await quantize(model, rtn({ bits: 2, group: 16 }));
  const progress: number[] = [];
  const options = { reference: model, limit: 5, seed: 3 };
  const onProgress = (done: number, total: number) => progress.push(done / total);
  const rows = await tradeoff([model, quantized], prompts, { ...options, dials, onProgress });

  const accuracies = rows.filter(({ metric }) => metric === "accuracy");
  assertEquals(accuracies.map(({ method, dial, setting, n }) => [method, dial, setting, n].join(" ")), [
    ...["R 0", "R 1", "tokens per step 1", "tokens per step 2", "tokens per step 4"].map((s) => `fp ${s} 5`),
    ...["R 0", "R 1", "tokens per step 1", "tokens per step 2", "tokens per step 4"].map((s) =>
      `${rtn({ bits: 2, group: 16 }).name} ${s} 5`
    ),
  ]);
  assertEquals(accuracies.map(({ passesPerToken }) => passesPerToken).slice(1, 5), [0.25, 1, 0.5, 0.25]);
  assert((accuracies[0].passesPerToken as number) > 0.25);
  // Four tokens at once are those of R = 1: everything is written on one canvas.
  assertEquals(accuracies[4].value, accuracies[1].value);

  const alone = await decodingOf(quantized, prompts, { ...options, sampler: apdSampler({ mix: 0 }) });
  const passesPerToken = alone.find(({ metric }) => metric === "passes per token")!.value;
  assertEquals(
    rows.filter(({ bitsPerWeight, dial, setting }) => bitsPerWeight < 16 && dial === "R" && setting === 0),
    alone.map((row) => ({ ...row, dial: "R", setting: 0, passesPerToken })),
  );
  assertEquals(progress.length, 10 * 5);
  assertAlmostEquals(progress[4], 0.1, 1e-12);
  assert(progress.every((p, i) => i === 0 || p > progress[i - 1]));
  assertAlmostEquals(progress.at(-1)!, 1, 1e-12);
});
