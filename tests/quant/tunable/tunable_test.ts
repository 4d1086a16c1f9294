import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { packBits } from "../../../lib/format/bits.ts";
import { dequantize, storedBits } from "../../../lib/quant/forms/decode.ts";
import { bytesTensor } from "../../../lib/quant/tensors.ts";
import { withRowScaleBits } from "../../../lib/quant/forms/row_scales.ts";
import { tunable } from "../../../lib/quant/tunable/forms.ts";
import type { QuantizedLinear } from "../../../lib/quant/method.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { storedLinear } from "../../packed/arbitrary.ts";
import { layer } from "../../layers.ts";
import { everyMethod } from "../../methods/every_method.ts";
import { randomBlocks, randomUniform } from "../../packed/layers.ts";

const shape = { rows: 5, cols: 21, group: 8, seed: 3 };
/** One of each kind; with one order, so that every code of it can be tried on all weights. */
const linears: readonly { readonly q: QuantizedLinear; readonly bits: number }[] = [
  ...[1, 2, 3].map((k) => ({ q: randomBlocks("binary", { ...shape, orders: [k] }), bits: k })),
  ...[1, 2].map((k) => ({ q: randomBlocks("levels", { ...shape, orders: [k] }), bits: k })),
  ...[2, 3].map((bits) => ({ q: randomUniform({ ...shape, bits, symmetric: false }), bits })),
  { q: randomUniform({ ...shape, bits: 2, symmetric: true, indexed: true }), bits: 2 },
  { q: randomUniform({ ...shape, bits: 2, symmetric: false, scaled: true }), bits: 2 },
];

/** Forms whose levels alone move, and `mixed`, whose codes have no one width: as methods make them. */
const others = await Promise.all(
  ["slim-llm", "billm", "aqlm", "pt2-llm", "sbvr", "sdq-llm"].map(async (name) => {
    const linear = layer(6, 24, 7), X = matrix(50, 24, Float32Array.from(normals(50 * 24, 8)));
    return await everyMethod[name].make(8).quantize({ ...linear, name, X });
  }),
);

const emptyWeight = ({ shape: [rows, cols] }: QuantizedLinear) => new Float32Array(rows * cols);
function normals(count: number, seed: number, scale = 1): Float32Array<ArrayBuffer> {
  const r = rng(seed, "normals");
  return Float32Array.from({ length: count }, () => scale * r.normal());
}

Deno.test("a stored linear that is settled, with latents at its own weights, is the same to the byte", () => {
  fc.assert(
    fc.property(storedLinear, (q) => {
      const wanted = dequantize(q).data;
      const t = tunable(q), W = emptyWeight(q);
      assertEquals(t.settle(W), 0);
      assertEquals(W, wanted);
      assertEquals(t.settle(W, { latents: wanted.slice(), reach: 1.25 }), 0);
      assertEquals(W, wanted);
      assertEquals(t.stored(), q);
    }),
    { seed: 1, numRuns: 60 },
  );
});

Deno.test("gradients of scales are what the decoder says: the weight is linear in each of them", () => {
  for (const q of [...linears.map(({ q }) => q), ...others]) {
    const t = tunable(q), G = normals(emptyWeight(q).length, 1);
    t.settle(emptyWeight(q));
    const into = Object.fromEntries(Object.entries(t.scales).map(([name, x]) => [name, new Float32Array(x.length)]));
    t.gradients(G, into);
    const loss = (q: QuantizedLinear) => dequantize(q).data.reduce((sum, w, at) => sum + w * G[at], 0);
    const before = loss(q);
    for (const [name, gradient] of Object.entries(into)) {
      gradient.forEach((found, i) => {
        const bytes = q.tensors[name].bytes.slice(), halves = new Float16Array(bytes.buffer);
        const scale = halves[i];
        const step = scale || 1;
        halves[i] = scale + step; // exact in fp16
        const wanted = (loss({ ...q, tensors: { ...q.tensors, [name]: { ...q.tensors[name], bytes } } }) - before) /
          step;
        assert(
          Math.abs(found - wanted) <= 2e-5 * (1 + Math.abs(wanted)),
          `${q.name}, ${name} ${i}: ${found}, ${wanted}`,
        );
      });
    }
  }
});

Deno.test("codes follow their latents to the nearest of all levels, and latents stay within reach of the outermost", () => {
  for (const { q, bits } of linears) {
    const [rows, cols] = q.shape, W = emptyWeight(q), before = dequantize(q).data;
    const latents = normals(W.length, 2, 3), given = latents.slice();
    const t = tunable(q);
    const changed = t.settle(W, { latents, reach: 1.25 });
    const levels = Array.from({ length: 2 ** bits }, (_, code) => dequantize(withCodes(q, code, bits)).data);
    for (let at = 0; at < W.length; at++) {
      const own = levels.map((level) => level[at]);
      const least = Math.min(...own.map((level) => Math.abs(level - given[at])));
      assert(
        Math.abs(Math.abs(W[at] - given[at]) - least) <= 1e-6,
        `${q.name}: weight ${at} is not at the nearest level`,
      );
      const bounds = [1.25 * Math.min(...own), 1.25 * Math.max(...own)];
      assert(
        latents[at] >= bounds[0] - 1e-6 && latents[at] <= bounds[1] + 1e-6,
        `${q.name}: latent ${at} is out of reach`,
      );
      if (given[at] > bounds[0] && given[at] < bounds[1]) assertEquals(latents[at], given[at]);
    }
    assert(changed > rows * cols / 8 && changed >= W.filter((w, at) => w !== before[at]).length, `${changed} changed`);
    const stored = t.stored();
    assertEquals(dequantize(stored).data, W);
    assertEquals(storedBits(stored), storedBits(q));
  }
});

