import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { rtn } from "../../lib/methods/rtn.ts";
import { dequantize, storedBits } from "../../lib/quant/forms/decode.ts";
import { matrix } from "../../lib/tensor/matrix.ts";
import { fastKernels } from "../../lib/runtime/kernels.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { layer, objective } from "../layers.ts";
import * as oracle from "../oracles/layer_a_uniform.ts";
import { stepsOff } from "./uniform_parity.ts";

for (const bits of [2, 3, 4]) {
  Deno.test(`rtn: the field's weights on layer A at ${bits} bits, every one`, async () => {
    const q = await rtn({ bits, group: 128 }).quantize({ name: `rtn-${bits}b`, W: oracle.W });
    assertEquals(stepsOff(q, await oracle.expected(`rtn_gptq_${bits}b`)), 0);
    assertEquals(storedBits(q) / (32 * 512), bits + (16 + bits) / 128);
  });
}

Deno.test("rtn: more bits, smaller groups and a searched range lose less; a group beyond the row is the row", async () => {
  const { W, H, name } = layer(5, 40, 1);
  const loss = async (options: Parameters<typeof rtn>[0]) =>
    objective(W, dequantize(await rtn(options).quantize({ name, W })), layer(1, 40, 2).H);
  const at = await Promise.all([2, 3, 4, 8].map((bits) => loss({ bits })));
  assert(at[0] > at[1] && at[1] > at[2] && at[2] > at[3]);
  assert(await loss({ bits: 2, group: 8 }) < at[0]);
  assert(await loss({ bits: 2, clip: true }) < at[0]);
  const whole = await rtn({ bits: 2 }).quantize({ name, W, H });
  assertEquals(await rtn({ bits: 2, group: 999 }).quantize({ name, W }), whole);
  assertEquals(await rtn({ bits: 2, group: 40 }).quantize({ name, W }), whole);
});

Deno.test("rtn: symmetric grids store no zero points", async () => {
  const { W, name } = layer(4, 32, 1);
  const q = await rtn({ bits: 4, group: 16, symmetric: true }).quantize({ name, W });
  assertEquals(Object.keys(q.tensors).sort(), ["codes", "scales"]);
  assertEquals(storedBits(q), 4 * 32 * 4 + 16 * 8);
});

Deno.test("rtn: the same bytes with fast kernels", async () => {
  await using runtime = await openRuntime({ device: "cpu" });
  await using kernels = fastKernels(runtime, { threads: 2 });
  const { W, name } = layer(2050, 40, 1);
  const method = rtn({ bits: 3, group: 16, clip: true });
  assertEquals(await method.quantize({ name, W, kernels }), await method.quantize({ name, W }));
});

Deno.test("rtn: rows do not see each other, however many there are", async () => {
  const rows = 130, cols = 2 ** 15; // more weights than are taken at a time, and not a multiple of it
  const W = matrix(rows, cols, Float32Array.from({ length: rows * cols }, (_, k) => Math.sin(k * k)));
  const method = rtn({ bits: 4, group: 128 });
  const q = await method.quantize({ name: "embed", W });
  for (const i of [0, 63, 64, 127, 128, 129]) {
    const row = matrix(1, cols, W.data.slice(i * cols, (i + 1) * cols));
    const alone = (await method.quantize({ name: "row", W: row })).tensors;
    for (const [name, { bytes }] of Object.entries(alone)) {
      assertEquals(q.tensors[name].bytes.slice(i * bytes.length, (i + 1) * bytes.length), bytes, `${name} of row ${i}`);
    }
  }
});

Deno.test("rtn: its name says its options", () => {
  assertEquals(rtn({ bits: 2 }).name, "rtn-2b");
  assertEquals(rtn({ bits: 4, group: 32, symmetric: true, clip: true }).name, "rtn-4b-g32-sym-clip");
});

Deno.test("rtn: refuses options and weights that make no sense", async () => {
  for (const bits of [0, 9, 2.5, NaN]) assertThrows(() => rtn({ bits }), RangeError, `bits is ${bits}`);
  for (const group of [0, -1, 1.5]) assertThrows(() => rtn({ bits: 2, group }), RangeError, `group is ${group}`);
  const method = rtn({ bits: 2 });
  await assertRejects(
    () => method.quantize({ name: "up", W: matrix(2, 2, Float32Array.of(0, 1, NaN, 2)) }),
    RangeError,
    `"up": weight (1, 0) is NaN`,
  );
  await assertRejects(() => method.quantize({ name: "up", W: matrix(0, 2) }), TypeError, "0 x 2");
  await assertRejects(() => method.quantize({ name: "up", W: { shape: [2, 2], data: [1] } }), TypeError, "up");
});

Deno.test("rtn: one bit to eight, and no other number", async () => {
  for (const bits of [1, 8]) {
    const q = await rtn({ bits, group: 4 }).quantize({ name: "up", W: matrix(1, 4, Float32Array.of(-1, 0, 1, 2)) });
    assertEquals(q.config.bits, bits);
  }
  for (const bits of [0, 9, 1.5, NaN]) assertThrows(() => rtn({ bits }), RangeError, "integer from 1 to 8");
});
