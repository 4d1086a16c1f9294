/** GPTQ of one 4096 x 4096 linear, H given: fast kernels; plain kernels on fewer rows and columns, scaled. */
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { secondMoment, weights } from "./inputs.ts";
import { report, scaled, time } from "./report.ts";

const N = 4096, SMALL = 512;
// Products and the factor grow with the cube, row loops with the square: the cube is what dominates plain loops.
const scale = (N / SMALL) ** 3;

await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);
const small = { name: "small", W: weights(SMALL, SMALL), H: await secondMoment(SMALL, kernels) };
await gptq({ bits: 2, group: 128 }).quantize({ ...small, kernels });
const linear = { name: "linear", W: weights(N, N), H: await secondMoment(N, kernels), kernels };

const fast = await time(() => gptq({ bits: 2, group: 128 }).quantize(linear));
const ordered = await time(() => gptq({ bits: 2, group: 128, actOrder: true, staticGroups: true }).quantize(linear));
const nearest = await time(() => rtn({ bits: 2, group: 128 }).quantize(linear));
const plain = await time(() => gptq({ bits: 2, group: 128 }).quantize(small));
report("gptq", [
  { what: `GPTQ, 2 bits, group 128, ${N} x ${N}, fast kernels`, ...fast, atMost: 4 },
  { what: "the same with act-order and static groups", ...ordered },
  { what: `RTN, ${N} x ${N}, fast kernels`, ...nearest },
  { what: `GPTQ, ${SMALL} x ${SMALL}, plain kernels, times ${scale}`, ...scaled(plain, scale) },
], fast);
