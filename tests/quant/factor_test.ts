import { assert, assertEquals, assertNotStrictEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { gptq } from "../../lib/methods/gptq.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { dampened, sharedFactor } from "../../lib/quant/factor.ts";
import { aliveInputs } from "../../lib/quant/linear.ts";
import { NumericalError } from "../../lib/tensor/errors.ts";
import { referenceKernels as kernels } from "../../lib/tensor/kernels.ts";
import { upperFactor } from "../../lib/tensor/linalg.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { layer } from "../layers.ts";

const N = 24;
const fresh = () => {
  const { name, W, H } = layer(8, N, 3);
  return { name, W, H: matrix(N, N, Float32Array.from(H.data)) };
};

Deno.test("shared factor: linears with the same second moment get the same factor, others their own", async () => {
  const first = fresh(), other = fresh();
  const factorOf = (linear: typeof first, damping = 0.01) => sharedFactor(linear, linear.H, { damping, kernels });
  const factor = await factorOf(first);
  assertEquals(factor, await upperFactor(first.H));
  assertStrictEquals(await factorOf({ ...first, name: "second", W: fresh().W }), factor);
  assertNotStrictEquals(await factorOf(first, 0.1), factor);
  // One is kept: with another H the first one went.
  const again = await factorOf(first);
  assertNotStrictEquals(await factorOf(other), again);
  assertNotStrictEquals(await factorOf(first), again);
});

Deno.test("shared factor: a second moment written over the last one is another", async () => {
  const linear = fresh();
  const before = await sharedFactor(linear, linear.H, { damping: 0.01, kernels });
  for (let k = 0; k < N * N; k++) linear.H.data[k] *= 4;
  const after = await sharedFactor(linear, linear.H, { damping: 0.01, kernels });
  assertNotStrictEquals(after, before);
  assertEquals(after, await upperFactor(linear.H));
});

Deno.test("shared factor: methods give the same bytes with it as without, whatever ran before", async () => {
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
      await before.quantize(linear);
      const { tensors, report } = await method.quantize(linear);
      const alone = await method.quantize(fresh());
      assertEquals([tensors, report], [alone.tensors, alone.report], `${method.name} after ${before.name}`);
    }
  }
});

Deno.test("shared factor: one that failed is not kept", async () => {
  const H = matrix64(2, 2, Float64Array.of(1, -1e9, -1e9, 1));
  const linear = { name: "a", W: matrix(1, 2), H };
  await assertRejects(() => sharedFactor(linear, H, { damping: 0.01, kernels }), NumericalError);
  H.data.set([1, 0, 0, 1]);
  assertEquals((await sharedFactor(linear, H, { damping: 0, kernels })).U.data, Float64Array.of(1, 0, 0, 1));
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
