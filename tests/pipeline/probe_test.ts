import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { rtn } from "../../lib/methods/rtn.ts";
import { formBytes } from "../../lib/quant/forms/size.ts";
import { probeSolver } from "../../lib/pipeline/probe.ts";
import type { Method } from "../../lib/quant/method.ts";
import { asMatrix } from "../../lib/tensor/matrix.ts";
import { referenceKernels as kernels } from "../../lib/tensor/kernels.ts";

Deno.test("the probe of a quantiser finds what its time and its bytes are made of", async () => {
  // A clock that the quantiser itself moves on: so much per factor, per product and per weight.
  let milliseconds = 0;
  const inner = rtn({ bits: 2, group: 128 });
  const timed: Method = {
    ...inner,
    quantize: async (linear) => {
      const { rows, cols } = asMatrix(linear.W);
      milliseconds += 1e-6 * cols ** 3 + 3e-6 * rows * cols ** 2 + 5e-5 * rows * cols;
      return await inner.quantize(linear);
    },
  };
  const probe = await probeSolver(timed, { kernels, now: () => milliseconds, width: 256 });
  const seconds = (rows: number, cols: number, factor: number) =>
    (factor * 1e-6 * cols ** 3 + 3e-6 * rows * cols ** 2 + 5e-5 * rows * cols) / 1000;
  for (const [rows, cols] of [[64, 64], [1000, 512], [4096, 4096]] as const) {
    const [whole, shared] = [1, 0].map((factor) => seconds(rows, cols, factor));
    assertAlmostEquals(probe.seconds([rows, cols], true), whole, 1e-6 * whole);
    assertAlmostEquals(probe.seconds([rows, cols], false), shared, 1e-6 * shared);
  }
  for (const [rows, cols] of [[256, 512], [1024, 4096]]) {
    const bytes = formBytes.uniform({ rows, cols, bits: 2, group: 128 });
    assert(Math.abs(probe.bytes([rows, cols]) - bytes) < 1e-6 * bytes);
  }
  // What takes no time is planned to take none.
  assertEquals((await probeSolver(inner, { kernels, now: () => 0, width: 256 })).seconds([64, 64], true), 0);
});
