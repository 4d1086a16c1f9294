import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { type ByteSource, memorySource } from "../../lib/format/byte_source.ts";
import {
  decodeFloats,
  type Dtype,
  encodeSafetensors,
  joinChunks,
  openSafetensors,
  type TensorBytes,
} from "../../lib/format/safetensors.ts";
import { dtypeBytes } from "../../lib/format/safetensors_header.ts";
import { openShards, type TensorSource } from "../../lib/format/shards.ts";

const tensor = (dtype: Dtype, shape: number[], seed = 1): TensorBytes => ({
  dtype,
  shape,
  bytes: Uint8Array.from(
    { length: shape.reduce((a, n) => a * n, dtypeBytes[dtype]) },
    (_, i) => (i * 37 + 11 * seed) & 127,
  ),
});

type Shards = Record<string, Record<string, TensorBytes>>;

const indexName = "models/x/model.safetensors.index.json";
const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const whole: Shards = {
  [one]: { "a.weight": tensor("BF16", [3, 4]), "b.weight": tensor("F32", [2]) },
  [two]: { "c.weight": tensor("F16", [5, 2], 3), codes: tensor("U8", [7]) },
};

function indexOf(shards: Shards, changes: Record<string, unknown> = {}, total?: number): string {
  const map = Object.entries(shards).flatMap(([file, tensors]) => Object.keys(tensors).map((name) => [name, file]));
  const sum = Object.values(shards).flatMap((t) => Object.values(t)).reduce((a, { bytes }) => a + bytes.length, 0);
  return JSON.stringify({
    metadata: { total_size: total ?? sum },
    weight_map: { ...Object.fromEntries(map), ...changes },
  });
}

/** Opens shards in memory and counts the bytes that are asked of them. */
function opened(shards: Shards, text: string) {
  const asked = { bytes: 0, files: [] as string[], beyond: 0 };
  const open = (file: string): Promise<ByteSource> => {
    asked.files.push(file);
    if (!Object.hasOwn(shards, file)) return Promise.reject(new SyntaxError(`no ${file}`));
    const source = memorySource(`models/x/${file}`, joinChunks(encodeSafetensors(shards[file])));
    return Promise.resolve({
      ...source,
      read: (offset, length) => {
        asked.bytes += length;
        if (offset + length > source.size) asked.beyond++;
        return source.read(offset, length);
      },
    });
  };
  return { asked, source: openShards(indexName, text, open) };
}

Deno.test("shards answer as their files do, tensor by tensor and row by row, in one pass over the files", async () => {
  const { source: opening } = opened(whole, indexOf(whole));
  const source: TensorSource = await opening;
  assertEquals(source.name, indexName);
  assertEquals(source.names, ["b.weight", "a.weight", "c.weight", "codes"]);
  for (const tensors of Object.values(whole)) {
    for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
      assert(source.has(name));
      assertEquals(source.info(name), { dtype, shape, bytes: bytes.length });
      assertEquals(await source.read(name), bytes);
      if (dtype === "U8") continue;
      const floats = decodeFloats(dtype as "F32", bytes);
      assertEquals(await source.readFloat(name), floats);
      const into = new Float32Array(floats.length + 2).fill(7);
      assertEquals((await source.readFloat(name, into.subarray(1, -1))).buffer, into.buffer);
      assertEquals(into, Float32Array.of(7, ...floats, 7));
      if (shape.length === 2) assertEquals(await source.readRows(name, 1, 3), floats.slice(shape[1], 3 * shape[1]));
    }
  }
  await assertRejects(() => source.read("d"), RangeError, '"d"');
  await assertRejects(() => source.readFloat("codes"), TypeError, "U8");
  await assertRejects(() => source.readFloat("a.weight", new Float32Array(11)), TypeError, "wanted 12");
  await assertRejects(() => source.readRows("b.weight", 0, 1), TypeError, "two dimensions");
});

Deno.test("opening costs the headers, and reading rows their bytes alone", async () => {
  const large: Shards = { [one]: { w: tensor("BF16", [1000, 64]) }, [two]: { v: tensor("BF16", [1000, 64]) } };
  const { asked, source } = opened(large, indexOf(large));
  const shards = await source;
  assert(asked.bytes < 400, `${asked.bytes} bytes were read to open`);
  asked.bytes = 0;
  await shards.readRows("v", 10, 13);
  assertEquals(asked.bytes, 3 * 64 * 2);
});

