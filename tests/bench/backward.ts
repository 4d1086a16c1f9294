/**
 * Backward over forward of a block with LLaDA's proportions, and of nano-llada's: from what a forward pass kept, which is how tuning in memory goes, and
 * with the forward pass repeated from its input. The first has a bar.
 */
import type { Architecture } from "../../lib/model/architecture.ts";
import { blockWeights, weightShape } from "../../lib/model/architecture.ts";
import { Engine } from "../../lib/model/engine.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { BlockVjp, type Kept } from "../../lib/train/vjp.ts";
import { type Bar, judge, once, verdict } from "./report.ts";

const ROUNDS = 12;
const atMost = 3;

await using runtime = await openRuntime({ device: "cpu" });
const bars: Bar[] = [];
for (
  const { width, hidden, batch, time } of [
    { width: 1024, hidden: 3072, batch: 8, time: 128 },
    { width: 256, hidden: 256, batch: 32, time: 64 },
  ]
) {
  const a: Architecture = {
    ...{ layers: 1, width, hidden, heads: width / 64, kvHeads: width / 64, headSize: 64 },
    ...{ vocabSize: 2, maxLength: time, epsilon: 1e-5, ropeTheta: 1e4, maskId: 1 },
  };
  const random = rng(1, "backward", width);
  const draw = (count: number, scale = 1) => Float32Array.from({ length: count }, () => scale * (random.next() - 0.5));
  const weights = Object.fromEntries(
    blockWeights(a).map((name) => {
      const shape = weightShape(a, name);
      return [name, draw(shape.reduce((x, y) => x * y), shape.length === 1 ? 2 : 0.1)];
    }),
  );
  const x = { batch, time, data: draw(batch * time * width) }, dOut = draw(x.data.length);
  await using engine = new Engine(runtime, a);
  await using vjp = new BlockVjp(engine);
  const forward = async () => {
    await engine.feedForward(await engine.attend(x, weights), weights);
  };
  const backward = async ({ upper, lower }: { upper?: Kept; lower?: Kept } = {}) => {
    const { dX } = await vjp.run(x, { half: "feedForward", dOut, weights, kept: upper });
    await vjp.run(x, { half: "attention", dOut: dX, weights, kept: lower });
  };
  // In turn, so that a neighbour's load meets all; the best of each.
  const best = [Infinity, Infinity, Infinity];
  for (let round = 0; round < ROUNDS; round++) {
    const { kept: lower } = await vjp.forward(x, { half: "attention", weights });
    const { kept: upper } = await vjp.forward(x, { half: "feedForward", weights });
    for (const [i, run] of [forward, () => backward({ upper, lower }), backward].entries()) {
      best[i] = Math.min(best[i], (await once(() => run())).seconds);
    }
  }
  const what = `backward over forward, ${batch * time} tokens, width ${width}, hidden ${hidden}`;
  const bar: Bar = { what, found: best[1] / best[0], atMost };
  const [ms, backMs, wholeMs] = best.map((seconds) => (1000 * seconds).toFixed(1));
  console.error(`${what}: ${backMs} ms / ${ms} ms = ${bar.found.toFixed(2)}  (at most ${atMost}: ${verdict(bar)})`);
  console.error(`  with the forward pass repeated: ${wholeMs} ms / ${ms} ms = ${(best[2] / best[0]).toFixed(2)}`);
  bars.push(bar);
}
console.log(JSON.stringify({ bench: "backward", bars, missed: judge(bars) }));
