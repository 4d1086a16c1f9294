/** Mutated headers, indexes and configs: each is read or refused with an error by kind, without a hang, a crash or memory beyond the file's. */
import { assert, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type ByteSource, memorySource } from "../../lib/format/byte_source.ts";
import { encodeSafetensors, joinChunks, openSafetensors } from "../../lib/format/safetensors.ts";
import { openShards, type TensorSource } from "../../lib/format/shards.ts";
import { blockWeights, weightShape } from "../../lib/model/architecture.ts";
import { familyOf } from "../../lib/model/families/families.ts";
import { parseJsonObject } from "../../lib/checkpoint/files/file_source.ts";
import { familyConfigs } from "../model/tiny.ts";

const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => i);
const shards: Readonly<Record<string, Uint8Array>> = {
  [one]: joinChunks(encodeSafetensors({
    "model.layers.0.q.weight": { dtype: "BF16", shape: [4, 6], bytes: bytes(48) },
    "model.norm.weight": { dtype: "F32", shape: [3], bytes: bytes(12) },
  }, { format: "pt" })),
  [two]: joinChunks(encodeSafetensors({
    "lm_head.weight": { dtype: "F16", shape: [5, 2], bytes: bytes(20) },
    "model.layers.0.codes": { dtype: "U8", shape: [7], bytes: bytes(7) },
  })),
};
const index = JSON.stringify({
  metadata: { total_size: 87 },
  weight_map: {
    "model.layers.0.q.weight": one,
    "model.norm.weight": one,
    "lm_head.weight": two,
    "model.layers.0.codes": two,
  },
});

interface Edit {
  readonly at: number;
  readonly kind: "set" | "drop" | "insert" | "cut" | "repeat";
  readonly text: string;
}

/** One to three edits of a text, with characters that JSON, paths and numbers care about. */
const edits: fc.Arbitrary<Edit[]> = fc.array(
  fc.record({
    at: fc.nat({ max: 1_000_000 }),
    kind: fc.constantFrom("set", "drop", "insert", "cut", "repeat"),
    text: fc.oneof(
      fc.constantFrom(...'{}[]",:0123456789-.eE\\/ ntf\u0000\u00ff'),
      fc.constantFrom("null", "1e999", "-1", "9007199254740993", "../", "/", '"a":1,', "__proto__", "\ud800"),
    ),
  }),
  { minLength: 1, maxLength: 3 },
);

function edited(text: string, list: readonly Edit[]): string {
  for (const { at, kind, text: put } of list) {
    const i = at % Math.max(1, text.length);
    if (kind === "set") text = text.slice(0, i) + put + text.slice(i + 1);
    else if (kind === "drop") text = text.slice(0, i) + text.slice(i + 1);
    else if (kind === "insert") text = text.slice(0, i) + put + text.slice(i);
    else if (kind === "cut") text = text.slice(0, i);
    else text = text.slice(0, i) + text.slice(Math.max(0, i - 40));
  }
  return text;
}

/** A source that counts what is asked of it, and refuses to be asked for more than it has. */
function counted(name: string, content: Uint8Array, asked: { bytes: number }): ByteSource {
  const inner = memorySource(name, content);
  return {
    ...inner,
    read(offset, length) {
      asked.bytes += length;
      assert(offset >= 0 && length >= 0 && offset + length <= inner.size, `[${offset}, +${length}) of ${inner.size}`);
      return inner.read(offset, length);
    },
  };
}

/** Reads everything; whatever fails must fail by kind. Whether it opened. */
async function readAll(open: () => Promise<TensorSource>): Promise<boolean> {
  try {
    const source = await open();
    for (const name of source.names) {
      const { dtype, shape } = source.info(name);
      await source.read(name);
      if (["F32", "F16", "BF16"].includes(dtype)) await source.readFloat(name);
      if (shape.length === 2 && dtype === "BF16") await source.readRows(name, 0, shape[0]);
    }
    return true;
  } catch (error) {
    assert(error instanceof SyntaxError, `wanted SyntaxError, found ${error}`);
    return false;
  }
}

const runs = { numRuns: 300, seed: 20 };
const size = Object.values(shards).reduce((sum, { length }) => sum + length, 0);

Deno.test("300 mutated indexes: shards open or are refused, and only plain names are opened", async () => {
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(edits, async (list) => {
      const asked = { bytes: 0 };
      const open = (file: string) => {
        assert(/^[^/\\]+\.safetensors$/.test(file), file);
        if (!Object.hasOwn(shards, file)) return Promise.reject(new SyntaxError(`no ${file}`));
        return Promise.resolve(counted(file, shards[file], asked));
      };
      if (await readAll(() => openShards("index.json", edited(index, list), open))) opened++;
      assert(asked.bytes <= 4 * size);
    }),
    runs,
  );
  assert(opened > 5 && opened < 150, `${opened} of 300 opened: the test does not test`);
});

