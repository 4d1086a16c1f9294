import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type ByteSource, memorySource } from "../../lib/format/byte_source.ts";
import {
  type Dtype,
  encodeSafetensors,
  joinChunks,
  openSafetensors,
  type TensorBytes,
} from "../../lib/format/safetensors.ts";
import { dtypeBytes, maxHeaderBytes } from "../../lib/format/safetensors_header.ts";

/** A file from a header (text or value) and data, with the true header length unless another is given. */
function file(header: unknown, data: Uint8Array = new Uint8Array(0), length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  return joinChunks([prefix, text, data]);
}

const tensor = (dtype: Dtype, shape: number[]): TensorBytes => ({
  dtype,
  shape,
  bytes: Uint8Array.from({ length: shape.reduce((a, n) => a * n, dtypeBytes[dtype]) }, (_, i) => (i * 37 + 11) & 255),
});

const entry = (dtype: string, shape: unknown, data_offsets: unknown) => ({ dtype, shape, data_offsets });

Deno.test("encode then open gives back every tensor, and the bytes do not depend on the order given", async () => {
  const one = fc.tuple(
    fc.constantFrom(...Object.keys(dtypeBytes) as Dtype[]),
    fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
  );
  const name = fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom("__proto__", "7", "é\u0000", "constructor"));
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(name, one), { selector: ([n]) => n, maxLength: 8 }),
      fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 }), { maxKeys: 3 }),
      async (list, metadata) => {
        const tensors = list.map(([n, [dtype, shape]]) => [n, tensor(dtype, shape)] as const);
        const bytes = joinChunks(encodeSafetensors(tensors, metadata));
        assertEquals(joinChunks(encodeSafetensors([...tensors].reverse(), metadata)), bytes);
        assertEquals(new DataView(bytes.buffer).getBigUint64(0, true) % 8n, 0n);
        const opened = await openSafetensors(memorySource("t", bytes), { aligned: true });
        assertEquals([...opened.names].sort(), tensors.map(([n]) => n).sort());
        assertEquals({ ...opened.metadata }, { ...metadata });
        for (const [n, t] of tensors) {
          assertEquals(opened.info(n), { dtype: t.dtype, shape: t.shape, bytes: t.bytes.length });
          assertEquals(await opened.read(n), t.bytes);
        }
      },
    ),
    { seed: 3, numRuns: 200 },
  );
});

Deno.test("a file laid out by hand reads as the format says, unaligned tensors and trailing spaces included", async () => {
  const header = { b: entry("F16", [2], [1, 5]), a: entry("U8", [1], [0, 1]), __metadata__: { format: "pt" } };
  const data = Uint8Array.of(9, 0x00, 0x3c, 0x00, 0xc0); // 9, then half 1 and -2
  const bytes = file(JSON.stringify(header) + "   ", data);
  const opened = await openSafetensors(memorySource("hand", bytes));
  assertEquals(opened.names, ["a", "b"]);
  assertEquals(opened.metadata, { format: "pt" });
  assertEquals(await opened.readFloat("b"), Float32Array.of(1, -2));
  assertEquals(await opened.read("a"), Uint8Array.of(9));
  assert(opened.has("a") && !opened.has("c"));
  await assertRejects(
    () => openSafetensors(memorySource("hand", bytes), { aligned: true }),
    SyntaxError,
    "multiple of 2",
  );
  await assertRejects(() => opened.readFloat("a"), TypeError, "dtype is U8");
  await assertRejects(() => opened.read("c"), RangeError, '"c"');
});

