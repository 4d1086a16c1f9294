import { assert, assertEquals, assertNotStrictEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { abmp } from "../../lib/methods/abmp.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { dampened, newFactors } from "../../lib/quant/factor.ts";
import { aliveInputs } from "../../lib/quant/linear.ts";
import { NumericalError } from "../../lib/tensor/errors.ts";
import { referenceKernels as kernels } from "../../lib/tensor/kernels.ts";
import { type UpperFactor, upperFactor } from "../../lib/tensor/linalg.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../lib/tensor/matrix.ts";
import { layer } from "../layers.ts";

const N = 24;
const fresh = () => {
  const { name, W, H } = layer(8, N, 3);
  return { name, W, H: matrix(N, N, Float32Array.from(H.data)) };
};

Deno.test("factors: linears with the same second moment get the same factor, others their own", async () => {
  const { H } = fresh(), other = fresh().H, factors = newFactors();
  other.data[3 * N + 3] *= 2;
  const factor = await factors.of(H, { damping: 0.01, kernels });
  assertEquals(factor, await upperFactor(H));
  // A copy without dead inputs is made for each linear: what counts is what stands in it.
  assertStrictEquals(await factors.of(matrix(N, N, H.data.slice()), { damping: 0.01, kernels }), factor);
  assertNotStrictEquals(await factors.of(H, { damping: 0.1, kernels }), factor);
  const reorder = { name: "as it is", apply: (H: Matrix | Matrix64) => H };
  assertNotStrictEquals(await factors.of(H, { damping: 0.1, reorder, kernels }), factor);
  // One is held: with another H the first one went.
  const again = await factors.of(H, { damping: 0.01, kernels });
  assertEquals(await factors.of(other, { damping: 0.01, kernels }), await upperFactor(other));
  assertNotStrictEquals(await factors.of(H, { damping: 0.01, kernels }), again);
  assertNotStrictEquals(await newFactors().of(H, { damping: 0.01, kernels }), factor);
});

Deno.test("factors: a second moment written over the last one is another", async () => {
  const { H } = fresh(), factors = newFactors();
  const before = await factors.of(H, { damping: 0.01, kernels });
  for (let k = 0; k < N * N; k++) H.data[k] *= 4;
  const after = await factors.of(H, { damping: 0.01, kernels });
  assertNotStrictEquals(after, before);
  assertEquals(after, await upperFactor(H));
});

Deno.test("factors: methods give the same bytes with them as without, whatever ran before, and factor once", async () => {
  const linear = fresh();
  const methods = [
    gptq({ bits: 2, group: 8 }),
    gptq({ bits: 2, group: 8, actOrder: true }),
    gptq({ bits: 2, group: 8, damping: 0.1 }),
    daq({ bits: 2, group: 8, profile: "official" }),
    daq({ bits: 2, group: 8 }),
  ];
  for (const before of methods) {
    for (const method of methods) {
      const factors = newFactors();
      await before.quantize({ ...linear, factors });
      const { tensors, report } = await method.quantize({ ...linear, factors });
      const alone = await method.quantize(fresh());
      assertEquals([tensors, report], [alone.tensors, alone.report], `${method.name} after ${before.name}`);
    }
  }
  const asked: UpperFactor[] = [], factors = newFactors();
  const heard = {
    of: async (...args: Parameters<typeof factors.of>) => asked[asked.length] = await factors.of(...args),
  };
  const rule = daq({ bits: abmp({ scope: "model" }), group: 8 });
  await rule.across!.score({ ...linear, factors: heard });
  for (const method of [gptq({ bits: 2, group: 8 }), daq({ bits: 2, group: 8 })]) {
    await method.quantize({ ...linear, factors: heard });
  }
  assertEquals(asked.length, 3);
  for (const factor of asked) assertStrictEquals(factor, asked[0]);
});

Deno.test("factors: one that failed is not held", async () => {
  const H = matrix64(2, 2, Float64Array.of(1, -1e9, -1e9, 1)), factors = newFactors();
  await assertRejects(() => factors.of(H, { damping: 0.01, kernels }), NumericalError);
  H.data.set([1, 0, 0, 1]);
  assertEquals((await factors.of(H, { damping: 0, kernels })).U.data, Float64Array.of(1, 0, 0, 1));
});

Deno.test("alive inputs: nothing is copied where none is dead; else what was given is left alone", () => {
  const { W, H } = fresh();
  const all = aliveInputs(W, H);
  assert(all.W === W && all.H === H && all.dead === 0);
  for (let j = 0; j < N; j++) H.data[5 * N + j] = H.data[j * N + 5] = 0;
  const before = [W.data.slice(), H.data.slice()];
  const alive = aliveInputs(W, H);
  assertEquals([W.data, H.data], before);
  assertEquals([alive.dead, alive.H.data[5 * N + 5], alive.W.data[5]], [1, 1, 0]);
  assertEquals(alive.W.data[6], W.data[6]);
});

Deno.test("dampened: float32 of H with its mean diagonal's share added", () => {
  const { H } = fresh();
  const wide = matrix64(N, N, Float64Array.from(H.data));
  assertEquals(dampened(H, 0.25), dampened(wide, 0.25));
  const mean = H.data.reduce((sum, x, k) => sum + (k % (N + 1) === 0 ? x : 0), 0) / N;
  assertEquals(dampened(H, 0.25).data[1], H.data[1]);
  assert(Math.abs(dampened(H, 0.25).data[N + 1] - H.data[N + 1] - 0.25 * mean) < 1e-6 * mean);
});
