import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { awq } from "../../lib/methods/awq.ts";
import { clippedErrors, scaledErrors } from "../../lib/methods/awq_rows.ts";
import { fitRows, roundRows } from "../../lib/quant/grids.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { readUniform } from "../../lib/quant/forms/uniform.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance, objective } from "../layers.ts";

/** Inputs of independent columns, column 3 `loud` times as large as the others. */
function inputs(loud: number, { tokens = 200, cols = 32, rows = 16 } = {}) {
  const random = rng(7, "awq");
  const X = matrix(
    tokens,
    cols,
    Float32Array.from({ length: tokens * cols }, (_, k) => (k % cols === 3 ? loud : 1) * random.normal()),
  );
  const H = matrix64(cols, cols);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < cols; i++) {
      for (let j = 0; j < cols; j++) H.data[i * cols + j] += X.data[t * cols + i] * X.data[t * cols + j];
    }
  }
  return { name: "up", W: matrix(rows, cols, Float32Array.from({ length: rows * cols }, random.normal)), X, H };
}

Deno.test("awq: an exponent of zero alone is rounding to nearest on grids of the true range", async () => {
  const linear = inputs(10), q = await awq({ bits: 3, group: 16, ratios: 1, clip: false }).quantize(linear);
  assert(readUniform(q).inScale!.every((s) => s === 1));
  const { scales, zeros } = readUniform(q), W = dequantize(q).data;
  for (let i = 0; i < 16; i++) {
    for (const g of [0, 1]) {
      const own = linear.W.data.subarray(i * 32 + g * 16, i * 32 + g * 16 + 16);
      const lo = Math.min(...own), hi = Math.max(...own), scale = (hi - lo) / 7;
      assert(Math.abs(scales[i * 2 + g] - scale) < 1e-3 * scale);
      assertEquals(zeros[i * 2 + g], Math.min(7, Math.max(0, Math.round(-lo / scale))));
      own.forEach((w, j) =>
        assert(Math.abs(w - W[i * 32 + g * 16 + j]) <= 0.51 * scale + Math.abs(Math.max(0, lo) || Math.min(0, hi)))
      );
    }
  }
});

Deno.test("awq: what the search finds loses no more than rounding, and a loud column is rounded more finely", async () => {
  const linear = inputs(100);
  const [plain, found] = await Promise.all(
    [1, 20].map((ratios) => awq({ bits: 3, group: 16, clip: false, ratios }).quantize(linear)),
  );
  const loss = (q: typeof plain) => objective(linear.W, dequantize(q), linear.H);
  assert(loss(found) < loss(plain), `${loss(found)} and ${loss(plain)}`);
  assert(Number(found.report.ratio) > 0);
  const error = (q: typeof plain) =>
    dequantize(q).data.reduce((sum, w, k) => sum + (k % 32 === 3 ? (w - linear.W.data[k]) ** 2 : 0), 0);
  assert(error(found) < 0.2 * error(plain));
});

Deno.test("awq: factors do not depend on the size of the inputs, and are one where all columns are alike", async () => {
  const linear = inputs(30), louder = { ...linear, X: matrix(200, 32, linear.X.data.map((x) => 64 * x)) };
  const factors = async (l: typeof linear) => readUniform(await awq({ bits: 2, group: 16 }).quantize(l)).inScale!;
  assert(distance(await factors(louder), await factors(linear)) < 2e-3);
  const even = { ...linear, X: matrix(200, 32, linear.X.data.map((x) => Math.sign(x))) };
  assert((await factors(even)).every((s) => s === 1));
});

