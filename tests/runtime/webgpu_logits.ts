/**
 * On webgpu against the cpu, as JSON: the largest error of the oracle's logits, and of the gradients of a training loss relative to their norm. Run by
 * webgpu_test.ts with the Vulkan driver set, which must be before a process starts.
 */
import { loadModel } from "../../lib/checkpoint/open.ts";
import { openRuntime, type Runtime } from "../../lib/runtime/runtime.ts";
import { gradientGraph, parametersOf } from "../../lib/train/graph.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance } from "../layers.ts";
import * as oracle from "../checkpoint/llada_oracle.ts";
import { architectureOf, tinyConfig } from "../model/tiny.ts";

const architecture = architectureOf(tinyConfig());

await using model = await loadModel(oracle.folder, { device: "webgpu" });
const { data } = await model.logits(await oracle.tokens(), { batch: oracle.batch });
await using cpu = await openRuntime({ device: "cpu" });
const [there, here] = [await gradients(model.engine.runtime), await gradients(cpu)];
const norm = Math.sqrt(here.reduce((sum, x) => sum + x * x, 0));
console.log(JSON.stringify({
  device: model.engine.runtime.device,
  error: distance(data, await oracle.expected("logits")),
  gradientError: distance(there, here) / norm,
}));

/** All gradients of a tiny model on random tokens, one after another. */
async function gradients(runtime: Runtime): Promise<Float32Array> {
  const [batch, time] = [2, 6];
  const r = rng(5, "webgpu");
  await using session = await runtime.session(gradientGraph(architecture, { batch, time }));
  const parameters = parametersOf(architecture);
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const tokens = () => BigInt64Array.from({ length: batch * time }, () => BigInt(r.int(architecture.vocabSize)));
  const outputs = await session.run({
    ...Object.fromEntries(parameters.map(({ name, shape }) => [name, {
      dims: shape,
      data: Float32Array.from({ length: size(shape) }, () => (shape.length === 1 ? 1 : 0) + 0.3 * r.normal()),
    }])),
    tokens: { dims: [batch * time], data: tokens() },
    targets: { dims: [batch * time, 1], data: tokens() },
    weights: { dims: [batch * time, 1], data: Float32Array.from({ length: batch * time }, () => r.next()) },
  });
  return Float32Array.from(parameters.flatMap(({ name }) => Array.from(outputs[`d.${name}`].data)));
}
