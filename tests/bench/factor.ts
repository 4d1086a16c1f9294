/** The upper factor of a damped inverse: fast kernels at n = 4096, plain loops at a smaller n, extrapolated. */
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { cholesky, invertLower, upperFactor } from "../../lib/tensor/linalg.ts";
import { matrix64 } from "../../lib/tensor/matrix.ts";
import { extrapolate, timeSplit } from "./extrapolate.ts";
import { secondMoment } from "./inputs.ts";
import { report, time } from "./report.ts";

const N = 4096, SMALL = 512;

await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);
await upperFactor(await secondMoment(SMALL, kernels), { kernels });
const H = await secondMoment(N, kernels);
const fast = await timeSplit(kernels, (kernels) => upperFactor(H, { kernels }));

const small = await secondMoment(SMALL, kernels);
const plain = await time(() => invertLower(cholesky(damped(small))));
// Cholesky and the inverse of its factor are n³ / 6 multiply-adds each, in three nested loops and nothing else: the cube.
const cube = (N / SMALL) ** 3;
const blocked = await timeSplit(referenceKernels, (kernels) => upperFactor(small, { kernels }));
report("factor", [
  { what: `upper factor, n = ${N}, fast kernels`, ...fast, atMost: 3 },
  {
    what: `plain Cholesky and inverse, from n = ${SMALL}, at least`,
    seconds: plain.seconds * cube,
    cpuSeconds: plain.cpuSeconds * cube,
  },
  {
    what: `blocked, plain products, from n = ${SMALL}, at least`,
    ...extrapolate(blocked, { multiplyAdds: fast.multiplyAdds, weights: (N / SMALL) ** 2 }),
  },
], fast);

function damped(A: { rows: number; data: Float64Array }) {
  const copy = matrix64(A.rows, A.rows, A.data.slice());
  for (let j = 0; j < A.rows; j++) copy.data[j * A.rows + j] *= 1.01;
  return copy;
}
