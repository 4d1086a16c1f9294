import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { NumericalError } from "../../lib/tensor/errors.ts";
import { cholesky, invertLower, upperFactor } from "../../lib/tensor/linalg.ts";
import { asMatrix64, matrix, type Matrix64, matrix64 } from "../../lib/tensor/matrix.ts";
import { damped, distance, layer, product } from "../layers.ts";
import * as oracle from "../oracles/layer_a_uniform.ts";

function transposed(A: Matrix64): Matrix64 {
  const out = matrix64(A.cols, A.rows);
  for (let i = 0; i < A.rows; i++) for (let j = 0; j < A.cols; j++) out.data[j * A.rows + i] = A.data[i * A.cols + j];
  return out;
}

function identity(n: number): Matrix64 {
  const out = matrix64(n, n);
  for (let j = 0; j < n; j++) out.data[j * n + j] = 1;
  return out;
}

/** U by the textbook: the Cholesky factor of the inverse, upper. */
function textbookU(H: Matrix64): Matrix64 {
  const L = invertLower(cholesky(H));
  return transposed(cholesky(product(transposed(L), L)));
}

Deno.test("cholesky and invertLower: L Lᵀ = A and L⁻¹ L = I, reading the lower triangle only", () => {
  const A = damped(layer(1, 37, 1).H, 0.01), L = cholesky(A);
  const scale = Math.max(...A.data);
  assert(distance(product(L, transposed(L)).data, A.data) < 1e-12 * scale);
  assert(distance(product(invertLower(L), L).data, identity(37).data) < 1e-12);
  const spoilt = matrix64(37, 37, A.data.map((x, k) => k % 37 > Math.floor(k / 37) ? NaN : x));
  assertEquals(cholesky(spoilt), L);
});

Deno.test("cholesky and invertLower: refuse what has no factor or inverse", () => {
  assertThrows(() => cholesky(matrix64(2, 2, Float64Array.of(1, 2, 2, 1))), NumericalError, "pivot 1 is -3");
  assertThrows(() => cholesky(matrix64(1, 1, Float64Array.of(Infinity))), NumericalError);
  assertThrows(() => invertLower(matrix64(1, 1)), NumericalError, "zero");
  assertThrows(() => cholesky(matrix64(1, 2)), TypeError, "1 x 2");
});

Deno.test("upperFactor: U is upper triangular with U H_d Uᵀ = I, at every size around a block", async () => {
  for (const n of [1, 2, 63, 64, 65, 129, 150]) {
    const { H } = layer(1, n, n);
    const { U, damping, retries } = await upperFactor(H);
    assertEquals([damping, retries], [0.01, 0]);
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) assertEquals(U.data[i * n + j], 0);
    assert(distance(product(product(U, damped(H, 0.01)), transposed(U)).data, identity(n).data) < 1e-9, `n = ${n}`);
  }
});

Deno.test("upperFactor: the textbook's U on a real second moment of 512, plain and fast, and fp32's diagonal", async () => {
  const H = asMatrix64(oracle.H), want = textbookU(damped(H, 0.01));
  const scale = distance(want.data, new Float64Array(512 * 512));
  await using runtime = await openRuntime({ device: "cpu" });
  await using fast = fastKernels(runtime, { threads: 1 });
  for (const kernels of [undefined, fast]) {
    const { U } = await upperFactor(oracle.H, { kernels });
    assert(distance(U.data, want.data) < 1e-8 * scale);
    for (let j = 0; j < 512; j++) {
      const ratio = U.data[j * 513] / oracle.diagonalOfU[j];
      assert(Math.abs(ratio - 1) < 1e-4, `U_jj at ${j} is off by ${ratio}`);
    }
  }
});

Deno.test("upperFactor: raises the damping tenfold until H is positive definite, six times at most", async () => {
  const symmetric = (off: number) => matrix(2, 2, Float32Array.of(1, off, off, 1));
  for (const [off, retries] of [[0.5, 0], [1.05, 1], [1.5, 2], [100, 4], [5000, 6]]) {
    const factor = await upperFactor(symmetric(off));
    assertEquals(factor.retries, retries);
    assert(Math.abs(factor.damping / (0.01 * 10 ** retries) - 1) < 1e-12);
  }
  await assertRejects(() => upperFactor(symmetric(1e5)), NumericalError, "not positive definite");
  assertEquals((await upperFactor(symmetric(1), { damping: 0 })).retries, 1);
});

Deno.test("upperFactor: refuses numbers that are not finite, zero matrices, shapes and negative damping", async () => {
  for (const bad of [NaN, Infinity]) {
    for (let k = 0; k < 3; k++) {
      const H = layer(1, 70, 1).H;
      H.data[[0, 3, 69 * 71][k]] = bad;
      await assertRejects(() => upperFactor(H), NumericalError);
    }
  }
  await assertRejects(() => upperFactor(matrix64(3, 3)), NumericalError, "mean of its diagonal is 0");
  await assertRejects(() => upperFactor(matrix64(2, 3)), TypeError, "2 x 3");
  await assertRejects(() => upperFactor(identity(2), { damping: -1 }), RangeError, "-1");
  await assertRejects(() => upperFactor(identity(2), { signal: AbortSignal.abort() }), DOMException);
});
