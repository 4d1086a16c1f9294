import { assert } from "@std/assert";
import { quadraticForm } from "../../lib/methods/quadratic.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";

Deno.test("a quadratic form is tr(D H Dᵀ), of one panel of columns or of several, time after time", async () => {
  for (const n of [7, 1024, 1100]) {
    const random = rng(n), x = Float64Array.from({ length: n }, random.normal);
    // H = x xᵀ + diag(1 .. n): the form is (D x)² + Σ j D_j² for each row.
    const H = matrix64(n, n, Float64Array.from({ length: n * n }, (_, k) => x[Math.floor(k / n)] * x[k % n]));
    for (let j = 0; j < n; j++) H.data[j * (n + 1)] += j + 1;
    const form = quadraticForm(H, referenceKernels);
    for (const rows of [3, 1, 2]) {
      const D = matrix(rows, n, Float32Array.from({ length: rows * n }, random.normal));
      let wanted = 0;
      for (let i = 0; i < rows; i++) {
        const row = D.data.subarray(i * n, (i + 1) * n), dot = row.reduce((sum, d, j) => sum + d * x[j], 0);
        wanted += dot ** 2 + row.reduce((sum, d, j) => sum + (j + 1) * d * d, 0);
      }
      assert(Math.abs(await form(D) / wanted - 1) < 1e-5, `${rows} x ${n}`);
    }
  }
});