Deno.test("readRows of any range equals the slice of readFloat; ranges the tensor does not have are refused", async () => {
  const words = Uint16Array.from({ length: 65536 }, (_, i) => i); // every bfloat16, every half
  for (const dtype of ["BF16", "F16"] as const) {
    const bytes = new Uint8Array(words.buffer);
    const file = await openSafetensors(
      memorySource("m", joinChunks(encodeSafetensors({ w: { dtype, shape: [1024, 64], bytes } }))),
    );
    const all = await file.readFloat("w");
    const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
    if (dtype === "BF16") assertEquals(bits(all), Uint32Array.from(words, (w) => w << 16));
    else assertEquals(all, Float32Array.from(new Float16Array(words.buffer)));
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: -2, max: 1026 }), fc.integer({ min: -2, max: 1026 }), async (from, to) => {
        if (from < 0 || to > 1024 || from > to) {
          await assertRejects(() => file.readRows("w", from, to), RangeError, "1024 rows");
        } else assertEquals(bits(await file.readRows("w", from, to)), bits(all.slice(from * 64, to * 64)));
      }),
      { seed: 5, numRuns: 100 },
    );
    await assertRejects(() => file.readRows("w", 0.5, 2), RangeError);
  }
});

const text = indexOf(whole);
const withFile = (file: unknown) => indexOf(whole, { "a.weight": file });
const moved: Shards = { [one]: whole[two], [two]: whole[one] };
const extra: Shards = { ...whole, [two]: { ...whole[two], spare: tensor("U8", [3]) } };
const twice: Shards = { ...whole, [two]: { ...whole[two], "a.weight": whole[one]["a.weight"] } };
const lacking: Shards = { ...whole, [two]: { codes: whole[two].codes } };
const wrong: Record<string, [Shards, string, string]> = {
  "not JSON": [whole, text.slice(0, -1), "not valid JSON"],
  "a tensor named twice": [whole, text.replace('"codes":', '"b.weight":"x.safetensors","codes":'), "occurs twice"],
  "no map": [whole, "{}", '"weight_map" is missing'],
  "a list": [whole, "[]", '"weight_map" is missing'],
  "map is a list": [whole, '{"weight_map":[]}', '"weight_map" is []'],
  "empty map": [whole, '{"weight_map":{}}', "names no tensor"],
  "file is a number": [whole, withFile(3), '"a.weight" is 3'],
  "file is empty": [whole, withFile(""), 'is ""'],
  "file above": [whole, withFile("../x.safetensors"), "plain name"],
  "file below": [whole, withFile("sub/x.safetensors"), "plain name"],
  "file absolute": [whole, withFile("/etc/x.safetensors"), "plain name"],
  "file with backslash": [whole, withFile("..\\x.safetensors"), "plain name"],
  "file on a drive": [whole, withFile("C:x.safetensors"), "plain name"],
  "file is dots": [whole, withFile("..safetensors"), "plain name"],
  "file of another kind": [whole, withFile("pytorch_model.bin"), "plain name"],
  "shuffled shards": [moved, text, `places in ${JSON.stringify(two)}`],
  "extra tensor": [extra, text, `${JSON.stringify(two)} holds the tensor "spare", which it does not name`],
  "tensor in two shards": [twice, text, `"a.weight", which it places in ${JSON.stringify(one)}`],
  "missing tensor": [lacking, text, '"c.weight"'],
  "tensor in the wrong shard": [whole, withFile(two), `${JSON.stringify(one)} holds the tensor "a.weight"`],
};

for (const [name, [shards, index, message]] of Object.entries(wrong)) {
  Deno.test(`malformed shards: ${name}`, async () => {
    const { source, asked } = opened(shards, index);
    const error = await assertRejects(() => source, SyntaxError, message);
    assertStringIncludes(error.message, indexName);
    assertStringIncludes(error.message, "again"); // what to do
    assert(asked.files.every((file) => file === one || file === two), `${asked.files}`);
  });
}

Deno.test("metadata that is missing, null or off is told, where every tensor is there", async () => {
  const odd = (metadata: unknown) => JSON.stringify({ ...JSON.parse(text), metadata });
  for (const metadata of [undefined, null, "x", {}, { total_size: -1 }, { total_size: 60 }, { total_size: "59" }]) {
    const told: string[] = [];
    const open = (file: string) => Promise.resolve(memorySource(file, joinChunks(encodeSafetensors(whole[file]))));
    const { names } = await openShards(indexName, odd(metadata), open, (line) => told.push(line));
    assertEquals(names.length, Object.keys(JSON.parse(text).weight_map).length);
    assertEquals(told.length, 1);
    assertStringIncludes(told[0], "the shards hold 59 bytes");
  }
});

Deno.test("a shard cut short is refused when it is opened, and named", async () => {
  const bytes = joinChunks(encodeSafetensors(whole[one]));
  for (const length of [0, 7, 20, bytes.length - 1]) {
    const open = (file: string) => Promise.resolve(memorySource(`models/x/${file}`, bytes.subarray(0, length)));
    const error = await assertRejects(() => openShards(indexName, text, open), SyntaxError);
    assertStringIncludes(error.message, one);
  }
});