Deno.test("300 mutated headers of one shard: shards open or are refused, and no byte beyond the file is asked for", async () => {
  const prefix = (text: string) => {
    const head = new TextEncoder().encode(text);
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(head.length), true);
    return [length, head];
  };
  const header = Number(new DataView(shards[one].buffer).getBigUint64(0, true));
  const text = new TextDecoder().decode(shards[one].subarray(8, 8 + header));
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(edits, async (list) => {
      const asked = { bytes: 0 };
      const mutated = joinChunks([...prefix(edited(text, list)), shards[one].subarray(8 + header)]);
      const open = (file: string) => Promise.resolve(counted(file, file === one ? mutated : shards[file], asked));
      if (await readAll(() => openShards("index.json", index, open))) opened++;
      assert(asked.bytes <= 4 * (size + mutated.length));
    }),
    runs,
  );
  assert(opened > 1 && opened < 200, `${opened} of 300 opened: the test does not test`);
});

/** What a tampered or foreign config may hold in a field. */
const odd = fc.constantFrom<unknown>(
  ...[null, true, false, "", "silu", "1", [], [1], {}, { factor: 2 }, 0, -1, 0.5, 3, 1e300, 2 ** 53, -0, 7, 1024],
);

/** The architecture that a config text gives, or undefined when it is refused by kind. */
function architectureOf(text: string) {
  try {
    const config = parseJsonObject("config.json", text);
    return familyOf(config, "config.json").architecture(config, "config.json");
  } catch (error) {
    assert(error instanceof SyntaxError || error instanceof RangeError || error instanceof TypeError, `${error}`);
    const { message } = error as Error;
    assert(!/undefined|is not a function|Invalid array length|call stack/.test(message), message);
    assert(message.includes("config.json"), message);
    return undefined;
  }
}

for (const [family, config] of Object.entries(familyConfigs)) {
  Deno.test(`300 mutated configs of ${family}: each gives sizes that can be computed with, or is refused by name`, () => {
    const fields = Object.keys(config);
    const text = fc.oneof(
      edits.map((list) => edited(JSON.stringify(config), list)),
      fc.array(fc.tuple(fc.constantFrom(...fields), odd), { minLength: 1, maxLength: 2 })
        .map((changes) => JSON.stringify({ ...config, ...Object.fromEntries(changes) })),
      fc.constantFrom(...fields).map((field) => JSON.stringify({ ...config, [field]: undefined })),
    );
    let opened = 0;
    fc.assert(
      fc.property(text, (mutated) => {
        const a = architectureOf(mutated);
        if (!a) return;
        opened++;
        const { layers, width, heads, kvHeads, headSize, hidden, vocabSize, maxLength, maskId } = a;
        for (const n of [layers, width, heads, kvHeads, headSize, hidden, vocabSize, maxLength]) {
          assert(Number.isSafeInteger(n) && n > 0, `${n} of ${mutated}`);
        }
        assert(maskId >= 0 && maskId < vocabSize && heads % kvHeads === 0 && headSize % 2 === 0, mutated);
        assert(a.epsilon > 0 && a.ropeTheta > 0 && Number.isFinite(a.ropeTheta), mutated);
        const weights = blockWeights(a);
        assert(weights.length < 100_000, `${weights.length} weights in a block of ${mutated}`);
        for (const name of weights) assert(weightShape(a, name).every((n) => Number.isSafeInteger(n) && n > 0), name);
      }),
      runs,
    );
    assert(opened > 5 && opened < 290, `${opened} of 300 gave an architecture: the test does not test`);
  });
}

Deno.test("texts that nest very deep or say one thing very often are refused without a crash", async () => {
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  const open = () => Promise.reject(new SyntaxError("no shard"));
  const texts = [deep, `{"weight_map":${deep}}`, `{"weight_map":{"a":${deep}}}`, `{"metadata":${deep}}`];
  texts.push(`{"weight_map":{${'"a":"x.safetensors",'.repeat(100_000)}"b":"x.safetensors"}}`, '"'.repeat(1_000_000));
  for (const text of texts) {
    const error = await assertRejects(() => openShards("index.json", text, open));
    assert(error instanceof SyntaxError || error instanceof RangeError, `${error}`);
    const head = new TextEncoder().encode(text.replace("weight_map", "tensor"));
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(head.length), true);
    const refused = await assertRejects(() => openSafetensors(memorySource("m", joinChunks([length, head]))));
    assert(refused instanceof SyntaxError || refused instanceof RangeError, `${refused}`);
    const thrown = assertThrows(() => {
      const config = parseJsonObject("config.json", text);
      familyOf(config, "config.json").architecture(config, "config.json");
    });
    assert(thrown instanceof SyntaxError || thrown instanceof RangeError, `${thrown}`);
  }
});
