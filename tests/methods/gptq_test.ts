import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { dequantize, storedBits } from "../../lib/quant/forms/decode.ts";
import { readUniform } from "../../lib/quant/forms/uniform.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { type Matrix, matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { damped, layer, objective } from "../layers.ts";
import * as oracle from "../oracles/layer_a_uniform.ts";
import { stepsOff } from "./uniform_parity.ts";

const variants = [
  { suffix: "", options: {} },
  { suffix: "_actorder", options: { actOrder: true } },
  { suffix: "_actorder_static", options: { actOrder: true, staticGroups: true } },
] as const;

Deno.test("gptq: the field's weights on layer A, all but one in a thousand at most, plain and fast", async () => {
  await using runtime = await openRuntime({ device: "cpu" });
  await using fast = fastKernels(runtime, { threads: 2 });
  for (const kernels of [undefined, fast]) {
    for (const bits of kernels ? [2, 3, 4] : [2]) {
      for (const { suffix, options } of variants) {
        const method = gptq({ bits, group: 128, ...options });
        const q = await method.quantize({ name: method.name, W: oracle.W, H: oracle.H, kernels });
        const off = stepsOff(q, await oracle.expected(`gptq_${bits}b${suffix}`));
        assert(off <= 0.001 * 32 * 512, `${method.name}: ${off} weights are off`);
      }
    }
  }
});

Deno.test("gptq: the same bytes for any block size, groups smaller, larger and across blocks", async () => {
  const linear = layer(7, 60, 3);
  for (const group of [undefined, 4, 12, 16, 25, 60]) {
    for (const { options } of variants) {
      const bytes = async (blockSize: number) =>
        (await gptq({ bits: 3, group, blockSize, ...options }).quantize(linear)).tensors;
      const want = await bytes(1);
      for (const blockSize of [8, 20, 64]) assertEquals(await bytes(blockSize), want, `group ${group}, ${blockSize}`);
    }
  }
});

Deno.test("gptq: one, two and three threads give the same bytes", async () => {
  const linear = layer(1000, 64, 3);
  const method = gptq({ bits: 2, group: 32, blockSize: 64 });
  const want = await method.quantize(linear);
  for (const threads of [1, 2, 3]) {
    // Plain products, so that only the threads differ.
    await using kernels = fastKernels(referenceKernels, { threads });
    assertEquals(await method.quantize({ ...linear, kernels }), want);
  }
});

Deno.test("gptq: a diagonal H gives round to nearest", async () => {
  const { W, name } = layer(6, 48, 5);
  const H = matrix64(48, 48);
  for (let j = 0; j < 48; j++) H.data[j * 49] = 1 + j % 7;
  for (const options of [{ bits: 2 }, { bits: 3, group: 16 }, { bits: 2, group: 16, symmetric: true, clip: true }]) {
    const nearest = await rtn(options).quantize({ name, W });
    const q = await gptq(options).quantize({ name, W, H });
    assertEquals(q.tensors, nearest.tensors);
    const ordered = await gptq({ ...options, actOrder: true, staticGroups: true }).quantize({ name, W, H });
    assertEquals(ordered.tensors, nearest.tensors);
  }
});

Deno.test("gptq: far less output error than rounding, and the loss it reports is half the damped objective", async () => {
  const linear = layer(12, 96, 6);
  const nearest = objective(linear.W, dequantize(await rtn({ bits: 3, group: 32 }).quantize(linear)), linear.H);
  for (const { options } of variants) {
    const q = await gptq({ bits: 3, group: 32, ...options }).quantize(linear);
    assert(objective(linear.W, dequantize(q), linear.H) < 0.6 * nearest);
    // Weights are decoded from fp16 scales, the loss is that of the scales as fitted.
    const twice = objective(linear.W, dequantize(q), damped(linear.H, 0.01));
    assert(Math.abs(2 * Number(q.report.loss) / twice - 1) < 0.01);
  }
});

Deno.test("gptq: act-order is the plain method on permuted columns", async () => {
  const { W, H, name } = layer(5, 40, 7);
  const order = Array.from({ length: 40 }, (_, j) => j).sort((a, b) => H.data[b * 41] - H.data[a * 41]);
  const Wp = matrix(5, 40, Float32Array.from(W.data, (_, k) => W.data[Math.floor(k / 40) * 40 + order[k % 40]]));
  const Hp = matrix64(
    40,
    40,
    Float64Array.from(H.data, (_, k) => H.data[order[Math.floor(k / 40)] * 40 + order[k % 40]]),
  );
  const permuted = dequantize(await gptq({ bits: 2, group: 8 }).quantize({ name, W: Wp, H: Hp }));
  const q = await gptq({ bits: 2, group: 8, actOrder: true }).quantize({ name, W, H });
  const back = dequantize(q);
  for (let k = 0; k < 200; k++) {
    assertEquals(back.data[Math.floor(k / 40) * 40 + order[k % 40]], permuted.data[k]);
  }
  // Five groups of eight columns each, and the map that says which is counted: one byte a column.
  assertEquals([...readUniform(q).groupOf!].sort(), Array.from({ length: 40 }, (_, j) => Math.floor(j / 8)));
  const plain = await gptq({ bits: 2, group: 8, actOrder: true, staticGroups: true }).quantize({ name, W, H });
  assertEquals(storedBits(q) - storedBits(plain), 8 * 40);
});

