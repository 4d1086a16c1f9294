import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { dequantize, storedBits } from "../../../lib/quant/forms/decode.ts";
import { readUniform, storeUniform, type UniformLayer } from "../../../lib/quant/forms/uniform.ts";
import { roundToHalf } from "../../../lib/tensor/half.ts";
import { rng } from "../../../lib/tensor/rng.ts";

function randomLayer(
  { rows, cols, group, bits, symmetric, mapped, seed }: Record<"rows" | "cols" | "group" | "bits" | "seed", number> & {
    symmetric: boolean;
    mapped: boolean;
  },
): UniformLayer {
  const random = rng(seed, "uniform"), groups = Math.ceil(cols / group);
  const below = (count: number, limit: number) => Uint8Array.from({ length: count }, () => random.int(limit));
  return {
    rows,
    cols,
    bits,
    group,
    symmetric,
    codes: below(rows * cols, 2 ** bits),
    scales: Float32Array.from({ length: rows * groups }, () => random.next() * 4),
    zeros: symmetric ? new Uint8Array(rows * groups).fill(2 ** (bits - 1)) : below(rows * groups, 2 ** bits),
    groupOf: mapped ? Int32Array.from({ length: cols }, () => random.int(groups)) : undefined,
  };
}

const layers = fc.record({
  rows: fc.integer({ min: 1, max: 5 }),
  cols: fc.integer({ min: 1, max: 19 }),
  group: fc.integer({ min: 1, max: 8 }),
  bits: fc.integer({ min: 1, max: 8 }),
  seed: fc.integer({ min: 0, max: 99 }),
  symmetric: fc.boolean(),
  mapped: fc.boolean(),
}).map(randomLayer);

Deno.test("uniform: unpacking gives back what was packed, scales as fp16 holds them", () => {
  fc.assert(
    fc.property(layers, (layer) => {
      const read = readUniform(storeUniform("x", layer, {}));
      assertEquals(read, { ...layer, scales: layer.scales.map(roundToHalf) });
    }),
    { seed: 1 },
  );
});

Deno.test("uniform: a weight decodes to s (q - z) of its group", () => {
  fc.assert(
    fc.property(layers, (layer) => {
      const { rows, cols, group, codes, scales, zeros, groupOf } = layer, groups = Math.ceil(cols / group);
      const W = dequantize(storeUniform("x", layer, {}));
      assertEquals(W.shape, [rows, cols]);
      for (let k = 0; k < rows * cols; k++) {
        const at = Math.floor(k / cols) * groups + (groupOf ? groupOf[k % cols] : Math.floor((k % cols) / group));
        assert(W.data[k] === roundToHalf(scales[at]) * (codes[k] - zeros[at]));
      }
    }),
    { seed: 1 },
  );
});

Deno.test("uniform: stored bits are codes, fp16 scales, zero points and the group map, in whole bytes", () => {
  const bytes = (bits: number) => 8 * Math.ceil(bits / 8);
  fc.assert(
    fc.property(layers, (layer) => {
      const { rows, cols, bits, group, symmetric, groupOf } = layer, grids = rows * Math.ceil(cols / group);
      const want = bytes(rows * cols * bits) + 16 * grids + (symmetric ? 0 : bytes(grids * bits)) +
        (groupOf ? 8 * cols : 0);
      assertEquals(storedBits(storeUniform("x", layer, {})), want);
    }),
    { seed: 1 },
  );
});

Deno.test("uniform: a group map beyond 256 groups takes two bytes a column", () => {
  const layer = randomLayer({ rows: 1, cols: 300, group: 1, bits: 2, symmetric: true, mapped: true, seed: 1 });
  const stored = storeUniform("x", layer, {});
  assertEquals(stored.tensors.g_idx.shape, [300, 2]);
  assertEquals(readUniform(stored).groupOf, layer.groupOf);
});

Deno.test("uniform: refuses scales that fp16 cannot hold and formats that nobody decodes", () => {
  const layer = randomLayer({ rows: 1, cols: 4, group: 4, bits: 2, symmetric: true, mapped: false, seed: 1 });
  assertThrows(
    () => storeUniform("up", { ...layer, scales: Float32Array.of(7e4) }, {}),
    RangeError,
    `"up": a scale of 70000`,
  );
  const stored = storeUniform("up", layer, {});
  assertThrows(() => dequantize({ ...stored, format: "quinary" as "uniform" }), TypeError, `"quinary"`);
});
