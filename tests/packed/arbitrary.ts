/** Stored linears for properties: every form and order, mixed ones included, shapes and groups of any size. */
import fc from "fast-check";
import { withRowScaleBits } from "../../lib/quant/forms/row_scales.ts";
import { randomBlocks, randomMixed, randomUniform } from "./layers.ts";

const shape = {
  rows: fc.integer({ min: 1, max: 20 }),
  cols: fc.integer({ min: 1, max: 300 }),
  group: fc.oneof(fc.integer({ min: 1, max: 320 }), fc.constantFrom(32, 64, 128)),
  seed: fc.integer({ min: 1, max: 1000 }),
};

/** Planes of `binary` or bits of `levels`, 1 to 4, by block; row scales in 16 or 8 bits. */
const blockwise = fc.record({
  ...shape,
  format: fc.constantFrom("binary" as const, "levels" as const),
  orders: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 }),
  scaled8: fc.boolean(),
}).map(({ format, scaled8, ...options }) => {
  const q = randomBlocks(format, options);
  return scaled8 ? withRowScaleBits(q, 8) : q;
});

/** 1 to 8 bits, on a symmetric grid or not, groups of neighbouring columns or by a map. */
const uniform = fc.record({
  ...shape,
  bits: fc.integer({ min: 1, max: 8 }),
  symmetric: fc.boolean(),
  indexed: fc.boolean(),
  scaled: fc.boolean(),
}).map(randomUniform);

/** Groups of 1 to 4 bits. */
const mixed = fc.record({
  ...shape,
  widths: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 }),
}).map(randomMixed);

export const storedLinear = fc.oneof(blockwise, uniform, mixed);
