import { assert, assertEquals, assertThrows } from "@std/assert";
import { groupFitter, nearest, refit, tableRows } from "../../lib/methods/sbvr/encode.ts";
import { sbvr } from "../../lib/methods/sbvr/sbvr.ts";
import { readSubsetSum, storeSubsetSum, subsetSum } from "../../lib/quant/dense/subset_sum.ts";
import { dequantize, storedBits } from "../../lib/quant/forms/decode.ts";
import { assign, kMeans } from "../../lib/tensor/k_means.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { damped, distance, layer, objective } from "../layers.ts";

const normals = (count: number, seed: number) => Float64Array.from({ length: count }, rng(seed, "sbvr").normal);
const levelsOf = (c: ArrayLike<number>) =>
  Array.from({ length: 2 ** c.length }, (_, code) => subsetSum(c, 0, c.length, code));

Deno.test("sbvr: the code of a weight is that of the nearest subset sum", () => {
  const w = normals(50, 1), c = normals(3, 2), codes = new Uint8Array(50), levels = levelsOf(c);
  const loss = nearest(w, c, codes);
  w.forEach((x, j) => assert(levels.every((level) => (x - levels[codes[j]]) ** 2 <= (x - level) ** 2)));
  assert(Math.abs(loss - w.reduce((sum, x, j) => sum + (x - levels[codes[j]]) ** 2, 0)) < 1e-12);
});

Deno.test("sbvr: powers of two are a uniform grid, two's complement a signed one, and the levels lie even about half their sum", () => {
  assertEquals(levelsOf([1, 2, 4, 8]), Array.from({ length: 16 }, (_, k) => k));
  assertEquals(levelsOf([1, 2, 4, -8]).sort((a, b) => a - b), Array.from({ length: 16 }, (_, k) => k - 8));
  const c = normals(4, 3), half = c.reduce((a, b) => a + b, 0) / 2, levels = levelsOf(c);
  assert(levels.includes(0));
  for (const level of levels) assert(levels.some((other) => Math.abs(other + level - 2 * half) < 1e-12));
});

Deno.test("sbvr: least squares never raise the error, and a group is fitted no worse than by a signed grid", () => {
  for (let seed = 1; seed <= 20; seed++) {
    for (const K of [1, 2, 3, 4]) {
      const w = normals(64, 10 * seed + K), c = normals(K, seed), codes = new Uint8Array(64);
      const before = nearest(w, c, codes);
      refit(w, c, codes);
      const after = w.reduce((sum, x, j) => sum + (x - subsetSum(c, 0, K, codes[j])) ** 2, 0);
      assert(after <= before + 1e-12);
      const top = Math.max(...w.map(Math.abs)),
        signed = Float64Array.from(
          { length: K },
          (_, i) => (i === K - 1 ? -1 : 1) * 2 ** i * top / Math.max(1, 2 ** (K - 1) - 1),
        );
      assert(groupFitter(64, K)(w, c, codes) <= nearest(w, signed, new Uint8Array(64)) + 1e-12, `${K} sums`);
    }
  }
});

Deno.test("sbvr: a group takes the line of least error among those nearest to its own coefficients, of equal ones the first", () => {
  const rows = 30, width = 12, sums = 2, x = Float32Array.from(normals(rows * width, 8));
  // Every line twice, so that distances are equal in pairs.
  const lines = normals(40, 9), table = Float32Array.from([...lines, ...lines]);
  const args = { x, width, sums, table, tries: 5, index: new Int32Array(rows) };
  const made = { ...args, codes: new Uint8Array(rows * width), q: new Float32Array(rows * width) };
  tableRows.run(made, 0, rows);
  const fit = groupFitter(width, sums), c = new Float64Array(sums);
  for (let i = 0; i < rows; i++) {
    const w = x.subarray(i * width, (i + 1) * width), codes = new Uint8Array(width);
    fit(w, c, codes);
    const far = (line: number) => (table[2 * line] - c[0]) ** 2 + (table[2 * line + 1] - c[1]) ** 2;
    const near = Array.from({ length: 40 }, (_, line) => line).sort((a, b) => far(a) - far(b) || a - b).slice(0, 5);
    const losses = near.map((line) => nearest(w, table, codes, 2 * line, sums));
    assertEquals(made.index[i], near[losses.indexOf(Math.min(...losses))], `row ${i}`);
    nearest(w, table, codes, 2 * made.index[i], sums);
    assertEquals(made.codes.subarray(i * width, (i + 1) * width), codes);
  }
});

