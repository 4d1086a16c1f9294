/** DAQ of one 4096 x 4096 linear at order 2, block 128, H given: fast kernels; plain kernels on fewer rows and columns, scaled. */
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { secondMoment, weights } from "./inputs.ts";
import { report, scaled, time } from "./report.ts";

const N = 4096, SMALL = 512;
// The factor and the products with H grow with the cube, row loops with the square: for `plus` the cube is what dominates plain loops.
const scale = (N / SMALL) ** 3;

await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);
const nano = { name: "nano", W: weights(256, 256), H: await secondMoment(256, kernels), kernels };
const small = { name: "small", W: weights(SMALL, SMALL), H: await secondMoment(SMALL, kernels) };
const linear = { name: "linear", W: weights(N, N), H: await secondMoment(N, kernels), kernels };

const plus = await time(() => daq({ bits: 2, group: 32 }).quantize(nano));
report("daq-nano", [{ what: "DAQ plus, order 2, block 32, 256 x 256", ...plus, atMost: 0.3 }], plus);
for (const [profile, atMost] of [["official", 8], ["plus", 30]] as const) {
  const method = daq({ bits: 2, group: 128, profile });
  await method.quantize({ ...small, kernels });
  const fast = await time(() => method.quantize(linear));
  const plain = await time(() => method.quantize(small));
  report(`daq-${profile}`, [
    { what: `DAQ ${profile}, order 2, block 128, ${N} x ${N}, fast kernels`, ...fast, atMost },
    { what: `the same, ${SMALL} x ${SMALL}, plain kernels, times ${scale}`, ...scaled(plain, scale) },
  ], fast);
}
