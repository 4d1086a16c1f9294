import { assert, assertEquals, assertRejects } from "@std/assert";
import { linears, linearShape } from "../../lib/model/architecture.ts";
import { Engine } from "../../lib/model/engine.ts";
import { PackedForward } from "../../lib/packed/forward.ts";
import { PackedHead } from "../../lib/packed/head.ts";
import { PACKED_UP_TO } from "../../lib/packed/route.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { SessionHost } from "../../lib/runtime/session_host.ts";
import { QuantizedSource } from "../../lib/model/weights.ts";
import type { QuantizedLinear } from "../../lib/quant/method.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { distance } from "../layers.ts";
import { LOGITS_PACKED_FLOAT, LOGITS_PACKED_INT8 } from "../tolerances.ts";
import { randomBlocks, randomUniform } from "./layers.ts";
import { denseForward, logits, packedSource, relative, typical } from "./model.ts";
import { architectureOf, familyConfigs, randomTokens, tinyConfig } from "../model/tiny.ts";

Deno.test("a model runs from its packed weights as from what they decode to", async (t) => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  for (const [name, config] of Object.entries({ LLaDA: tinyConfig(), ...familyConfigs })) {
    await t.step(name, async () => {
      await using engine = new Engine(runtime, architectureOf(config));
      const { layers, vocabSize } = engine.architecture;
      const parts = packedSource(config);
      const dense = denseForward(engine, parts);
      for (const [batch, time] of [[1, 1], [2, 9]]) {
        const tokens = randomTokens(batch * time, 3);
        const wanted = await logits(dense, tokens, { layers, batch });
        await using float = new PackedForward(engine, parts.source, parts.names, { accuracyLevel: 0 });
        const got = await logits(float, tokens, { layers, batch });
        assertEquals(got.shape, [batch * time, vocabSize]);
        assert(relative(got.data, wanted.data) <= LOGITS_PACKED_FLOAT, `${relative(got.data, wanted.data)}`);
        await using int8 = new PackedForward(engine, parts.source, parts.names);
        const rounded = typical((await logits(int8, tokens, { layers, batch })).data, wanted.data, batch * time);
        if (time > 1) console.log(`int8 activations, ${name}: ${(100 * rounded).toFixed(2)} % of a token's logits`);
        assert(rounded > 1e-5 && rounded <= LOGITS_PACKED_INT8, `int8 activations: ${rounded}`);
        const rows = Int32Array.of(batch * time - 1, 0);
        const some = await logits(float, tokens, { layers, batch, rows });
        const all = (i: number) => got.data.subarray(rows[i] * vocabSize, (rows[i] + 1) * vocabSize);
        assert(distance(some.data, Float32Array.of(...all(0), ...all(1))) <= 1e-6);
      }
    });
  }
});

Deno.test("routes say how every matrix runs", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  await using engine = new Engine(runtime, architectureOf(tinyConfig()));
  const { source, names } = packedSource(tinyConfig());
  await using forward = new PackedForward(engine, source, names);
  const seen: number[] = [];
  await forward.open((done, total) => seen.push(done, total));
  assertEquals(seen, [1, 2, 2, 2]);
  const wanted = [0, 1].flatMap((layer) => linears(engine.architecture).map((l) => names.block(layer, l)));
  assertEquals(forward.routes.map((r) => r.name), [...wanted, names.head]);
  assertEquals(forward.routes.slice(0, 6).map((r) => r.route), [
    "native",
    "exact",
    "native",
    "mixed",
    "native",
    "dense",
  ]);
  assertEquals(forward.routes[1].reason, "sign planes: 1, 2 per block");
});

Deno.test("long sequences take the float32 weights where they are held", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const config = tinyConfig({ max_sequence_length: 2 * PACKED_UP_TO });
  await using engine = new Engine(runtime, architectureOf(config));
  const { source, names } = packedSource(config);
  const three = new QuantizedSource(source.base, async (name) => {
    const q = await source.lookup(name);
    return q && q.shape[0] !== engine.architecture.vocabSize
      ? randomBlocks("binary", { rows: q.shape[0], cols: q.shape[1], group: 8, orders: [3], scale: 0.1 })
      : q;
  });
  const dense = denseForward(engine, { source: three, names });
  for (const [time, asDense] of [[PACKED_UP_TO, false], [PACKED_UP_TO + 1, true]] as const) {
    const x = await dense.embed(randomTokens(time, 1), 1);
    const wanted = (await dense.block(0, x)).data;
    await using packed = new PackedForward(engine, three, names);
    await using held = new PackedForward(engine, three, names, { denseBytes: 2 ** 20 });
    assert(relative((await packed.block(0, x)).data, wanted) > 1e-4);
    assertEquals(relative((await held.block(0, x)).data, wanted) <= 1e-6, asDense);
    const part = await held.window(0, x, { from: 0, past: { k: new Float32Array(0), v: new Float32Array(0) } });
    assertEquals(part.x.data, (await held.block(0, x)).data);
  }
});

