/** A quantisation in a process of its own, to be killed: `quantize_child.ts FROM OUT` prints "begun" when the work begins and "done" at its end. */
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { randomTokens } from "../model/tiny.ts";

const [from, out] = Deno.args;
const corpus = { windows: Array.from({ length: 5 }, (_, i) => randomTokens(12, 40 + i)) };
const calibration = simulateMasks(corpus, { maskId: 22, seed: 3 });
const checkpoint = await openCheckpoint(from);
const method = daq({ bits: 2, group: 4, profile: "official" });
await using quantization = await openQuantization(checkpoint, method, {
  out,
  calibration,
  seed: 3,
  kernels: referenceKernels,
  batch: 2,
  maxShardBytes: 4096,
  device: "cpu",
  threads: 1,
});
console.log("begun");
await quantization.run();
console.log("done");
