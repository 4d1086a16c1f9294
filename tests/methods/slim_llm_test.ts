import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { slimLlm } from "../../lib/methods/slim/slim_llm.ts";
import { divergence, sharesOf } from "../../lib/methods/slim/divergence.ts";
import { plainRows, slimRows } from "../../lib/methods/slim/grids.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { readMixed, widthsOf } from "../../lib/quant/forms/mixed.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";

const ROWS = 24, COLS = 96, GROUP = 16;

/** Inputs whose columns of group `loud` are ten times as large. */
function planted(loud: number, { cols = COLS } = {}) {
  const random = rng(11, "slim"), tokens = 300;
  const X = matrix(
    tokens,
    cols,
    Float32Array.from(
      { length: tokens * cols },
      (_, k) => (Math.floor(k % cols / GROUP) === loud ? 10 : 1) * random.normal(),
    ),
  );
  const H = matrix64(cols, cols);
  for (let t = 0; t < tokens; t++) {
    for (let i = 0; i < cols; i++) {
      for (let j = 0; j < cols; j++) H.data[i * cols + j] += X.data[t * cols + i] * X.data[t * cols + j];
    }
  }
  return { name: "up", W: matrix(ROWS, cols, Float32Array.from({ length: ROWS * cols }, random.normal)), X, H };
}

Deno.test("slim-llm: the mean of the bits is exact, and the group that is heard most gains one, wherever it stands", async () => {
  for (const loud of [0, 2, 5]) {
    for (const bits of [2, 3]) {
      const widths = widthsOf(await slimLlm({ bits, group: GROUP }).quantize(planted(loud)));
      assertEquals(widths.reduce((a, b) => a + b, 0), 6 * bits);
      assertEquals(widths[loud], bits + 1, `${widths}`);
      assertEquals(Math.min(...widths), bits - 1);
    }
  }
});

Deno.test("slim-llm: too few groups to move keep N bits each, as does a narrower last one", async () => {
  for (const cols of [16, 32, 48]) {
    for (const uniform of [true, false]) {
      const widths = widthsOf(await slimLlm({ bits: 2, group: GROUP, uniform }).quantize(planted(0, { cols })));
      assert(widths.every((width) => width === 2), `${cols}: ${widths}`);
    }
  }
  const widths = widthsOf(await slimLlm({ bits: 2, group: GROUP }).quantize(planted(1, { cols: 72 })));
  assertEquals([widths.length, widths[4], widths.reduce((a, b) => a + b, 0)], [5, 2, 10]);
});

/** A grid of one row, without what it would pass on. */
function fitted(
  w: number[],
  bits: number,
  options: { salient?: number; marks?: number[]; fixedOneBit?: boolean } = {},
) {
  const width = w.length, u = new Float64Array(width * width);
  for (let j = 0; j < width; j++) u[j * (width + 1)] = 1;
  const args = {
    ...{ x: Float32Array.from(w), u, width, bits, middle: false },
    ...{ salient: options.salient ?? 1, fixedOneBit: options.fixedOneBit ?? false },
    ...(options.marks ? { marks: Uint8Array.from(options.marks) } : {}),
    ...{ scales: new Float32Array(1), zeros: new Uint8Array(1), means: new Float32Array(1) },
    ...{ codes: new Uint8Array(width), q: new Float32Array(width), e: new Float32Array(width) },
  };
  slimRows.run(args, 0, 1);
  return args;
}
const loss = (w: number[], q: ArrayLike<number>, weights?: number[]) =>
  w.reduce((sum, x, j) => sum + (weights?.[j] ?? 1) * Math.abs(x - q[j]) ** 2.4, 0);

Deno.test("slim-llm: the searched range loses no more than the plain one, and salient weights can be made to count", () => {
  const random = rng(12), w = Array.from({ length: 32 }, random.normal);
  const plain = {
    w: Float32Array.from(w),
    cols: 32,
    group: 32,
    widths: Uint8Array.of(2),
    fixedOneBit: false,
    out: new Float32Array(32),
  };
  plainRows.run(plain, 0, 1);
  assert(loss(w, fitted(w, 2).q) <= loss(w, plain.out));
  const marks = w.map((x) => Number(Math.abs(x) > 1.5)), counted = marks.map((m) => m ? 50 : 1);
  assert(marks.includes(1));
  assert(loss(w, fitted(w, 2, { marks, salient: 50 }).q, counted) <= loss(w, fitted(w, 2).q, counted));
});

