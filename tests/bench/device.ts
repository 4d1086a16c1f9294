/**
 * A device against the cpu, in one run: products, one block of LLaDA-8B with random weights (float32, from 2-bit codes, forward and back), and a step of
 * tuning nano-llada. `deno run -A tests/bench/device.ts webgpu|cuda`; by hand, since it needs the device.
 */
import { loadModel, quantize, rtn, tune } from "../../lib/mod.ts";
import { createWorld, WORLD_SEED, worldText } from "../../lib/testbed.ts";
import { type Architecture, blockWeights, linears, weightShape } from "../../lib/model/architecture.ts";
import { Engine, type Hidden } from "../../lib/model/engine.ts";
import { QuantizedSource } from "../../lib/model/weights.ts";
import { PackedForward } from "../../lib/packed/forward.ts";
import type { QuantizedLinear } from "../../lib/quant/method.ts";
import { type Device, openRuntime } from "../../lib/runtime/runtime.ts";
import { matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { BlockVjp } from "../../lib/train/vjp.ts";
import { distance } from "../layers.ts";
import { randomBlocks } from "../packed/layers.ts";
import { once } from "./report.ts";

const a: Architecture = {
  ...{ layers: 1, width: 4096, hidden: 12288, heads: 32, kvHeads: 32, headSize: 128 },
  ...{ vocabSize: 128, maxLength: 4096, epsilon: 1e-5, ropeTheta: 5e5, maskId: 127 },
};
const names = { embed: "embed", finalNorm: "norm", head: "head", block: (layer: number, w: string) => `${layer}.${w}` };
const ROUNDS = 4, STEPS = 12;
const random = rng(1, "device");
const draw = (count: number, scale: number) =>
  Float32Array.from({ length: count }, () => scale * (random.next() - 0.5));
const dense = Object.fromEntries(
  blockWeights(a).map((name) => {
    const shape = weightShape(a, name), count = shape.reduce((x, y) => x * y);
    return [name, shape.length === 1 ? new Float32Array(count).fill(1) : draw(count, 4 / Math.sqrt(shape[1]))];
  }),
);
const stored = new Map(
  linears(a).map((name): [string, QuantizedLinear] => {
    const [rows, cols] = weightShape(a, name);
    return [name, randomBlocks("levels", { rows, cols, group: 128, orders: [2], scale: 0.3 / Math.sqrt(cols) })];
  }),
);
const square = matrix(4096, 4096, draw(4096 ** 2, 1));
const states = (tokens: number): Hidden => {
  const batch = Math.max(1, tokens / 512);
  return { batch, time: tokens / batch, data: draw(tokens * a.width, 1) };
};
const inputs = new Map([1, 32, 512, 2048].map((tokens) => [tokens, states(tokens)]));

/** Milliseconds of everything on a device, and what a block gives there. */
async function measure(device: Device): Promise<{ readonly ms: Map<string, number>; readonly y: Float32Array }> {
  const ms = new Map<string, number>();
  const best = async (what: string, run: () => Promise<unknown>, rounds = ROUNDS) => {
    for (let round = 0; round < rounds; round++) {
      ms.set(what, Math.min(ms.get(what) ?? Infinity, 1000 * (await once(run)).seconds));
    }
  };
  await using runtime = await openRuntime({ device });
  await best("product of 4096 x 4096 matrices, copies included", () => runtime.gemm(square, square, { transB: true }));
  await using engine = new Engine(runtime, a);
  const source = (q?: ReadonlyMap<string, QuantizedLinear>) => {
    const weight = (name: string) => name.slice(2);
    const readFloat = (name: string) => Promise.resolve(dense[weight(name)]);
    const readRows = () => Promise.reject(new Error("Nothing reads rows here"));
    return new QuantizedSource({ readFloat, readRows }, (name) => q?.get(weight(name)));
  };
  let y: Float32Array = new Float32Array(0);
  for (const [what, q] of [["float32", undefined], ["2-bit codes", stored]] as const) {
    await using forward = new PackedForward(engine, source(q), names);
    for (const tokens of [1, 32, 512]) {
      await best(`a block, ${what}, ${tokens} tokens`, async () => {
        const { data } = await forward.block(0, inputs.get(tokens)!);
        if (!q) y = data;
      });
    }
  }
  await using vjp = new BlockVjp(engine);
  const x = inputs.get(2048)!;
  await best("a block forward and back, 2048 tokens", async () => {
    const { y: between, kept } = await vjp.forward(x, { half: "attention", weights: dense });
    const upper = await vjp.forward(between, { half: "feedForward", weights: dense });
    const back = { half: "feedForward", dOut: x.data, weights: dense, kept: upper.kept } as const;
    const { dX } = await vjp.run(between, back);
    await vjp.run(x, { half: "attention", dOut: dX, weights: dense, kept });
  }, 2);
  await using teacher = await loadModel("data/nano-llada", { device });
  const student = await quantize(teacher, rtn({ bits: 2, group: 128 }));
  const text = worldText(createWorld({ seed: WORLD_SEED }), { batch: 32 }), stamps: number[] = [];
  await tune(teacher, student, {
    what: "codes",
    text,
    steps: STEPS,
    seed: 1,
    onProgress: () => stamps.push(performance.now()),
  });
  ms.set("a step of tuning nano-llada", Math.min(...stamps.slice(1).map((at, i) => at - stamps[i])));
  return { ms, y };
}

const [device = "webgpu"] = Deno.args;
const there = await measure(device as Device), here = await measure("cpu");
const error = distance(there.y, here.y);
console.error(
  `${device} against ${navigator.hardwareConcurrency} cores: outputs of a block within ${error.toExponential(1)}`,
);
for (const [what, ms] of there.ms) {
  const cpu = here.ms.get(what)!;
  console.error(
    `${what.padEnd(52)} ${ms.toFixed(1).padStart(8)} ms  cpu ${cpu.toFixed(1).padStart(8)} ms  ${
      (cpu / ms).toFixed(2)
    } x`,
  );
}
const ms = (found: ReadonlyMap<string, number>) => Object.fromEntries(found);
console.log(JSON.stringify({ bench: "device", device, error, ms: ms(there.ms), cpu: ms(here.ms) }));