Deno.test("blocks on other threads give the same numbers, and leave what they were made from", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  await using engine = new Engine(runtime, architectureOf(tinyConfig({ n_layers: 5 })));
  const { source, names } = packedSource(tinyConfig({ n_layers: 5 }));
  await using one = new SessionHost({ threads: 1 });
  await using two = new SessionHost({ threads: 1 });
  await using here = new PackedForward(engine, source, names);
  await using there = new PackedForward(engine, source, names, { hosts: [one, two] });
  const seen: number[] = [];
  await there.open((done) => seen.push(done));
  assertEquals(seen, [1, 2, 3, 4, 5]);
  const options = { layers: 5, batch: 1 }, tokens = randomTokens(7, 2);
  for (let repeat = 0; repeat < 2; repeat++) {
    assertEquals(await logits(there, tokens, options), await logits(here, tokens, options));
  }
  await assertRejects(() => one.session(new Uint8Array(4)), Error, "protobuf");
});

Deno.test("what other threads take away are copies", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const config = tinyConfig({ d_model: 32, n_layers: 1 }), a = architectureOf(config);
  await using engine = new Engine(runtime, a);
  const { source, names } = packedSource(config);
  // Codes that the kernel takes as they are stored, and vectors that stay in memory.
  const held = new Map<string, QuantizedLinear>(), vectors = new Map<string, Float32Array>();
  const matrices = [
    ...linears(a).map((l) => [names.block(0, l), ...linearShape(a, l)] as const),
    [names.head, 23, 32] as const,
  ];
  for (const [name, rows, cols] of matrices) {
    held.set(name, { ...randomUniform({ rows, cols, group: 32, bits: 4, symmetric: true, scale: 0.02 }), name });
  }
  const base = {
    ...source.base,
    readFloat: async (name: string) => {
      if (!vectors.has(name)) vectors.set(name, await source.base.readFloat(name));
      return vectors.get(name)!;
    },
  };
  await using host = new SessionHost({ threads: 1 });
  const same = new QuantizedSource(base, (name) => held.get(name));
  const options = { layers: 1, batch: 1 }, tokens = randomTokens(5, 2);
  await using here = new PackedForward(engine, same, names);
  const wanted = await logits(here, tokens, options);
  for (let repeat = 0; repeat < 2; repeat++) {
    await using there = new PackedForward(engine, same, names, { hosts: [host] });
    assertEquals(await logits(there, tokens, options), wanted);
  }
});

Deno.test("a head in several sessions gives what it gives in one", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  const a = { ...architectureOf(tinyConfig()), vocabSize: 21 };
  const norm = Float32Array.from({ length: 16 }, (_, i) => 1 + i / 16);
  const x = { batch: 1, time: 5, data: Float32Array.from({ length: 80 }, (_, i) => Math.sin(i)) };
  const shape = { rows: 21, cols: 16, group: 16 };
  for (
    const q of [
      randomUniform({ ...shape, bits: 4, symmetric: true }),
      randomUniform({ ...shape, bits: 3, symmetric: false }), // rows whose zero points fill no byte
      randomBlocks("binary", { ...shape, group: 8, orders: [4, 1] }),
    ]
  ) {
    await using one = await PackedHead.open([runtime], a, norm, q);
    await using three = await PackedHead.open([runtime], a, norm, q, { rowsPerSession: 8 });
    assertEquals([one.sessions.length, three.sessions.length], [1, 3]);
    assertEquals((await three.logits(x)).data, (await one.logits(x)).data, q.name);
  }
});

Deno.test("a stored form of another shape is refused, and so are sequences beyond the model's", async () => {
  await using runtime = await openRuntime({ device: "cpu", threads: 1 });
  await using engine = new Engine(runtime, architectureOf(tinyConfig()));
  const { source, names } = packedSource(tinyConfig());
  const wrong = randomBlocks("levels", { rows: 16, cols: 24, group: 8, orders: [2] });
  assertEquals(dequantize(wrong).shape, [16, 24]);
  await using forward = new PackedForward(engine, new QuantizedSource(source.base, () => wrong), names);
  const x = { batch: 1, time: 1, data: new Float32Array(16) };
  await assertRejects(() => forward.block(0, x), TypeError, "it is [16,24], the model wants [16,16]");
  await using other = new PackedForward(engine, source, names);
  const long = { batch: 1, time: 25, data: new Float32Array(16 * 25) };
  await assertRejects(() => other.block(0, long), RangeError, "longest sequence is 24");
});