Deno.test("sbvr: coefficients in another order, bits with them, decode to the same", async () => {
  const q = await sbvr({ sums: 3, group: 8 }).quantize(layer(12, 24, 4)), own = readSubsetSum(q), order = [2, 0, 1];
  const table = own.table.map((_, k) => own.table[k - k % 3 + order[k % 3]]);
  const codes = own.codes.map((code) => order.reduce((sum, from, to) => sum | (code >> from & 1) << to, 0));
  const found = dequantize(storeSubsetSum("x", { ...own, codes, table }, {})).data;
  assert(distance(found, dequantize(q).data) < 1e-6);
});

Deno.test("sbvr: a table of more lines, two bytes a group, and the exact block step, lower the loss", async () => {
  const linear = layer(96, 48, 5), H = damped(linear.H, 0.01);
  const of = async (options: Partial<Parameters<typeof sbvr>[0]>) => {
    const q = await sbvr({ sums: 2, group: 8, ...options }).quantize(linear);
    return { q, loss: objective(linear.W, dequantize(q), H) };
  };
  const [few, many] = [await of({ lines: 4 }), await of({ lines: 300 })];
  assert(many.loss < few.loss, `${many.loss}, ${few.loss}`);
  assertEquals(many.q.tensors.index.bytes.length, 2 * 96 * 6);
  assertEquals(storedBits(few.q), 96 * 48 * 2 + 96 * 6 * 8 + 4 * 2 * 16);
  assertEquals(readSubsetSum(many.q).table.length, 600);
  assert((await of({ compensation: "exact" })).loss < (await of({ compensation: "none" })).loss);
});

Deno.test("sbvr: its name says its options; others are refused", () => {
  assertEquals([1, 2, 6].map((sums) => sbvr({ sums }).name), ["sbvr-1b-g128", "sbvr-2b-g128", "sbvr-6b-g128"]);
  const all = { group: 8, lines: 9, damping: 0.1, compensation: "exact", seed: 2 } as const;
  assertEquals(sbvr({ sums: 4, ...all }).name, "sbvr-4b-g8-lines9-damp0.1-exact-seed2");
  for (const sums of [0, 7, 1.5]) assertThrows(() => sbvr({ sums }), RangeError, "sums");
  for (const lines of [0, 70000]) assertThrows(() => sbvr({ sums: 2, lines }), RangeError, "lines");
});

Deno.test("k-means: centres are the means of what is nearest to them, the same for a seed; few vectors are their own", () => {
  const vectors = Float64Array.from({ length: 600 }, (_, k) => Math.floor(k / 2) % 3 * 10 + normals(600, 7)[k]);
  const { centres, assigned } = kMeans(vectors, 2, { count: 3, seed: 1 });
  assertEquals(kMeans(vectors, 2, { count: 3, seed: 1 }).centres, centres);
  assertEquals(new Set(assigned).size, 3);
  for (let c = 0; c < 3; c++) {
    for (let k = 0; k < 2; k++) {
      const own = Array.from(assigned).flatMap((a, v) => a === c ? [vectors[2 * v + k]] : []);
      assert(Math.abs(centres[2 * c + k] - own.reduce((a, b) => a + b, 0) / own.length) < 1e-9);
    }
  }
  assertEquals(assign(vectors, centres, 2, assigned), 0);
  const few = kMeans(vectors.slice(0, 4), 2, { count: 5, seed: 1 });
  assertEquals([few.centres, Array.from(few.assigned)], [vectors.slice(0, 4), [0, 1]]);
});