Deno.test("gptq: groups inside a block are fitted to running weights; legacyGroupFit fits them to the block's start", async () => {
  const linear = layer(6, 64, 8);
  const bytes = async (options: { group: number; blockSize: number; legacyGroupFit: boolean }) =>
    (await gptq({ bits: 2, ...options }).quantize(linear)).tensors;
  const running = await bytes({ group: 16, blockSize: 64, legacyGroupFit: false });
  assert(
    running.scales.bytes.join() !==
      (await bytes({ group: 16, blockSize: 64, legacyGroupFit: true })).scales.bytes.join(),
  );
  // With a group per block there is no difference.
  assertEquals(await bytes({ group: 16, blockSize: 16, legacyGroupFit: true }), running);
});

Deno.test("gptq: dead inputs become zero weights, and H is left alone", async () => {
  const { W, H, name } = layer(4, 24, 9);
  for (const dead of [3, 17]) for (let j = 0; j < 24; j++) H.data[dead * 24 + j] = H.data[j * 24 + dead] = 0;
  const before = [H.data.slice(), W.data.slice()];
  const q = await gptq({ bits: 2, group: 8, actOrder: true }).quantize({ name, W, H });
  const Q = dequantize(q);
  for (let i = 0; i < 4; i++) assertEquals([Q.data[i * 24 + 3], Q.data[i * 24 + 17]], [0, 0]);
  assert(Q.data.every(Number.isFinite));
  assertEquals(q.report.deadInputs, 2);
  assertEquals([H.data, W.data], before);
});

Deno.test("gptq: retries of the damping are reported; when none helps the layer is rounded, and the report says why", async () => {
  const W: Matrix = matrix(1, 2, Float32Array.of(0.3, -0.7));
  const quantize = (off: number) =>
    gptq({ bits: 2 }).quantize({ name: "o", W, H: matrix(2, 2, Float32Array.of(1, off, off, 1)) });
  assertEquals((await quantize(1.05)).report.dampingRetries, 1);
  for (const off of [1e5, NaN]) {
    const q = await quantize(off);
    assertEquals(q.tensors, (await rtn({ bits: 2 }).quantize({ name: "o", W })).tensors);
    assertEquals(q.report.fallback, "rtn");
    assert(String(q.report.fallbackReason).includes("not positive definite"));
  }
});

Deno.test("gptq: no damping at all is a choice", async () => {
  const linear = layer(6, 16, 5), q = await gptq({ bits: 3, group: 8, damping: 0 }).quantize(linear);
  assertEquals([q.report.damping, q.report.fallback], [0, undefined]);
  for (const damping of [-0.1, NaN]) assertThrows(() => gptq({ bits: 3, damping }), RangeError, "damping");
});

Deno.test("gptq: its name says its options", () => {
  assertEquals(gptq({ bits: 2, group: 128 }).name, "gptq-2b-g128");
  assertEquals(gptq({ bits: 2, group: 128, actOrder: true, staticGroups: true }).name, "gptq-2b-g128-actorder-static");
  assertEquals(
    gptq({ bits: 3, symmetric: true, clip: true, damping: 0.1, blockSize: 64, legacyGroupFit: true }).name,
    "gptq-3b-sym-clip-damp0.1-block64-legacyfit",
  );
});

Deno.test("gptq: refuses options and layers that make no sense", async () => {
  assertThrows(() => gptq({ bits: 9 }), RangeError, "bits is 9");
  assertThrows(() => gptq({ bits: 2, group: 0 }), RangeError, "group is 0");
  assertThrows(() => gptq({ bits: 2, blockSize: 0.5 }), RangeError, "blockSize is 0.5");
  assertThrows(() => gptq({ bits: 2, damping: -1 }), RangeError, "damping is -1");
  const method = gptq({ bits: 2 }), { W, H } = layer(2, 6, 1);
  await assertRejects(() => method.quantize({ name: "q", W }), TypeError, `"q": this method wants H`);
  await assertRejects(
    () => method.quantize({ name: "q", W, H: matrix(5, 5) }),
    TypeError,
    `Cannot quantize "q": H is 5 x 5 but W has 6 columns`,
  );
  const spoilt = matrix(2, 6, W.data.map((w, k) => k === 8 ? Infinity : w));
  await assertRejects(() => method.quantize({ name: "q", W: spoilt, H }), RangeError, "weight (1, 2) is Infinity");
  await assertRejects(() => method.quantize({ name: "q", W, H, signal: AbortSignal.abort() }), DOMException);
});
