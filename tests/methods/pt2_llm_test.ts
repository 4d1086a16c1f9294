import { assert, assertEquals, assertThrows } from "@std/assert";
import { alignGrid, fitTernary } from "../../lib/methods/pt2/fit.ts";
import { pt2Llm } from "../../lib/methods/pt2/pt2_llm.ts";
import { packTrits, unpackTrits } from "../../lib/format/trits.ts";
import { readTernary } from "../../lib/quant/dense/ternary.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance, layer, objective, product } from "../layers.ts";

const normals = (count: number, seed: number) => Float64Array.from({ length: count }, rng(seed, "pt2").normal);
const errorOf = (w: ArrayLike<number>, t: Int8Array, { scale, mean }: { scale: number; mean: number }) =>
  Array.from(w).reduce((sum, x, j) => sum + (x - mean - scale * t[j]) ** 2, 0);

Deno.test("pt2-llm: fitting by turns never raises the error, and ends where no code moves", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const w = normals(64, seed), t = new Int8Array(64), fit = { scale: 0, mean: 0 };
    fitTernary(w, t, fit, { iterate: false });
    const first = errorOf(w, t, fit);
    const rounds = fitTernary(w, t, fit, { iterate: true });
    assert(errorOf(w, t, fit) <= first + 1e-12 && rounds > 0 && rounds < 50);
    t.forEach((code, j) => assertEquals(code, Math.max(-1, Math.min(1, Math.round((w[j] - fit.mean) / fit.scale)))));
  }
});

Deno.test("pt2-llm: ternary weights come back as they were, and a row alike as its mean", () => {
  const t0 = Array.from({ length: 30 }, (_, j) => j % 3 - 1), w = t0.map((t) => 0.2 + 0.7 * t);
  const t = new Int8Array(30), fit = { scale: 0, mean: 0 };
  fitTernary(w, t, fit, { iterate: true });
  assertEquals(Array.from(t), t0);
  assert(Math.abs(fit.scale - 0.7) < 1e-12 && Math.abs(fit.mean - 0.2) < 1e-12);
  fitTernary(new Float64Array(8).fill(3), t.subarray(0, 8), fit, { iterate: true });
  assertEquals([fit.scale, fit.mean], [0, 3]);
});

Deno.test("pt2-llm: w → a w + b moves scale and mean with it, and no code", () => {
  const w = normals(40, 3), [t, u] = [new Int8Array(40), new Int8Array(40)];
  const [fit, moved] = [{ scale: 0, mean: 0 }, { scale: 0, mean: 0 }];
  fitTernary(w, t, fit, { iterate: true });
  fitTernary(w.map((x) => 4 * x - 2), u, moved, { iterate: true });
  assertEquals(u, t);
  assert(Math.abs(moved.scale - 4 * fit.scale) < 1e-9 && Math.abs(moved.mean - 4 * fit.mean + 2) < 1e-9);
});

Deno.test("pt2-llm: the aligned grid is the weighted least squares of two numbers, and ITF's own where inputs are alike", () => {
  const m = 24, w = normals(m, 5), { H: C } = layer(1, m, 6), t = new Int8Array(m), fit = { scale: 0, mean: 0 };
  const sums = Float64Array.from(
    { length: m },
    (_, j) => C.data.subarray(j * m, (j + 1) * m).reduce((a, b) => a + b, 0),
  );
  fitTernary(w, t, fit, { iterate: true });
  const plain = { ...fit },
    loss = ({ scale, mean }: typeof fit) => {
      const d = matrix64(1, m, w.map((x, j) => x - mean - scale * t[j]));
      return product(product(d, C), matrix64(m, 1, d.data)).data[0];
    };
  assert(alignGrid(w, t, fit, { C: C.data, sums }));
  assert(loss(fit) <= loss(plain));
  for (const [ds, dm] of [[1e-3, 0], [-1e-3, 0], [0, 1e-3], [0, -1e-3], [1e-3, 1e-3]]) {
    assert(loss({ scale: fit.scale + ds, mean: fit.mean + dm }) > loss(fit));
  }
  const identity = new Float64Array(m * m), same = { ...plain };
  for (let j = 0; j < m; j++) identity[j * (m + 1)] = 1;
  assert(alignGrid(w, t, same, { C: identity, sums: new Float64Array(m).fill(1) }));
  assert(Math.abs(same.scale - plain.scale) < 1e-12 && Math.abs(same.mean - plain.mean) < 1e-12);
  // What cannot be told apart stays.
  assertEquals(alignGrid(w, new Int8Array(m), { ...plain }, { C: C.data, sums }), false);
});

Deno.test("pt2-llm: the order is a permutation, columns alike stand together, and without it blocks are neighbours", async () => {
  const linear = layer(10, 32, 7);
  // Columns 3, 11, 19 and 27 are all but the same, and alike what is common to all.
  for (let i = 0; i < 10; i++) for (const j of [3, 11, 19, 27]) linear.W.data[i * 32 + j] = 3 + i + j / 1000;
  const { order } = readTernary(await pt2Llm({ group: 4 }).quantize(linear));
  assertEquals(Array.from(order!).sort((a, b) => a - b), Array.from({ length: 32 }, (_, j) => j));
  assertEquals(Array.from(order!.subarray(0, 4)), [3, 11, 19, 27]);
  assertEquals(readTernary(await pt2Llm({ group: 4, reorder: false }).quantize(linear)).order, undefined);
});