/** The linear with one code everywhere. */
function withCodes(q: QuantizedLinear, code: number, bits: number): QuantizedLinear {
  const [rows, cols] = q.shape, group = Number(q.config.group);
  const sizes = q.format === "uniform"
    ? [rows * cols]
    : Array.from({ length: Math.ceil(cols / group) }, (_, b) => rows * Math.min(group, cols - b * group));
  const parts = sizes.map((size) => packBits(new Uint8Array(size).fill(code), bits));
  return { ...q, tensors: { ...q.tensors, codes: bytesTensor(Uint8Array.from(parts.flatMap((p) => [...p]))) } };
}

Deno.test("half a cell is half the distance between neighbouring levels", () => {
  const two = randomBlocks("levels", { ...shape, orders: [2] });
  const levels = [0, 1].map((code) => dequantize(withCodes(two, code, 2)).data);
  const wanted = levels[0].reduce((sum, w, at) => sum + Math.abs(levels[1][at] - w) / 2, 0) / levels[0].length;
  assert(Math.abs(tunable(two).halfCell() - wanted) <= 1e-6 * wanted);
  const grid = randomUniform({ ...shape, bits: 3, symmetric: false });
  const steps = [0, 1].map((code) => dequantize(withCodes(grid, code, 3)).data);
  const half = steps[0].reduce((sum, w, at) => sum + Math.abs(steps[1][at] - w) / 2, 0) / steps[0].length;
  assert(Math.abs(tunable(grid).halfCell() - half) <= 1e-6 * half);
});

Deno.test("8-bit row scales stay in 8 bits: what decodes is rounded, and small steps add up until they show", () => {
  const q = withRowScaleBits(randomBlocks("levels", { ...shape, orders: [2] }), 8);
  const t = tunable(q), W = emptyWeight(q), before = dequantize(q).data;
  t.scales.row_scale[1] *= 1 + 1e-5;
  t.settle(W);
  assertEquals(W, before);
  for (let step = 0; step < 2000; step++) t.scales.row_scale[1] *= 1 + 1e-4;
  t.settle(W);
  assert(W.some((w, at) => w !== before[at]));
  assertEquals(dequantize(t.stored()).data, W);
  assertEquals(storedBits(t.stored()), storedBits(q));
  assertEquals(t.stored().tensors.row_scale.dtype, "U8");
});

Deno.test("scales beyond fp16 are refused", () => {
  for (const { q } of linears) {
    const t = tunable(q);
    Object.values(t.scales)[0][0] = 1e5;
    assertThrows(() => t.settle(emptyWeight(q)), RangeError, "lower the rate");
  }
  assertThrows(
    () => tunable({ ...linears[0].q, format: "other" as "binary" }),
    TypeError,
    'the form "other" is unknown',
  );
});

Deno.test("forms whose levels alone move settle to their own bytes, and say so where codes are to move", () => {
  for (const q of others) {
    const t = tunable(q), W = emptyWeight(q), wanted = dequantize(q).data;
    assertEquals(t.settle(W), 0);
    const size = Math.max(...wanted.map(Math.abs));
    assert(W.every((w, k) => Math.abs(w - wanted[k]) <= 1e-6 * size), q.name);
    const same = t.stored();
    assertEquals(same.tensors, q.tensors);
    // A step along a level shows in the weight, in the bytes, and nowhere else.
    const [name, x] = Object.entries(t.scales)[0];
    x[1] += 0.5;
    t.settle(W);
    const changed = Object.keys(q.tensors).filter((key) =>
      t.stored().tensors[key].bytes.some((b, i) => b !== q.tensors[key].bytes[i])
    );
    assertEquals(changed, [name]);
    assertEquals(storedBits(t.stored()), storedBits(q));
    const decoded = dequantize(t.stored()).data;
    assert(W.every((w, k) => Math.abs(w - decoded[k]) <= 1e-6 * (size + 1)), q.name);
    x[1] = 1e9;
    assertThrows(() => t.settle(W), RangeError, "no number of fp16");
    if (q.format === "mixed") continue;
    assertThrows(() => tunable(q).halfCell(), TypeError, `Cannot tune the codes of "${q.name}"`);
    assertThrows(() => tunable(q).settle(W, { latents: W, reach: 1 }), TypeError, "--tune scales");
  }
});