Deno.test("slim-llm: salience is w² H_jj where inputs are independent, and what is salient loses less when it counts", async () => {
  const random = rng(13), loud = 5, H = matrix64(GROUP, GROUP), X = matrix(64, GROUP);
  for (let j = 0; j < GROUP; j++) H.data[j * (GROUP + 1)] = j === loud ? 1e4 : 1;
  for (let k = 0; k < X.data.length; k++) X.data[k] = (k % GROUP === loud ? 100 : 1) * random.normal();
  const W = matrix(ROWS, GROUP, Float32Array.from({ length: ROWS * GROUP }, random.normal));
  const lost = async (salient: number) => {
    const Q = dequantize(await slimLlm({ bits: 2, group: GROUP, salient }).quantize({ name: "up", W, X, H })).data;
    return Q.reduce((sum, q, k) => k % GROUP === loud ? sum + (q - W.data[k]) ** 2 : sum, 0);
  };
  const [plain, counted] = [await lost(1), await lost(1000)];
  assert(counted < 0.9 * plain, `${counted}, ${plain}`);
});

Deno.test("slim-llm: one bit is the mean and the mean size, or the mean distance from the mean", () => {
  const w = [1, 2, 3, 6];
  assertEquals(Array.from(fitted(w, 1).q), [0, 0, 6, 6]);
  assertEquals(Array.from(fitted(w, 1, { fixedOneBit: true }).q), [1.5, 1.5, 4.5, 4.5]);
});

Deno.test("slim-llm: what is stored are the grids that were fitted", async () => {
  const q = await slimLlm({ bits: 2, group: GROUP }).quantize(planted(3)), W = dequantize(q).data;
  for (const { start, width, bits, codes, scales, zeros, means } of readMixed(q)) {
    assertEquals(means !== undefined, bits === 1);
    for (let i = 0; i < ROWS; i++) {
      for (let j = 0; j < width; j++) {
        const code = codes[i * width + j];
        const value = means ? means[i] + scales[i] * (2 * code - 1) : scales[i] * (code - zeros[i]);
        assertEquals(W[i * COLS + start + j], Math.fround(value));
      }
    }
  }
});

Deno.test("slim-llm: its name says its options; others are refused", () => {
  assertEquals(slimLlm({ bits: 2, group: 128 }).name, "slim-llm-2b-g128");
  const all = { damping: 0.1, salient: 2, uniform: false, legacyZero: true, fixedOneBit: true };
  assertEquals(
    slimLlm({ bits: 3, group: 8, ...all }).name,
    "slim-llm-3b-g8-damp0.1-salient2-nouniform-legacyzero-fixed1",
  );
  for (const bits of [1, 4, 2.5]) assertThrows(() => slimLlm({ bits, group: 128 }), RangeError, "wanted 2 or 3");
  assertThrows(() => slimLlm({ bits: 2, group: 0 }), RangeError, "group");
  assertThrows(() => slimLlm({ bits: 2, group: 8, salient: NaN }), RangeError, "salient");
});

Deno.test("slim-llm: groups whose width did not change stay as they are, and others become what they are alone", () => {
  const random = rng(14), w = Float32Array.from({ length: 3 * 20 }, random.normal);
  const args = { w, cols: 20, group: 8, fixedOneBit: true };
  const of = (widths: number[]) => {
    const out = new Float32Array(60);
    plainRows.run({ ...args, widths: Uint8Array.from(widths), out }, 0, 3);
    return out;
  };
  const out = of([2, 2, 2]);
  plainRows.run({ ...args, widths: Uint8Array.of(1, 2, 3), before: Uint8Array.of(2, 2, 2), out }, 0, 3);
  assertEquals(out, of([1, 2, 3]));
  plainRows.run({ ...args, widths: Uint8Array.of(1, 3, 3), before: Uint8Array.of(1, 3, 3), out }, 0, 3);
  assertEquals(out, of([1, 2, 3]));
});

Deno.test("slim-llm: the divergence of outputs is that of their softmax by channels, none of themselves", async () => {
  const random = rng(15),
    [own, wanted] = [0, 1].map(() => matrix(5, 7, Float32Array.from({ length: 35 }, random.normal)));
  const shares = await sharesOf(wanted, referenceKernels);
  let sum = 0;
  for (let t = 0; t < 5; t++) {
    const softmax = (x: Float32Array) => {
      const e = Array.from(x.subarray(7 * t, 7 * t + 7), Math.exp), total = e.reduce((a, b) => a + b, 0);
      return e.map((v) => v / total);
    };
    const [p, q] = [softmax(own.data), softmax(wanted.data)];
    p.forEach((x, j) => sum += x * Math.log(x / q[j]));
  }
  assertAlmostEquals(await divergence(own, shares, referenceKernels), sum, 1e-9);
  assertEquals(await divergence(wanted, shares, referenceKernels), 0);
  // However large, and wherever the largest stands.
  const large = matrix(2, 2, Float32Array.of(900, 0, 0, 900));
  assertEquals(await divergence(large, await sharesOf(large, referenceKernels), referenceKernels), 0);
  // Channels that are never chosen do not count beyond 1e-6.
  assert(
    await divergence(matrix(1, 2, Float32Array.of(0, 900)), Float64Array.of(1 - 1e-6, 1e-6), referenceKernels) < 14,
  );
});
