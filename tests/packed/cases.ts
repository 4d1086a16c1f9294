/** Stored linears of every form, and how far packed nodes are from what they decode to. */
import { assertEquals } from "@std/assert";
import { Graph } from "../../lib/onnx/graph.ts";
import { packedLinear, packLinear, type PackLinearOptions } from "../../lib/packed/linear.ts";
import type { Runtime } from "../../lib/runtime/runtime.ts";
import type { QuantizedLinear } from "../../lib/quant/method.ts";
import { withRowScaleBits } from "../../lib/quant/forms/row_scales.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { randomBlocks, randomUniform } from "./layers.ts";

const shape = { rows: 24, cols: 256, group: 64 };

/** Every form with every number of bits, groups that the kernels have and others, last groups that are narrower. */
export const cases: Record<string, QuantizedLinear> = {
  "levels, 2 bits": randomBlocks("levels", { ...shape, orders: [2] }),
  "levels, 1, 2 and 3 bits": randomBlocks("levels", { ...shape, orders: [2, 1, 3] }),
  "levels, 4 bits": randomBlocks("levels", { ...shape, orders: [4] }),
  "levels, 1 to 4 bits": randomBlocks("levels", { ...shape, orders: [4, 1, 3, 2] }),
  "levels, groups of 32, last narrower": randomBlocks("levels", {
    rows: 9,
    cols: 107,
    group: 32,
    orders: [2, 3, 1, 2],
  }),
  "levels, groups of 24": randomBlocks("levels", { rows: 5, cols: 100, group: 24, orders: [3, 2] }),
  "levels, groups of 256": randomBlocks("levels", { rows: 16, cols: 512, group: 256, orders: [2, 1] }),
  "levels, one input": randomBlocks("levels", { rows: 3, cols: 1, group: 128, orders: [2] }),
  "levels, row scales of 8 bits": withRowScaleBits(randomBlocks("levels", { ...shape, orders: [2] }), 8),
  "binary, 2 planes": randomBlocks("binary", { ...shape, orders: [2] }),
  "binary, 1, 2 and 3 planes": randomBlocks("binary", { ...shape, orders: [1, 3, 2, 2] }),
  "binary, 4 planes": randomBlocks("binary", { ...shape, orders: [4] }),
  "binary, 1 to 4 planes": randomBlocks("binary", { ...shape, orders: [2, 4, 1, 3] }),
  "binary, one plane, last narrower": randomBlocks("binary", { rows: 7, cols: 75, group: 32, orders: [1] }),
  "binary, groups of 20": randomBlocks("binary", { rows: 7, cols: 75, group: 20, orders: [1, 2, 3] }),
  "binary, row scales of 8 bits": withRowScaleBits(randomBlocks("binary", { ...shape, orders: [1, 2] }), 8),
};
for (const bits of [1, 2, 3, 4, 5, 6, 7, 8]) {
  const symmetric = bits % 2 === 0;
  cases[`uniform, ${bits} bits`] = randomUniform({ ...shape, bits, symmetric });
  cases[`uniform, ${bits} bits, other grid, last group narrower`] = randomUniform({
    rows: 11,
    cols: 83,
    group: 32,
    bits,
    symmetric: !symmetric,
  });
  cases[`uniform, ${bits} bits, indexed`] = randomUniform({
    rows: 6,
    cols: 130,
    group: 48,
    bits,
    symmetric,
    indexed: true,
  });
}
cases["uniform, one group"] = randomUniform({ rows: 8, cols: 384, group: 384, bits: 4, symmetric: false });

/** Errors relative to the root mean square of the outputs: the largest, and the root mean square. */
export async function errors(
  runtime: Runtime,
  q: QuantizedLinear,
  { tokens, ...options }: PackLinearOptions & { readonly tokens: number },
): Promise<{ largest: number; rms: number }> {
  const [rows, cols] = q.shape, W = dequantize(q).data;
  const r = rng(2, "inputs", tokens);
  const x = Float32Array.from({ length: tokens * cols }, r.normal);
  const g = new Graph();
  g.output("y", packedLinear(g, g.input("x", "float32", [1, "time", cols]), packLinear(q, options)));
  await using session = await runtime.session(g.encode(), g.external);
  const { y } = await session.run({ x: { dims: [1, tokens, cols], data: x } });
  assertEquals([...y.dims], [1, tokens, rows]);
  let largest = 0, square = 0, size = 0;
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < rows; i++) {
      let sum = 0;
      for (let j = 0; j < cols; j++) sum += x[t * cols + j] * W[i * cols + j];
      const error = y.data[t * rows + i] - sum;
      largest = Math.max(largest, Math.abs(error));
      square += error ** 2;
      size += sum ** 2;
    }
  }
  const count = tokens * rows, scale = Math.sqrt(size / count);
  return { largest: largest / scale, rms: Math.sqrt(square / count) / scale };
}
