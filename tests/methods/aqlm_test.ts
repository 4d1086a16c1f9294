import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { aqlm } from "../../lib/methods/aqlm/aqlm.ts";
import { codeRows, energies } from "../../lib/methods/aqlm/codes.ts";
import { readAdditive, storeAdditive } from "../../lib/quant/dense/additive.ts";
import { dequantize, storedBits } from "../../lib/quant/forms/decode.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance, layer, objective, product } from "../layers.ts";

Deno.test("aqlm: the change that a code makes is that of the loss, and the least is taken", () => {
  const rows = 5, cols = 12, width = 4, random = rng(1, "aqlm");
  const { H: S } = layer(1, cols, 2), normal = (count: number) => Float64Array.from({ length: count }, random.normal);
  const C = normal(8 * width), scales = normal(rows).map(Math.abs), D = matrix64(rows, cols, normal(rows * cols));
  const own = Float64Array.from(
    { length: width * width },
    (_, k) => S.data[(4 + Math.floor(k / width)) * cols + 4 + k % width],
  );
  const R = product(D, S), before = Uint16Array.from({ length: rows }, () => random.int(8));
  const loss = (i: number, code: number) => {
    const d = D.data.slice(i * cols, (i + 1) * cols);
    for (let j = 0; j < width; j++) d[4 + j] -= scales[i] * (C[code * width + j] - C[before[i] * width + j]);
    return product(product(matrix64(1, cols, d), S), matrix64(cols, 1, d)).data[0];
  };
  const args = {
    ...{
      S: own,
      C,
      energy: energies(C, own, width),
      scales,
      width,
      codes: before.slice(),
      delta: new Float32Array(rows * width),
    },
    R: Float32Array.from({ length: rows * width }, (_, k) => R.data[Math.floor(k / width) * cols + 4 + k % width]),
  };
  codeRows.run(args, 0, rows);
  for (let i = 0; i < rows; i++) {
    const losses = Array.from({ length: 8 }, (_, code) => loss(i, code));
    assertEquals(args.codes[i], losses.indexOf(Math.min(...losses)));
    for (let j = 0; j < width; j++) {
      const wanted = scales[i] * (C[args.codes[i] * width + j] - C[before[i] * width + j]);
      assert(Math.abs(args.delta[i * width + j] - wanted) < 1e-6);
    }
  }
});

Deno.test("aqlm: rounds lower the loss that it reports, which is the true one, and more codebooks lower it further", async () => {
  const linear = layer(24, 32, 3);
  let last = Infinity;
  for (const books of [1, 2, 3]) {
    const q = await aqlm({ books, bits: 4, group: 4 }).quantize(linear);
    const { loss, initialLoss } = q.report as Record<string, number>;
    assert(loss < initialLoss && loss < last, `${books}: ${loss}, ${initialLoss}`);
    assert(Math.abs(objective(linear.W, dequantize(q), linear.H) / loss - 1) < 0.02); // fp16 of codebooks and scales
    last = loss;
  }
  const losses = await Promise.all(
    [1, 2, 4].map(async (epochs) =>
      (await aqlm({ books: 1, bits: 4, group: 4, epochs, tolerance: 0 }).quantize(linear)).report.loss as number
    ),
  );
  assert(losses[1] <= losses[0] && losses[2] <= losses[1], `${losses}`);
});

Deno.test("aqlm: rounds end with the first that lowers the loss by less than the tolerance", async () => {
  const linear = layer(24, 32, 3);
  const of = async (epochs: number, tolerance: number) =>
    (await aqlm({ books: 1, bits: 4, group: 4, epochs, tolerance }).quantize(linear)).report as Record<string, number>;
  const losses = [(await of(1, 0)).initialLoss];
  for (const epochs of [1, 2, 3, 4, 5, 6]) losses.push((await of(epochs, 0)).loss);
  const last = losses.slice(1).findIndex((loss, round) => loss > losses[round] * (1 - 0.05));
  assert(last > 0 && last < 5, `${losses}`);
  const { rounds, loss } = await of(6, 0.05);
  assertEquals([rounds, loss], [last, losses[last + 1]]);
});

