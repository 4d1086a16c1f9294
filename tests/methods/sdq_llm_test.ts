import { assert, assertEquals, assertThrows } from "@std/assert";
import { quantile, sdqRows, sigmaDelta } from "../../lib/methods/sdq/loop.ts";
import { sdqLlm, sharedRatios } from "../../lib/methods/sdq/sdq_llm.ts";
import { dequantize, storedBits } from "../../lib/quant/forms/decode.ts";
import { rotate, rotateBack, rotationBlock, signsOf } from "../../lib/tensor/hadamard.ts";
import { resampling } from "../../lib/tensor/resample.ts";
import { matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance, layer, objective, product } from "../layers.ts";

const normals = (count: number, seed: number) => Float64Array.from({ length: count }, rng(seed, "sdq").normal);

Deno.test("resampling: up and down again is the identity, at any ratio, even lengths and odd; a constant stays", () => {
  for (const [n, rate] of [[128, 1], [128, 1.25], [128, 2], [128, 3.3], [16, 16], [7, 2], [9, 1.5], [1, 3]]) {
    const m = Math.floor(n * rate), [up, down] = [resampling(n, m), resampling(m, n)], both = product(up, down).data;
    assert(distance(both, both.map((_, k) => Number(k % (n + 1) === 0))) < 1e-12, `${n} to ${m}`);
    const flat = product(matrix64(1, n, new Float64Array(n).fill(2)), up).data;
    assert(flat.every((x) => Math.abs(x - 2) < 1e-12));
  }
});

Deno.test("hadamard: the rotation keeps lengths and angles, and turns back; its blocks are powers of two", () => {
  for (const n of [1, 8, 12, 128]) {
    const signs = signsOf(n, 3), x = normals(n, 1), y = normals(n, 2), [u, v] = [x.slice(), y.slice()];
    rotate(u, signs);
    rotate(v, signs);
    const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, w, j) => sum + w * b[j], 0);
    assert(Math.abs(dot(u, v) - dot(x, y)) < 1e-12 * n && Math.abs(dot(u, u) - dot(x, x)) < 1e-12 * n);
    rotateBack(u, signs);
    assert(distance(u, x) < 1e-12);
    assertEquals(signsOf(n, 3), signs);
  }
  assertEquals([1, 8, 12, 384].map(rotationBlock), [1, 8, 4, 128]);
  // What stands out is spread.
  const spike = new Float64Array(64), signs = signsOf(64, 1);
  spike[5] = 8;
  rotate(spike, signs);
  assert(spike.every((x) => Math.abs(Math.abs(x) - 1) < 1e-12));
});

Deno.test("sigma-delta: the integrator holds what was read less what was said, so that means agree", () => {
  for (const binary of [false, true]) {
    const x = normals(300, 4).map((v) => Math.tanh(v)), y = new Uint8Array(300);
    const most = sigmaDelta(x, y, { threshold: 0.5, binary, bound: Infinity });
    const said = Array.from(y, (code) => binary ? 2 * code - 1 : code - 1);
    const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / 300;
    assert(Math.abs(mean(x) - mean(said)) <= (most + 1) / 300);
    if (!binary) assert(most <= 1.5);
  }
  for (const c of [-0.9, -0.3, 0, 0.45, 0.99]) {
    for (const n of [50, 500]) {
      const y = new Uint8Array(n);
      sigmaDelta(new Float64Array(n).fill(c), y, { threshold: 0.5, binary: false, bound: Infinity });
      assert(Math.abs(y.reduce((a, b) => a + b - 1, 0) / n - c) < 2.5 / n, `${c}, ${n}`);
    }
  }
  // With a bound it stays within, whatever is read.
  assertEquals(
    sigmaDelta(new Float64Array(90).fill(3), new Uint8Array(90), { threshold: 0.5, binary: false, bound: 2 }),
    2,
  );
});

Deno.test("sigma-delta: where nothing is clipped the error falls with the cube of the ratio", () => {
  const error = (rate: number) => {
    let sum = 0, whole = 0;
    const n = 128, m = n * rate, [up, down] = [resampling(n, m), resampling(m, n)];
    for (let seed = 1; seed <= 8; seed++) {
      const row = normals(n, seed), fine = product(matrix64(1, n, row), up).data, y = new Uint8Array(m);
      const scale = Math.max(...fine.map(Math.abs));
      sigmaDelta(fine.map((v) => v / scale), y, { threshold: 0.5, binary: false, bound: Infinity });
      const made = product(matrix64(1, m, Float64Array.from(y, (code) => scale * (code - 1))), down).data;
      row.forEach((v, j) => [sum, whole] = [sum + (v - made[j]) ** 2, whole + v * v]);
    }
    return sum / whole;
  };
  const [a, b, c] = [4, 8, 16].map(error);
  for (const ratio of [a / b, b / c]) assert(ratio > 5.5 && ratio < 10, `${a}, ${b}, ${c}`);
});

