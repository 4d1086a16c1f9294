/** DAQ of one 4096 x 4096 linear at order 2, block 128, H given and its factor included: fast kernels; plain kernels on fewer rows and columns, extrapolated. */
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import type { Method } from "../../lib/quant/method.ts";
import { type Kernels, referenceKernels } from "../../lib/tensor/kernels.ts";
import { extrapolate, timeSplit } from "./extrapolate.ts";
import { fresh, secondMoment, weights } from "./inputs.ts";
import { report, time } from "./report.ts";

const N = 4096, SMALL = 512;

await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);
const nano = { name: "nano", W: weights(256, 256), H: await secondMoment(256, kernels) };
const small = { name: "small", W: weights(SMALL, SMALL), H: await secondMoment(SMALL, kernels) };
const linear = { name: "linear", W: weights(N, N), H: await secondMoment(N, kernels) };
const run = (method: Method, layer: typeof linear) => (kernels: Kernels) =>
  method.quantize({ ...fresh(layer), kernels });

const plus = await time(() => run(daq({ bits: 2, group: 32 }), nano)(kernels));
report("daq-nano", [{ what: "DAQ plus, order 2, block 32, 256 x 256", ...plus, atMost: 0.3 }], plus);
for (const [profile, atMost] of [["official", 8], ["plus", 30]] as const) {
  const method = daq({ bits: 2, group: 128, profile });
  await run(method, small)(kernels);
  const fast = await timeSplit(kernels, run(method, linear));
  const plain = await timeSplit(referenceKernels, run(method, small));
  // Factor, errors passed on and refinement are cols³ and rows · cols²; the fit of a block, refits in its own second moment included, is
  // rows · cols · 128, which is four fifths of what `plus` multiplies at the smaller size: see extrapolate.ts.
  const slow = extrapolate(plain, { multiplyAdds: fast.multiplyAdds, weights: (N / SMALL) ** 2 });
  report(`daq-${profile}`, [
    { what: `DAQ ${profile}, order 2, block 128, ${N} x ${N}, fast kernels`, ...fast, atMost },
    { what: `the same, plain kernels, from ${SMALL} x ${SMALL}, at least`, ...slow },
  ], fast);
}