Deno.test("aqlm: where it ends, hardly a code alone could be changed for the better", async () => {
  const rows = 16, cols = 24, linear = layer(rows, cols, 7);
  const q = await aqlm({ books: 1, bits: 4, group: 4, epochs: 40, tolerance: 0 }).quantize(linear),
    own = readAdditive(q);
  const { data: D } = dequantize(q), perRow = cols / 4;
  for (let k = 0; k < D.length; k++) D[k] = linear.W.data[k] - D[k];
  const whole = objective(matrix(rows, cols, D), matrix(rows, cols), linear.H);
  let gain = 0;
  own.codes.forEach((code, at) => {
    const i = Math.floor(at / perRow), start = at % perRow * 4, d = D.slice(i * cols, (i + 1) * cols);
    const loss = (other: number) => {
      const changed = matrix(1, cols, d.slice());
      for (let j = 0; j < 4; j++) {
        changed.data[start + j] -= own.scales[i] * (own.codebooks[other * 4 + j] - own.codebooks[code * 4 + j]);
      }
      return objective(changed, matrix(1, cols), linear.H);
    };
    const before = loss(code);
    gain += before - Math.min(...Array.from({ length: 16 }, (_, other) => loss(other)));
  });
  assert(gain < 0.02 * whole, `${gain} of ${whole}`);
});

Deno.test("aqlm: as many vectors as there are values lose nothing, and codes of more than a byte come back", async () => {
  const W = matrix(8, 16, Float32Array.from({ length: 128 }, (_, k) => [-1, -0.5, 0.25, 2][k * 7 % 4]));
  const { H } = layer(1, 16, 4);
  // Rows alike in length, so that values of scaled rows are four too.
  const q = await aqlm({ books: 1, bits: 4, group: 1 }).quantize({ name: "up", W, H });
  assert(distance(dequantize(q).data, W.data) < 5e-3);
  const random = rng(6), codes = Uint16Array.from({ length: 2 * 12 }, () => random.int(2 ** 11));
  const codebooks = Float32Array.from({ length: 2 * 2 ** 11 * 2 }, () => Math.f16round(random.normal()));
  const layerOf = {
    rows: 3,
    cols: 8,
    group: 2,
    books: 2,
    bits: 11,
    codes,
    codebooks,
    scales: Float32Array.of(1, 2, 0.5),
  };
  const stored = storeAdditive("x", layerOf, {});
  assertEquals(readAdditive(stored), layerOf);
  assertEquals(storedBits(stored) - 16 * (codebooks.length + 3), 2 * (12 * 8 + 40)); // 36 bits of the upper parts end on a byte
});

Deno.test("aqlm: inputs of another size choose the same codes and codebooks", async () => {
  const { W, H } = layer(12, 16, 8), method = aqlm({ books: 2, bits: 3, group: 4, epochs: 3, tolerance: 0 });
  const of = async (scale: number) => {
    const moment = matrix64(16, 16, H.data.map((h) => h * scale));
    return (await method.quantize({ name: "up", W, H: moment })).tensors;
  };
  assertEquals(await of(2 ** -8), await of(1));
});

Deno.test("aqlm: what decodes does not depend on the order of the vectors of a codebook", async () => {
  const q = await aqlm({ books: 2, bits: 3, group: 4 }).quantize(layer(8, 16, 5)), own = readAdditive(q);
  const order = [3, 1, 0, 2, 7, 6, 5, 4], codebooks = own.codebooks.slice();
  order.forEach((from, to) => codebooks.set(own.codebooks.subarray(from * 4, from * 4 + 4), to * 4));
  const codes = own.codes.map((code, k) => k < own.codes.length / 2 ? order.indexOf(code) : code);
  assertEquals(dequantize(storeAdditive("x", { ...own, codes, codebooks }, {})).data, dequantize(q).data);
});

Deno.test("aqlm: the same seed gives the same bytes, another seed others; options and widths that make no sense are refused", async () => {
  const linear = layer(16, 16, 6),
    tensors = async (seed: number) => (await aqlm({ bits: 3, group: 4, seed }).quantize(linear)).tensors;
  assertEquals(await tensors(1), await tensors(1));
  assert(distance((await tensors(1)).codes.bytes, (await tensors(2)).codes.bytes) > 0);
  await assertRejects(() => aqlm({ group: 5 }).quantize(linear), RangeError, "16 columns are no whole groups of 5");
  assertThrows(() => aqlm({ bits: 17 }), RangeError, "bits");
  assertThrows(() => aqlm({ books: 0 }), RangeError, "books");
  assertThrows(() => aqlm({ tolerance: NaN }), RangeError, "tolerance");
  assertEquals(aqlm().name, "aqlm-1x8-g8");
  assertEquals(
    aqlm({ books: 2, bits: 4, group: 4, epochs: 3, tolerance: 0, seed: 9 }).name,
    "aqlm-2x4-g4-epochs3-tol0-seed9",
  );
});