Deno.test("sdq-llm: of the scales that are tried, a row takes the one that loses least over all its columns", () => {
  const rows = 40, width = 4, samples = 5, x = Float32Array.from(normals(rows * width, 6));
  const [up, down] = [resampling(width, samples).data, resampling(samples, width).data];
  const lossesAt = (tries: number[]) => {
    const q = new Float32Array(rows * width), codes = new Uint8Array(rows * samples);
    const [scales, means] = [new Float32Array(rows), new Float32Array(rows)];
    const given = { x, width, samples, up, down, tries: Float64Array.from(tries), cut: 0.5, bound: 2, binary: false };
    sdqRows.run({ ...given, codes, scales, means, q }, 0, rows);
    return Array.from({ length: rows }, (_, i) => {
      const of = (values: Float32Array) => values.subarray(i * width, (i + 1) * width);
      return of(x).reduce((sum, w, j) => sum + (w - of(q)[j]) ** 2, 0);
    });
  };
  const tries = [[0.8, 1], [1, 1], [1, 0.5]], alone = tries.map(lossesAt);
  lossesAt(tries.flat()).forEach((loss, i) => {
    const least = Math.min(...alone.map((losses) => losses[i]));
    assert(Math.abs(loss - least) < 1e-9, `row ${i}: ${loss}, one alone ${least}`);
  });
});

Deno.test("sdq-llm: a higher ratio loses less and takes more bits, ternary less than binary; names choose ratios", async () => {
  const linear = layer(16, 64, 5);
  const of = async (options: Parameters<typeof sdqLlm>[0]) => {
    const q = await sdqLlm({ group: 32, ...options }).quantize(linear);
    return { loss: objective(linear.W, dequantize(q), linear.H), bits: storedBits(q) / (16 * 64) };
  };
  let before = { loss: Infinity, bits: 0 };
  for (const rate of [1, 1.5, 2, 4]) {
    const now = await of({ rate });
    assert(now.loss < before.loss && now.bits > before.bits, `${rate}`);
    before = now;
  }
  assert((await of({ rate: 2, binary: true })).loss > (await of({ rate: 2 })).loss);
  assertEquals(await of({ rates: { [linear.name]: 2 } }), await of({ rate: 2 }));
  assertEquals(await of({ rates: { other: 2 } }), await of({}));
  assert((await of({ compensation: "exact" })).loss < (await of({ compensation: "none" })).loss);
});

Deno.test("sdq-llm: shared ratios meet their mean, are alike where weights spread alike, and go to what spreads least", () => {
  const linears = [{ name: "a", deviation: 1, weights: 3 }, { name: "b", deviation: 1, weights: 5 }];
  assertEquals(sharedRatios(linears, { mean: 2 }), { a: 2, b: 2 });
  const uneven = [...linears, { name: "c", deviation: 0.5, weights: 4 }], ratios = sharedRatios(uneven, { mean: 2 });
  const mean = uneven.reduce((sum, { name, weights }) => sum + weights * ratios[name], 0) / 12;
  assert(Math.abs(mean - 2) < 1e-12 && ratios.c > ratios.a && ratios.a === ratios.b);
  assertThrows(() => sharedRatios(linears, { mean: 0.5 }), RangeError, "0.5");
});

Deno.test("quantile: ends, and by line between neighbours", () => {
  const x = Float64Array.of(0, 1, 4);
  assertEquals([0, 0.25, 0.5, 0.75, 1].map((share) => quantile(x, share)), [0, 0.5, 1, 2.5, 4]);
});

Deno.test("sdq-llm: its name says its options; others are refused", () => {
  assertEquals(sdqLlm().name, "sdq-llm-r1.25-g128");
  const all = {
    rates: { a: 1 },
    binary: true,
    damping: 0.1,
    cut: 0.4,
    bound: Infinity,
    compensation: "exact",
    seed: 2,
  } as const;
  assertEquals(
    sdqLlm({ rate: 2, group: 8, ...all }).name,
    "sdq-llm-r2-g8-rates-binary-damp0.1-cut0.4-boundInfinity-exact-seed2",
  );
  for (const rate of [0.5, 9, NaN]) assertThrows(() => sdqLlm({ rate }), RangeError, "rate");
  assertThrows(() => sdqLlm({ rates: { up: 0 } }), RangeError, "up is 0");
  assertThrows(() => sdqLlm({ cut: 2 }), RangeError, "cut");
  assertThrows(() => sdqLlm({ bound: 0 }), RangeError, "bound");
});
