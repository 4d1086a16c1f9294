/**
 * Packed linears and a packed model on webgpu, as JSON: the largest errors against float64 loops and against the dense model on the cpu. Run by
 * webgpu_test.ts with the Vulkan driver set, which must be before a process starts.
 */
import { Engine } from "../../lib/model/engine.ts";
import { PackedForward } from "../../lib/packed/forward.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { cases, errors } from "./cases.ts";
import { denseForward, logits, packedSource, typical } from "./model.ts";
import { architectureOf, randomTokens, tinyConfig } from "../model/tiny.ts";

await using runtime = await openRuntime({ device: "webgpu" });
await using cpu = await openRuntime({ device: "cpu", threads: 1 });
const some = [
  "levels, 1, 2 and 3 bits",
  "binary, groups of 20",
  "binary, 4 planes",
  "levels, 4 bits",
  "uniform, 3 bits, indexed",
  "uniform, 8 bits",
];
const float: Record<string, number> = {};
for (const name of some) float[name] = (await errors(runtime, cases[name], { tokens: 3, accuracyLevel: 0 })).largest;
// A shape that webgpu has int8 kernels for.
const int8 = (await errors(runtime, cases["levels, groups of 256"], { tokens: 3, accuracyLevel: 4 })).rms;
const config = tinyConfig(), parts = packedSource(config);
const [layers, batch, tokens] = [2, 2, randomTokens(18, 3)];
await using here = new Engine(cpu, architectureOf(config));
const wanted = await logits(denseForward(here, parts), tokens, { layers, batch });
await using there = new Engine(runtime, architectureOf(config));
await using forward = new PackedForward(there, parts.source, parts.names);
const got = await logits(forward, tokens, { layers, batch });
console.log(
  JSON.stringify({ device: runtime.device, float, int8, model: typical(got.data, wanted.data, tokens.length) }),
);
