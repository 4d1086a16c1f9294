/** The upper factor of a damped inverse: fast kernels at n = 4096, plain loops at a smaller n scaled by the cube. */
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { cholesky, invertLower, upperFactor } from "../../lib/tensor/linalg.ts";
import { matrix64 } from "../../lib/tensor/matrix.ts";
import { secondMoment } from "./inputs.ts";
import { report, scaled, time } from "./report.ts";

const N = 4096, SMALL = 512;

await using runtime = await openRuntime({ device: "cpu" });
await using kernels = fastKernels(runtime);
await upperFactor(await secondMoment(SMALL, kernels), { kernels });
const H = await secondMoment(N, kernels);
const fast = await time(() => upperFactor(H, { kernels }));

const small = await secondMoment(SMALL, kernels);
const plain = await time(() => invertLower(cholesky(damped(small))));
const blocked = await time(() => upperFactor(small, { kernels: referenceKernels }));
report("factor", [
  { what: `upper factor, n = ${N}, fast kernels`, ...fast, atMost: 3 },
  { what: `plain Cholesky and inverse, n = ${SMALL}, times ${(N / SMALL) ** 3}`, ...scaled(plain, (N / SMALL) ** 3) },
  { what: `blocked, plain products, n = ${SMALL}, times ${(N / SMALL) ** 3}`, ...scaled(blocked, (N / SMALL) ** 3) },
], fast);

function damped(A: { rows: number; data: Float64Array }) {
  const copy = matrix64(A.rows, A.rows, A.data.slice());
  for (let j = 0; j < A.rows; j++) copy.data[j * A.rows + j] *= 1.01;
  return copy;
}
