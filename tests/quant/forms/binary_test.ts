import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { decodeBinary } from "../../../lib/quant/forms/binary.ts";
import { blockOrders, encodeGroups } from "../../../lib/quant/forms/grouped.ts";
import { decode } from "../../../lib/methods/daq/group.ts";
import { planes } from "../../../lib/methods/daq/planes.ts";
import type { QuantizedLinear } from "../../../lib/quant/method.ts";
import { dequantize, storedBits } from "../../../lib/quant/forms/decode.ts";
import { referenceKernels } from "../../../lib/tensor/kernels.ts";
import { randomGroups } from "../../methods/daq/random_groups.ts";

Deno.test("what is stored decodes to what the groups stand for, mixed orders and a short last group included", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 7 }),
      async (rows, orders, last) => {
        const widths = orders.map((_, b) => b === orders.length - 1 ? last : 7);
        const groups = randomGroups(planes, { rows, widths, orders, seed: 1 });
        const cols = widths.reduce((a, b) => a + b, 0);
        const q: QuantizedLinear = {
          name: "random",
          format: "binary",
          shape: [rows, cols],
          config: { group: 7 },
          tensors: encodeGroups(groups),
          report: {},
        };
        assertEquals(blockOrders(q), orders);
        const W = dequantize(q);
        for (let b = 0; b < groups.length; b++) {
          const Q = await decode(groups[b], { kind: planes, kernels: referenceKernels });
          for (let i = 0; i < rows; i++) {
            const at = i * cols + 7 * b;
            // Sums in another order of the same float32 products may differ in the last place.
            for (let j = 0; j < widths[b]; j++) {
              const difference = Math.abs(W.data[at + j] - Q.data[i * widths[b] + j]);
              assertEquals(difference <= 1e-6 * (1 + Math.abs(W.data[at + j])), true);
            }
          }
        }
      },
    ),
    { seed: 1, numRuns: 40 },
  );
});

Deno.test("bits are counted from the bytes: planes, fp16 scales and block orders", () => {
  const groups = randomGroups(planes, { rows: 16, widths: [32, 32], orders: [2, 2], seed: 2 });
  const q: QuantizedLinear = {
    name: "two groups",
    format: "binary",
    shape: [16, 64],
    config: { group: 32 },
    tensors: encodeGroups(groups),
    report: {},
  };
  assertEquals(storedBits(q), 2 * 16 * 64 + 16 * (2 * 2 * 16) + 16 * (2 * 2 * 32) + 8);
});

Deno.test("a stored linear that does not fit its shape is refused", () => {
  const tensors = encodeGroups(randomGroups(planes, { rows: 4, widths: [8], orders: [2], seed: 3 }));
  const q: QuantizedLinear = { name: "x", format: "binary", shape: [4, 8], config: { group: 8 }, tensors, report: {} };
  assertThrows(() => decodeBinary({ ...q, shape: [40, 8] }), RangeError, "scales end before group 0");
  assertThrows(() => decodeBinary({ ...q, config: {} }), RangeError, "group is undefined");
  for (const group of [0, -8, 2.5, "8"]) {
    assertThrows(() => decodeBinary({ ...q, config: { group } }), RangeError, "wanted a positive integer");
  }
  const { dtype, bytes } = tensors.col_scale, short = { dtype, shape: [15], bytes: bytes.subarray(0, 30) };
  assertThrows(
    () => decodeBinary({ ...q, tensors: { ...tensors, col_scale: short } }),
    RangeError,
    "scales end before",
  );
  const { codes: _, ...rest } = tensors;
  assertThrows(() => decodeBinary({ ...q, tensors: rest }), TypeError, "codes is missing");
});
