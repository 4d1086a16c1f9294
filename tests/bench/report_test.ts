import { assert, assertEquals } from "@std/assert";
import { gptq } from "../../lib/methods/gptq.ts";
import { type Kernels, referenceKernels } from "../../lib/tensor/kernels.ts";
import { matrix } from "../../lib/tensor/matrix.ts";
import { deno } from "../deno.ts";
import { layer } from "../layers.ts";
import { extrapolate, timeSplit } from "./extrapolate.ts";
import { fresh } from "./inputs.ts";
import { verdict } from "./report.ts";

Deno.test("a bar is met at its very value, and missed beyond it or by what is no number", () => {
  const at = (found: number) => [verdict({ what: "x", found, atMost: 2 }), verdict({ what: "x", found, atLeast: 2 })];
  assertEquals([1, 2, 3, NaN].map(at), [["met", "MISSED"], ["met", "met"], ["MISSED", "met"], ["MISSED", "MISSED"]]);
  assertEquals([verdict({ what: "none", found: 1e9 }), verdict({ what: "none", found: NaN })], ["met", "MISSED"]);
});

Deno.test("a bench that misses a bar exits 1, after it has measured and printed the rest", async () => {
  const library = new URL("./report.ts", import.meta.url).href;
  const run = (bars: readonly number[]) =>
    deno([
      "eval",
      "--no-check",
      `import { judge, report } from ${JSON.stringify(library)};
       const time = { seconds: 2, cpuSeconds: 3 };
       for (const atMost of ${
        JSON.stringify(bars)
      }) report("some", [{ what: "run", ...time, atMost }, { what: "no bar", ...time }], time);
       judge([{ what: "memory", found: 1, atLeast: 1 }]);
       console.log("done");`,
    ], { NO_COLOR: "1" });
  const met = await run([2, 3]), missed = await run([1, 3]);
  assertEquals([met.code, missed.code], [0, 1], met.stderr + missed.stderr);
  const lines = missed.stdout.trim().split("\n");
  assertEquals(lines.slice(0, 2).map((line) => JSON.parse(line).missed), [["run"], []]);
  assertEquals(lines[2], "done");
  assert(missed.stderr.includes("(at most 1 s: MISSED)") && missed.stderr.includes("(at most 3 s: met)"));
});

Deno.test("products grow with their multiply-adds, the rest with the number of weights", async () => {
  const products = { seconds: 3, cpuSeconds: 4 }, whole = { seconds: 5, cpuSeconds: 7 };
  const grown = extrapolate({ ...whole, products, multiplyAdds: 10 }, { multiplyAdds: 5120, weights: 64 });
  assertEquals(grown, { seconds: 3 * 512 + 2 * 64, cpuSeconds: 4 * 512 + 3 * 64 });
  const A = matrix(2, 3), B = matrix(5, 3);
  const run = await timeSplit(referenceKernels, async (kernels) => {
    await kernels.gemm(A, B, { transB: true });
    await kernels.gemm(A, A, { transA: true });
  });
  assertEquals(run.multiplyAdds, 2 * 5 * 3 + 3 * 3 * 2);
  assert(run.products.seconds > 0 && run.products.seconds <= run.seconds);
});

Deno.test("every timed run pays for the factor of its H", async () => {
  const linear = layer(8, 160, 1);
  let products = 0;
  const kernels: Kernels = {
    ...referenceKernels,
    gemm64: (...args) => (products++, referenceKernels.gemm64(...args)),
  };
  const counts: number[] = [];
  for (let run = 0; run < 2; run++) {
    products = 0;
    await gptq({ bits: 2, group: 32 }).quantize({ ...fresh(linear), kernels });
    counts.push(products);
  }
  assert(counts[0] > 0);
  assertEquals(counts[1], counts[0]);
});
