import { assert, assertThrows } from "@std/assert";
import fc from "fast-check";
import { packLinear } from "../../lib/packed/linear.ts";
import { levelParts, planeParts } from "../../lib/packed/parts.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { PACKED_FLOAT } from "../tolerances.ts";
import { storedLinear } from "./arbitrary.ts";
import { errors } from "./cases.ts";
import { randomUniform } from "./layers.ts";

Deno.test("a packed linear of any form, order and shape gives the product with what it decodes to", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const any = fc.asyncProperty(
    storedLinear,
    fc.integer({ min: 1, max: 3 }),
    fc.boolean(),
    async (q, tokens, narrow) => {
      const { largest } = await errors(runtime, q, { tokens, accuracyLevel: 0, narrow });
      assert(largest <= PACKED_FLOAT, `${q.name}, ${JSON.stringify(q.config)}: off by ${largest}`);
    },
  );
  await fc.assert(any, { seed: 1, numRuns: 400 });
});

Deno.test("an order that no term is made for is refused, not left out", () => {
  for (const order of [0, 5]) {
    const blocks = [2, order].map((order, b) => ({ from: 8 * b, width: 8, order, byte: 0, plane: 0, scale: 0 }));
    for (const parts of [planeParts, levelParts]) {
      assertThrows(
        () => parts("up", blocks, true),
        RangeError,
        `"up" packed: its block at column 8 is of order ${order}`,
      );
    }
  }
  const q = randomUniform({ rows: 4, cols: 8, group: 8, bits: 8, symmetric: true });
  const nine = { ...q, config: { ...q.config, bits: 9 } };
  assertThrows(() => packLinear(nine), RangeError, "its codes have 9 bits, wanted 1 to 8");
  assertThrows(() => packLinear({ ...q, config: { ...q.config, group: 0 } }), RangeError, "group is 0");
});