Deno.test("readFloat converts F32, F16 and BF16", async () => {
  const words = (...w: number[]) => new Uint8Array(Uint16Array.from(w).buffer);
  const opened = await openSafetensors(memorySource(
    "f",
    joinChunks(encodeSafetensors({
      f32: { dtype: "F32", shape: [2], bytes: new Uint8Array(Float32Array.of(0.1, -3).buffer) },
      f16: { dtype: "F16", shape: [3], bytes: words(0x3c00, 0x0001, 0xfc00) },
      bf16: { dtype: "BF16", shape: [1, 2], bytes: words(0x3f80, 0xc040) },
    })),
  ));
  assertEquals(await opened.readFloat("f32"), Float32Array.of(0.1, -3));
  assertEquals(await opened.readFloat("f16"), Float32Array.of(1, 2 ** -24, -Infinity));
  assertEquals(await opened.readFloat("bf16"), Float32Array.of(1, -3));
});

const good = entry("F32", [2], [0, 8]);
const eight = new Uint8Array(8);
const malformedFiles: Record<string, [Uint8Array, string]> = {
  "no length": [new Uint8Array(7), "7 bytes long"],
  "header beyond the file": [file("{}", eight, 11n), "header length is 11 bytes but only 10"],
  "absurd header length": [file("{}", eight, 2n ** 64n - 1n), "18446744073709551615"],
  "not JSON": [file('{"a":', eight), "not valid JSON"],
  "an array": [file("[]"), 'wanted "{"'],
  "empty header": [file("", eight), "not a JSON object"],
  "not UTF-8": [joinChunks([Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0), Uint8Array.of(0x7b, 0xff)]), "UTF-8"],
  "duplicate tensor": [
    file(`{"a":${JSON.stringify(good)},"\\u0061":${JSON.stringify(good)}}`, eight),
    '"a" occurs twice',
  ],
  "duplicate field": [
    file('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight),
    '"dtype" occurs twice',
  ],
  "metadata of numbers": [file({ __metadata__: { step: 1 } }), 'field "step"'],
  "metadata list": [file({ __metadata__: [] }), '"__metadata__" is an array'],
  "entry is null": [file({ a: null }), 'tensor "a" is null'],
  "dtype unknown": [file({ a: entry("F12", [2], [0, 8]) }, eight), '"F12"'],
  "dtype inherited": [file({ a: entry("toString", [2], [0, 8]) }, eight), '"toString"'],
  "dtype missing": [file({ a: { shape: [2], data_offsets: [0, 8] } }, eight), "dtype missing"],
  "shape negative": [file({ a: entry("F32", [-2], [0, 8]) }, eight), "shape [-2]"],
  "shape fraction": [file({ a: entry("F32", [2.5], [0, 8]) }, eight), "shape [2.5]"],
  "shape missing": [file({ a: { dtype: "F32", data_offsets: [0, 8] } }, eight), "shape (missing)"],
  "shape overflow": [file({ a: entry("F32", [2 ** 30, 2 ** 30], [0, 8]) }, eight), "overflows"],
  "offsets reversed": [file({ a: entry("F32", [2], [8, 0]) }, eight), "begin <= end"],
  "offsets three": [file({ a: entry("F32", [2], [0, 4, 8]) }, eight), "begin, end"],
  "offsets out of range": [file({ a: entry("F32", [4], [0, 16]) }, eight), "beyond the 8 bytes"],
  "length against shape": [file({ a: entry("F32", [1], [0, 8]) }, eight), "wanted 4"],
  "overlap": [file({ a: good, b: entry("F32", [1], [4, 8]) }, eight), 'overlap tensor "a"'],
  "hole": [file({ a: entry("F32", [1], [0, 4]), b: entry("F32", [1], [8, 12]) }, new Uint8Array(12)), "hole"],
  "data left over": [file({ a: good }, new Uint8Array(9)), "end at byte 8"],
  "data truncated": [file({ a: good }, new Uint8Array(7)), "beyond the 7 bytes"],
};

for (const [name, [bytes, message]] of Object.entries(malformedFiles)) {
  Deno.test(`malformed safetensors: ${name}`, async () => {
    const error = await assertRejects(
      () => openSafetensors(memorySource("models/x.safetensors", bytes)),
      SyntaxError,
      message,
    );
    assert(error.message.includes('"models/x.safetensors"'), error.message);
    assert(error.message.includes("again"), "the message says what to do");
  });
}

