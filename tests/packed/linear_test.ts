import { assert, assertThrows } from "@std/assert";
import { packLinear } from "../../lib/packed/linear.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { PACKED_FLOAT, PACKED_INT8 } from "../tolerances.ts";
import { cases, errors } from "./cases.ts";
import { randomBlocks } from "./layers.ts";

Deno.test("packed linears give what their stored forms decode to", async (t) => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  for (const [name, q] of Object.entries(cases)) {
    await t.step(name, async () => {
      for (const tokens of [1, 3, 17]) {
        const float = await errors(runtime, q, { tokens, accuracyLevel: 0 });
        assert(float.largest <= PACKED_FLOAT, `float activations: ${float.largest}`);
        const int8 = await errors(runtime, q, { tokens, accuracyLevel: 4 });
        assert(int8.rms <= PACKED_INT8, `int8 activations: ${int8.rms}`);
      }
    });
  }
});

Deno.test("what int8 activations cost, on layers wide enough to tell", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const q = randomBlocks("levels", { rows: 64, cols: 1024, group: 128, orders: [2] });
  const { rms } = await errors(runtime, q, { tokens: 16, accuracyLevel: 4 });
  console.log(`int8 activations, Gaussian inputs: error ${(100 * rms).toFixed(2)} % of the outputs`);
  assert(rms > 1e-4, "activations were not rounded");
  assert(rms <= PACKED_INT8);
});

Deno.test("tensors that do not fit together are refused", () => {
  const q = cases["levels, 2 bits"];
  const without = (name: string, bytes: number) => ({
    ...q,
    tensors: { ...q.tensors, [name]: { ...q.tensors[name], bytes: q.tensors[name].bytes.slice(0, -bytes) } },
  });
  assertThrows(() => packLinear(without("codes", 1)), RangeError, "bytes of codes");
  assertThrows(() => packLinear(without("row_scale", 2)), RangeError, "row scales");
  assertThrows(() => packLinear(without("col_scale", 2)), RangeError, "column scales");
  assertThrows(() => packLinear({ ...q, format: "other" as "levels" }), TypeError, 'format is "other"');
});
