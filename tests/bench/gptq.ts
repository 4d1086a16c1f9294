/** GPTQ of one 4096 x 4096 linear, H given and its factor included: fast kernels; plain kernels on fewer rows and columns, extrapolated. */
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import type { Method } from "../../lib/quant/method.ts";
import { type Kernels, referenceKernels } from "../../lib/tensor/kernels.ts";
import { extrapolate, timeSplit } from "./extrapolate.ts";
import { fresh, secondMoment, weights } from "./inputs.ts";
import { report, time } from "./report.ts";

const N = 4096, SMALL = 512;

await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);
const small = { name: "small", W: weights(SMALL, SMALL), H: await secondMoment(SMALL, kernels) };
const linear = { name: "linear", W: weights(N, N), H: await secondMoment(N, kernels) };
const run = (method: Method, layer: typeof linear) => (kernels: Kernels) =>
  method.quantize({ ...fresh(layer), kernels });

const method = gptq({ bits: 2, group: 128 });
await run(method, small)(kernels);
const fast = await timeSplit(kernels, run(method, linear));
const sorted = gptq({ bits: 2, group: 128, actOrder: true, staticGroups: true });
const ordered = await time(() => run(sorted, linear)(kernels));
const nearest = await time(() => run(rtn({ bits: 2, group: 128 }), linear)(kernels));
const plain = await timeSplit(referenceKernels, run(method, small));
// The factor and the errors passed on are cols³ and rows · cols², the columns within a block rows · cols · 128: see extrapolate.ts.
const slow = extrapolate(plain, { multiplyAdds: fast.multiplyAdds, weights: (N / SMALL) ** 2 });
report("gptq", [
  { what: `GPTQ, 2 bits, group 128, ${N} x ${N}, fast kernels`, ...fast, atMost: 4 },
  { what: "the same with act-order and static groups", ...ordered },
  { what: `RTN, ${N} x ${N}, fast kernels`, ...nearest },
  { what: `GPTQ, plain kernels, from ${SMALL} x ${SMALL}, at least`, ...slow },
], fast);