Deno.test("awq: clipping lowers the loss of each group by itself, and queries and keys are left alone", async () => {
  const linear = inputs(1, { tokens: 50 });
  linear.W.data[5] = 20; // an outlier that nobody reads
  for (let j = 0; j < 32; j++) linear.H.data[5 * 32 + j] = linear.H.data[j * 32 + 5] = 0;
  linear.H.data[5 * 33] = 1e-3;
  for (let t = 0; t < 50; t++) linear.X.data[t * 32 + 5] = 1e-3;
  const method = (clip: boolean) => awq({ bits: 2, group: 16, clip, ratios: 1 });
  const [off, on] = await Promise.all([false, true].map((clip) => method(clip).quantize(linear)));
  assert(objective(linear.W, dequantize(on), linear.H) < 0.9 * objective(linear.W, dequantize(off), linear.H));
  assertEquals([off.report.clipped, on.report.clipped], [false, true]);
  for (const name of ["model.layers.0.self_attn.q_proj.weight", "blocks.1.k_proj", "Wqkv"]) {
    assertEquals((await method(true).quantize({ ...linear, name })).report.clipped, false, name);
  }
  for (const name of ["model.layers.0.mlp.down_proj.weight", "blocks.1.ff_proj", "block_1.up"]) {
    assertEquals((await method(true).quantize({ ...linear, name })).report.clipped, true, name);
  }
});

Deno.test("awq: linears that share an input share factors, and few tokens do", async () => {
  const linear = inputs(20, { tokens: 3 }),
    other = { ...linear, name: "gate", W: matrix(16, 32, linear.W.data.map((w) => w * w)) };
  const method = await awq({ bits: 2, group: 16 }).together!([linear, other]);
  const [a, b] = await Promise.all([linear, other].map((l) => method.quantize(l)));
  assertEquals(a.tensors.in_scale, b.tensors.in_scale);
  assertEquals(a.report.ratio, b.report.ratio);
});

Deno.test("awq: inputs that are not finite and options that make no sense are refused", async () => {
  const linear = inputs(1);
  linear.X.data[40] = Infinity;
  await assertRejects(() => awq({ bits: 2, group: 16 }).quantize(linear), RangeError, '"up": an input is not finite');
  await assertRejects(() => awq({ bits: 2, group: 16 }).quantize({ ...linear, X: matrix(3, 5) }), TypeError, "3 x 5");
  assertThrows(() => awq({ bits: 2, group: 0 }), RangeError, "group");
  assertThrows(() => awq({ bits: 9, group: 16 }), RangeError, "bits");
  assertThrows(() => awq({ bits: 2, group: 16, ratios: 0 }), RangeError, "ratios");
  assertThrows(() => awq({ bits: 2, group: 16, clipTokens: 1.5 }), RangeError, "clipTokens");
  assertEquals(
    awq({ bits: 2, group: 16, clip: false, ratios: 5, clipTokens: Infinity }).name,
    "awq-2b-g16-noclip-ratios5-clipInfinity",
  );
});

Deno.test("awq: what a loop says that rounding changes is what grids, fitted and rounded to apart, change", () => {
  const rows = 6, cols = 20, group = 8, bits = 3, count = rows * 3, random = rng(3);
  const w = Float32Array.from({ length: rows * cols }, random.normal);
  const scale = Float32Array.from({ length: cols }, () => 0.5 + random.next());
  const rounded = (up: Float32Array, cols: number, group: number) => {
    const codes = new Uint8Array(up.length), args = { w: up, cols, group, bits };
    const grid = { scales: new Float32Array(count), zeros: new Uint8Array(count) };
    fitRows.run({ ...args, ...grid, symmetric: false, clip: false, trueRange: true }, 0, up.length / cols);
    roundRows.run({ ...args, ...grid, codes }, 0, up.length / cols);
    return up.map((_, k) => {
      const g = Math.floor(k / cols) * Math.ceil(cols / group) + Math.floor(k % cols / group);
      return grid.scales[g] * (codes[k] - grid.zeros[g]);
    });
  };
  const errors = new Float32Array(w.length);
  scaledErrors.run({ w, cols, group, bits, scale, errors }, 0, rows);
  const apart = rounded(w.map((x, k) => x * scale[k % cols]), cols, group);
  errors.forEach((e, k) => assert(Math.abs(e - (apart[k] / scale[k % cols] - w[k])) < 1e-6, `${k}`));
  const ends = Float32Array.from({ length: rows }, () => 0.5 + random.next());
  clippedErrors.run({ w, width: cols, bits, ends, shrink: 0.5, errors }, 0, rows);
  const end = (k: number) => ends[Math.floor(k / cols)] / 2;
  const narrow = rounded(w.map((x, k) => Math.min(end(k), Math.max(-end(k), x))), cols, cols);
  errors.forEach((e, k) => assert(Math.abs(e - (narrow[k] - w[k])) < 1e-6, `${k}`));
});
