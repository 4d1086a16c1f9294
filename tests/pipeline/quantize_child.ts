/** A quantisation in a process of its own, to be killed: `quantize_child.ts FROM OUT` prints "begun" when the work begins and "done" at its end. */
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { openCheckpoint, streamedModel } from "../../lib/checkpoint/open.ts";
import { Engine } from "../../lib/model/engine.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { quantizeCheckpoint } from "../../lib/pipeline/quantize_checkpoint.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { randomTokens } from "../model/tiny.ts";

const [from, out] = Deno.args;
const corpus = { windows: Array.from({ length: 5 }, (_, i) => randomTokens(12, 40 + i)) };
const calibration = simulateMasks(corpus, { maskId: 22, seed: 3 });
const checkpoint = await openCheckpoint(from);
await using runtime = await openRuntime({ device: "cpu", threads: 1 });
await using engine = new Engine(runtime, checkpoint.architecture);
const method = daq({ bits: 2, group: 4, profile: "official" });
console.log("begun");
await quantizeCheckpoint(checkpoint, streamedModel(checkpoint, engine), method, out, {
  calibration,
  seed: 3,
  kernels: referenceKernels,
  batch: 2,
  maxShardBytes: 4096,
});
console.log("done");