/** A source that refuses to hand out a byte beyond its end, and claims any size. */
function strict(bytes: Uint8Array, size = bytes.length): ByteSource {
  return {
    name: "strict",
    size,
    read(offset, length) {
      assert(offset >= 0 && length >= 0 && offset + length <= size, `read [${offset}, ${offset + length}) of ${size}`);
      assert(length <= maxHeaderBytes);
      return Promise.resolve(bytes.slice(offset, offset + length));
    },
  };
}

Deno.test("a header length above the cap is refused before it is read, however large the file", async () => {
  const bytes = file("{}", eight, BigInt(maxHeaderBytes) + 1n);
  await assertRejects(() => openSafetensors(strict(bytes, 2 ** 40)), SyntaxError, `at most ${maxHeaderBytes}`);
});

Deno.test("a file that ends early while a tensor is read says so", async () => {
  const whole = file({ a: good }, eight);
  const opened = await openSafetensors(strict(whole.subarray(0, whole.length - 3), whole.length));
  await assertRejects(() => opened.read("a"), SyntaxError, "ended early");
});

Deno.test("300 mutated files: each opens or is refused with SyntaxError, and nothing beyond the file is read", async () => {
  const valid = joinChunks(encodeSafetensors(
    { "w.q": tensor("F32", [2, 3]), "w.k": tensor("BF16", [4]), codes: tensor("U8", [5]), ids: tensor("I64", [1]) },
    { format: "pt" },
  ));
  const headerEnd = 8 + Number(new DataView(valid.buffer).getBigUint64(0, true));
  const interesting = [...'{}[]",:0123456789-.eE\\ ntf\u0000\u00ff'].map((c) => c.charCodeAt(0));
  const edit = fc.record({
    at: fc.nat({ max: headerEnd - 1 }),
    kind: fc.constantFrom("set", "drop", "insert", "cut"),
    value: fc.oneof(fc.constantFrom(...interesting), fc.integer({ min: 0, max: 255 })),
  });
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), fc.boolean(), async (edits, fixLength) => {
      let bytes = [...valid];
      for (const { at, kind, value } of edits) {
        if (kind === "set") bytes[at] = value;
        else if (kind === "drop") bytes.splice(at, 1);
        else if (kind === "insert") bytes.splice(at, 0, value);
        else bytes = bytes.slice(0, at);
      }
      const mutated = Uint8Array.from(bytes);
      if (fixLength && mutated.length >= 8) { // so that edits reach the parser rather than the length check
        const length = Math.max(0, headerEnd - 8 + mutated.length - valid.length);
        new DataView(mutated.buffer).setBigUint64(0, BigInt(length), true);
      }
      try {
        const opened = await openSafetensors(strict(mutated));
        for (const name of opened.names) assertEquals((await opened.read(name)).length, opened.info(name).bytes);
      } catch (error) {
        assert(error instanceof SyntaxError, `wanted SyntaxError, found ${error}`);
        refused++;
      }
    }),
    { seed: 4, numRuns: 300 },
  );
  assert(refused > 100, `only ${refused} mutations were refused: the test does not test`);
});

Deno.test("encodeSafetensors refuses what would not read back", () => {
  const u8 = tensor("U8", [2]);
  assertThrows(() => encodeSafetensors({ __metadata__: u8 }), RangeError, "reserved");
  assertThrows(() => encodeSafetensors([["a", u8], ["a", u8]]), RangeError, "twice");
  assertThrows(() => encodeSafetensors({ a: { ...u8, shape: [3] } }), TypeError, "wanted 3");
  assertThrows(() => encodeSafetensors({ a: { ...u8, shape: [-2, -1] } }), TypeError, "non-negative");
  assertThrows(() => encodeSafetensors({ a: { ...u8, dtype: "F12" as Dtype } }), TypeError, "F12");
  assertThrows(() => encodeSafetensors({ a: u8 }, { n: 1 as unknown as string }), TypeError, "wanted a string");
});
