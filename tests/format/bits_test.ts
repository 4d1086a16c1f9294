import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { packBits, packedBytes, unpackBits } from "../../lib/format/bits.ts";

Deno.test("packBits lays codes out least significant bit first", () => {
  // 3-bit codes 1, 2, 7, 4: the stream 001 010 111 100 read from the low end is 0b11_010_001, 0b100_1.
  assertEquals(packBits(Uint8Array.of(1, 2, 7, 4), 3), Uint8Array.of(0b11010001, 0b1001));
  assertEquals(packBits(Uint8Array.of(3, 0, 1, 2, 1), 2), Uint8Array.of(0b10010011, 0b01));
  assertEquals(packBits(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 1, 1), 1), Uint8Array.of(0x81, 1));
  assertEquals(packBits(Uint8Array.of(255, 128), 8), Uint8Array.of(255, 128));
  assertEquals(packBits(new Uint8Array(0), 5), new Uint8Array(0));
});

Deno.test("unpackBits undoes packBits for every width and length", () => {
  const arbitrary = fc.integer({ min: 1, max: 8 }).chain((bits) =>
    fc.tuple(fc.constant(bits), fc.uint8Array({ max: 2 ** bits - 1, maxLength: 200 }))
  );
  fc.assert(
    fc.property(arbitrary, ([bits, codes]) => {
      const packed = packBits(codes, bits);
      assertEquals(packed.length, packedBytes(codes.length, bits));
      assertEquals(unpackBits(packed, bits, codes.length), codes);
    }),
    { seed: 1, numRuns: 500 },
  );
});

Deno.test("packBits is the stream its formula says, bit by bit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.uint8Array({ minLength: 1, maxLength: 60 }), (bits, raw) => {
      const codes = raw.map((c) => c & ((1 << bits) - 1));
      const packed = packBits(codes, bits);
      for (let n = 0; n < packed.length * 8; n++) {
        const expected = n < codes.length * bits ? (codes[Math.floor(n / bits)] >> (n % bits)) & 1 : 0;
        assertEquals((packed[n >> 3] >> (n & 7)) & 1, expected);
      }
    }),
    { seed: 2, numRuns: 100 },
  );
});

Deno.test("bit packing names what is wrong", () => {
  assertThrows(() => packBits(Uint8Array.of(0, 4), 2), RangeError, "code 1 is 4");
  assertThrows(() => packBits(Uint8Array.of(0), 9), RangeError, "bits is 9");
  assertThrows(() => packBits(Uint8Array.of(0), 1.5), RangeError, "bits is 1.5");
  assertThrows(() => unpackBits(new Uint8Array(1), 0, 1), RangeError, "bits is 0");
  assertThrows(() => unpackBits(new Uint8Array(1), 3, 3), RangeError, "wanted at least 2");
  assertThrows(() => unpackBits(new Uint8Array(1), 3, -1), RangeError, "count is -1");
});
