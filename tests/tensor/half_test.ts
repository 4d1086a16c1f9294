import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  bfloat16ToFloat,
  floatToBfloat16,
  floatToHalf,
  fromBfloat16,
  fromHalf,
  halfToFloat,
  roundToHalf,
  toBfloat16,
  toHalf,
} from "../../lib/tensor/half.ts";

const ALL = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

/** The value of 16 bits by the definition of a binary floating format. */
function valueOf(bits: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits, bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> fractionBits) & (2 ** exponentBits - 1), fraction = bits & (2 ** fractionBits - 1);
  if (exponent === 2 ** exponentBits - 1) return fraction ? NaN : sign * Infinity;
  return exponent === 0
    ? sign * fraction * 2 ** (1 - bias - fractionBits)
    : sign * (1 + fraction / 2 ** fractionBits) * 2 ** (exponent - bias);
}

for (
  const [name, exponentBits, encode, decode, encodeAll, decodeAll] of [
    ["fp16", 5, toHalf, fromHalf, floatToHalf, halfToFloat],
    ["bfloat16", 8, toBfloat16, fromBfloat16, floatToBfloat16, bfloat16ToFloat],
  ] as const
) {
  Deno.test(`${name}: all 65536 patterns decode by definition and come back`, () => {
    const values = decodeAll(ALL), back = encodeAll(values);
    for (const bits of ALL) {
      const value = valueOf(bits, exponentBits);
      assert(Object.is(values[bits], value) && Object.is(decode(bits), value), `${bits} decodes to ${values[bits]}`);
      if (Number.isNaN(value)) assert(Number.isNaN(decode(back[bits])));
      else assert(encode(value) === bits && back[bits] === bits, `${value} encodes to ${back[bits]}`);
    }
  });

  Deno.test(`${name}: between two neighbours the nearer one wins, the even one at a tie`, () => {
    const infinity = (2 ** exponentBits - 1) << (15 - exponentBits);
    for (let bits = 0; bits < infinity - 1; bits++) {
      const low = valueOf(bits, exponentBits), high = valueOf(bits + 1, exponentBits), middle = (low + high) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const points = Float32Array.of(low + (high - low) * 0.25, middle, low + (high - low) * 0.75);
      const got = encodeAll(points), mirrored = encodeAll(points.map((x) => -x));
      [bits, even, bits + 1].forEach((want, k) => {
        assert(got[k] === want && mirrored[k] === (want | 0x8000), `${points[k]} encodes to ${got[k]}, not ${want}`);
      });
    }
  });
}

Deno.test("fp16: rounds once, from the full double", () => {
  // Just above a tie by less than float32 can hold: rounding by way of float32 would round down to even.
  assertEquals(toHalf(1 + 2 ** -11 + 2 ** -40), toHalf(1) + 1);
  assertEquals(roundToHalf(65519.99), 65504);
  assertEquals(roundToHalf(65520), Infinity);
  assertEquals(roundToHalf(-0), -0);
});

Deno.test("bfloat16: a NaN with its payload below the cut stays NaN", () => {
  assertEquals(fromBfloat16(floatToBfloat16(new Float32Array(Uint32Array.of(0x7f800001).buffer))[0]), NaN);
});

Deno.test("half floats: arrays and scalars agree, from views too", () => {
  fc.assert(
    fc.property(fc.float32Array({ minLength: 1, maxLength: 20 }), (values) => {
      const view = Float32Array.from([0, ...values]).subarray(1);
      assertEquals([...floatToHalf(view)].map(fromHalf), [...values].map(roundToHalf));
      assertEquals([...floatToBfloat16(view)].map(fromBfloat16), [...values].map((x) => fromBfloat16(toBfloat16(x))));
      const bits = floatToHalf(view);
      assertEquals(halfToFloat(Uint16Array.from([9, ...bits]).subarray(1)), halfToFloat(bits));
    }),
    { seed: 1 },
  );
});