Deno.test("pt2-llm: elimination of blocks is the exact block step of the factor", async () => {
  // In one block nothing is passed on; in two the second is fitted to what the Cholesky path would hand it.
  const { name, W, H } = layer(6, 16, 8),
    found = dequantize(await pt2Llm({ group: 8, reorder: false }).quantize({ name, W, H }));
  const first = dequantize(
    await pt2Llm({ group: 8, reorder: false }).quantize({
      name,
      W: columns(W, 0),
      H: square(H, 0),
    }),
  );
  assert(distance(columns(found, 0).data, first.data) < 1e-6);
  // W_R - (W_B - Q_B) S with S = -H_BR H_RR⁻¹, the least squares of what is left to correct.
  let mean = 0;
  for (let j = 0; j < 16; j++) mean += H.data[17 * j] / 16;
  const damped = matrix64(16, 16, H.data.map((h, k) => k % 17 === 0 ? h + 0.01 * mean : h));
  const left = matrix64(6, 8, Float64Array.from(columns(W, 0).data, (w, k) => w - columns(found, 0).data[k]));
  const fixed = product(product(left, part(damped, 0, 8)), inverse(part(damped, 8, 8)));
  const updated = matrix(6, 8, columns(W, 8).data.map((w, k) => w + fixed.data[k]));
  const second = dequantize(await pt2Llm({ group: 8, reorder: false }).quantize({ name, W: updated, H: square(H, 8) }));
  assert(distance(columns(found, 8).data, second.data) < 2e-3);

  function columns(A: typeof W, from: number) {
    return matrix(
      A.rows,
      8,
      Float32Array.from({ length: A.rows * 8 }, (_, k) => A.data[Math.floor(k / 8) * 16 + from + k % 8]),
    );
  }
  function part(A: typeof H, from: number, to: number) {
    return matrix64(
      8,
      8,
      Float64Array.from({ length: 64 }, (_, k) => A.data[(from + Math.floor(k / 8)) * 16 + to + k % 8]),
    );
  }
  function square(A: typeof H, from: number) {
    return part(A, from, from);
  }
  /** Gauss–Jordan. */
  function inverse(A: typeof H) {
    const n = A.rows, M = A.data.slice(), I = new Float64Array(n * n);
    for (let j = 0; j < n; j++) I[j * (n + 1)] = 1;
    for (let j = 0; j < n; j++) {
      const p = M[j * (n + 1)];
      for (let k = 0; k < n; k++) {
        M[j * n + k] /= p;
        I[j * n + k] /= p;
      }
      for (let i = 0; i < n; i++) {
        const f = M[i * n + j];
        if (i === j) continue;
        for (let k = 0; k < n; k++) {
          M[i * n + k] -= f * M[j * n + k];
          I[i * n + k] -= f * I[j * n + k];
        }
      }
    }
    return matrix64(n, n, I);
  }
});

Deno.test("pt2-llm: each of its parts lowers the output error on average", async () => {
  const errors = [0, 0, 0];
  for (let seed = 10; seed < 22; seed++) {
    const linear = layer(16, 48, seed);
    const variants = [{ iterate: false, align: false }, { align: false }, {}];
    for (const [v, options] of variants.entries()) {
      const q = await pt2Llm({ group: 16, reorder: false, ...options }).quantize(linear);
      errors[v] += objective(linear.W, dequantize(q), linear.H);
    }
  }
  assert(errors[2] < errors[1] && errors[1] < errors[0] * 1.02, `${errors}`);
});

Deno.test("trits: five a byte, there and back; what five trits cannot be is refused", () => {
  const trits = Uint8Array.from({ length: 23 }, (_, i) => (i * i + 1) % 3);
  assertEquals(packTrits(trits).length, 5);
  assertEquals(unpackTrits(packTrits(trits), 23), trits);
  assertEquals(packTrits(new Uint8Array(5).fill(2))[0], 242);
  assertThrows(() => packTrits(Uint8Array.of(0, 3)), RangeError, "number 1 is 3");
  assertThrows(() => unpackTrits(Uint8Array.of(243), 1), RangeError, "243");
  assertThrows(() => unpackTrits(Uint8Array.of(1), 6), RangeError, "wanted at least 2");
});

Deno.test("pt2-llm: its name says its options; others are refused", () => {
  assertEquals(pt2Llm().name, "pt2-llm-g128");
  assertEquals(
    pt2Llm({ group: 8, damping: 0.1, iterate: false, align: false, reorder: false }).name,
    "pt2-llm-g8-damp0.1-noitf-noaga-nossr",
  );
  assertThrows(() => pt2Llm({ group: 0 }), RangeError, "group");
  assertThrows(() => pt2Llm({ damping: -1 }), RangeError, "damping");
});
