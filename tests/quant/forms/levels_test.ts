import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { blockOrders, encodeGroups } from "../../../lib/quant/forms/grouped.ts";
import { decodeLevels } from "../../../lib/quant/forms/levels.ts";
import { decode, newGroup } from "../../../lib/methods/daq/group.ts";
import { nearestLevel, uniformLevels } from "../../../lib/methods/daq/levels.ts";
import type { QuantizedLinear } from "../../../lib/quant/method.ts";
import { dequantize } from "../../../lib/quant/forms/decode.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";
import { referenceKernels } from "../../../lib/tensor/kernels.ts";
import { randomGroups } from "../../methods/daq/random_groups.ts";

const linear = (rows: number, cols: number, group: number, tensors: QuantizedLinear["tensors"]): QuantizedLinear => ({
  name: "random",
  format: "levels",
  shape: [rows, cols],
  config: { group },
  tensors,
  report: {},
});

Deno.test("what is stored decodes to exactly what the groups stand for, mixed orders and a short last group included", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 7 }),
      async (rows, orders, last) => {
        const widths = orders.map((_, b) => b === orders.length - 1 ? last : 7);
        const groups = randomGroups(uniformLevels, { rows, widths, orders, seed: 1 });
        const cols = widths.reduce((a, b) => a + b, 0);
        const q = linear(rows, cols, 7, encodeGroups(groups));
        assertEquals(blockOrders(q), orders);
        const W = dequantize(q);
        for (let b = 0; b < groups.length; b++) {
          const Q = (await decode(groups[b], { kind: uniformLevels, kernels: referenceKernels })).data;
          for (let i = 0; i < rows; i++) {
            const at = i * cols + 7 * b;
            assertEquals(W.data.slice(at, at + widths[b]), Q.slice(i * widths[b], (i + 1) * widths[b]));
          }
        }
      },
    ),
    { seed: 1, numRuns: 40 },
  );
});

Deno.test("two bits by hand: w = a c (2q - 3)", () => {
  const group = newGroup(matrix(1, 4), { kind: uniformLevels, order: 2 });
  group.codes.set([0, 1, 2, 3]);
  group.rowScale.set([0.5]);
  group.colScale.set([1, 2, 1, -4]);
  const tensors = encodeGroups([group]);
  assertEquals(tensors.codes.bytes, Uint8Array.of(0b11_10_01_00));
  assertEquals(Array.from(decodeLevels(linear(1, 4, 4, tensors)).data), [-1.5, -1, 0.5, -6]);
});

Deno.test("one bit decodes as one binary plane does", () => {
  const q = linear(5, 8, 8, encodeGroups(randomGroups(uniformLevels, { rows: 5, widths: [8], orders: [1], seed: 2 })));
  assertEquals(dequantize(q), dequantize({ ...q, format: "binary" }));
});

Deno.test("the nearest level is nearest", () => {
  fc.assert(
    fc.property(fc.integer({ min: -900, max: 900 }), fc.integer({ min: 1, max: 3 }), (hundredths, order) => {
      const y = hundredths / 100;
      const top = 2 ** order - 1;
      const distance = (code: number) => Math.abs(y - (2 * code - top));
      const code = nearestLevel(y, top);
      for (let other = 0; other <= top; other++) assert(distance(code) <= distance(other) + 1e-12);
    }),
    { seed: 2 },
  );
});

Deno.test("a stored linear that does not fit its shape is refused", () => {
  const tensors = encodeGroups(randomGroups(uniformLevels, { rows: 4, widths: [8, 8], orders: [2, 3], seed: 3 }));
  const q = linear(4, 16, 8, tensors);
  assertThrows(
    () => decodeLevels({ ...q, shape: [40, 16] }),
    RangeError,
    "8 row and 16 column scales, wanted 80 and 16",
  );
  assertThrows(() => decodeLevels({ ...q, shape: [4, 12] }), RangeError, "column scales");
  assertThrows(() => decodeLevels({ ...q, config: {} }), RangeError, "group is undefined");
  const { codes, ...rest } = tensors;
  assertThrows(() => decodeLevels({ ...q, tensors: rest }), TypeError, "codes is missing");
  const short = { ...codes, bytes: codes.bytes.subarray(1) };
  assertThrows(() => decodeLevels({ ...q, tensors: { ...rest, codes: short } }), RangeError, "Cannot unpack");
});
