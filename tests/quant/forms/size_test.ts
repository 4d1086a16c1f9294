import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { rtn } from "../../../lib/methods/rtn.ts";
import { encodeGroups } from "../../../lib/quant/forms/grouped.ts";
import { type GroupKind, newGroup } from "../../../lib/methods/daq/group.ts";
import { uniformLevels } from "../../../lib/methods/daq/levels.ts";
import { planes } from "../../../lib/methods/daq/planes.ts";
import type { QuantizedLinear } from "../../../lib/quant/method.ts";
import { withRowScaleBits } from "../../../lib/quant/forms/row_scales.ts";
import { formBytes } from "../../../lib/quant/forms/size.ts";
import { storedBits } from "../../../lib/quant/forms/decode.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";

Deno.test("the bytes foretold for forms with groups of columns are those that encoders write, whatever the shape", () => {
  fc.assert(
    fc.property(
      fc.record({
        rows: fc.integer({ min: 1, max: 9 }),
        cols: fc.integer({ min: 1, max: 40 }),
        order: fc.integer({ min: 1, max: 3 }),
        group: fc.integer({ min: 1, max: 17 }),
      }),
      ({ rows, cols, order, group }) => {
        const widths: number[] = [];
        for (let start = 0; start < cols; start += group) widths.push(Math.min(group, cols - start));
        const tensorsOf = (kind: GroupKind) =>
          encodeGroups(widths.map((width) => newGroup(matrix(rows, width), { kind, order })));
        const linear = { name: "x", shape: [rows, cols], config: { group }, report: {} } as const;
        const forms: [QuantizedLinear, typeof formBytes.binary][] = [
          [{ ...linear, format: "binary", tensors: tensorsOf(planes) }, formBytes.binary],
          [{ ...linear, format: "levels", tensors: tensorsOf(uniformLevels) }, formBytes.levels],
        ];
        for (const [q, bytes] of forms) {
          assertEquals(storedBits(q), 8 * bytes({ rows, cols, order, group }));
          assertEquals(storedBits(withRowScaleBits(q, 8)), 8 * bytes({ rows, cols, order, group, rowScaleBits: 8 }));
        }
      },
    ),
    { seed: 3, numRuns: 60 },
  );
});

Deno.test("bits per weight of a 4096 x 4096 linear at two bits, scales and all", () => {
  const bits = (bytes: number) => (8 * bytes / 4096 ** 2).toFixed(3);
  const shape = { rows: 4096, cols: 4096, order: 2, group: 128 };
  assertEquals(bits(formBytes.binary(shape)), "2.258");
  assertEquals(bits(formBytes.binary({ ...shape, rowScaleBits: 8 })), "2.133");
  assertEquals(bits(formBytes.levels(shape)), "2.129");
  assertEquals(bits(formBytes.levels({ ...shape, rowScaleBits: 8 })), "2.066");
  assertEquals(bits(formBytes.levels({ ...shape, group: 64, rowScaleBits: 8 })), "2.129");
});

Deno.test("the bytes foretold for uniform grids are those of rtn", async () => {
  for (const symmetric of [false, true]) {
    for (const group of [8, 16, 24]) {
      const options = { bits: 3, group, symmetric };
      const q = await rtn(options).quantize({ name: "x", W: matrix(5, 24, new Float32Array(120).fill(0.5)) });
      assertEquals(storedBits(q), 8 * formBytes.uniform({ rows: 5, cols: 24, ...options }));
    }
  }
});
