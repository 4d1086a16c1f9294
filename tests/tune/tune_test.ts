import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { divergence } from "../../lib/diffusion/divergence.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import type { TextSource } from "../../lib/diffusion/text.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { blockWeights, linears } from "../../lib/model/architecture.ts";
import type { Model } from "../../lib/model/model.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { storedBits } from "../../lib/quant/forms/decode.ts";
import { scaled8 } from "../../lib/quant/forms/row_scales.ts";
import { except } from "../../lib/quant/except.ts";
import type { Method } from "../../lib/quant/method.ts";
import { bfloat16ToFloat, floatToBfloat16 } from "../../lib/tensor/half.ts";
import { Adam } from "../../lib/tune/adam.ts";
import { scheduled, type TuneOptions } from "../../lib/tune/options.ts";
import { tune } from "../../lib/tune/tune.ts";
import { tuned } from "../../lib/tune/tuned.ts";
import { arraysOf, familyConfigs, inFolder, randomTokens, snapshot, tinyConfig, tinyModel } from "../model/tiny.ts";

const TIME = 12;

/** Random windows; of each, some tokens are answers. */
function windowsOf(batch: number, seed: number, step: number) {
  const tokens = randomTokens(batch * TIME, 1000 * seed + step);
  const windows = Array.from({ length: batch }, (_, b) => tokens.slice(b * TIME, (b + 1) * TIME));
  return { windows, answers: windows.map((w) => Uint8Array.from(w, (_, p) => Number(p % 6 > 3))) };
}

const textOf = (batch: number): TextSource => (
  { name: "random", batch, length: TIME, draw: (seed, step) => windowsOf(batch, seed, step) }
);

const text = textOf(8), heldOut = windowsOf(32, 77, 0);

async function quantized(model: Model, method: Method): Promise<Model> {
  const calibration = simulateMasks({ windows: windowsOf(16, 50, 0).windows }, { maskId: model.maskId, seed: 1 });
  return await quantize(model, method, { calibration });
}

const bitsOf = (model: Model) => [...model.quantized.values()].map(storedBits);
const codesOf = (model: Model) => [...model.quantized.values()].map(({ tensors }) => tensors.codes.bytes);
const tensorsOf = (model: Model) => [...model.quantized.values()].map(({ tensors }) => tensors);

const methods: Readonly<Record<string, Method>> = {
  "levels": levels({ bits: 2, group: 16 }),
  "levels, 8-bit row scales": scaled8(levels({ bits: 2, group: 16 })),
  "binary planes": daq({ bits: 2, group: 16, profile: "official" }),
  "uniform grids": rtn({ bits: 2, group: 16 }),
};

for (const [name, method] of Object.entries(methods)) {
  Deno.test(`${name}: held-out divergence falls with scales alone and further with codes, at the same bits`, async () => {
    await using teacher = await tinyModel({ config: tinyConfig({ torch_dtype: "bfloat16" }) });
    const student = await quantized(teacher, method);
    const before = snapshot(student), stored = tensorsOf(student);
    const kl = async (model: Model) => {
      const { forward, answers } = await divergence(teacher, model, { text: heldOut, seed: 2 });
      return (forward + answers) / 2;
    };
    const untuned = await kl(student);
    const options = { text, steps: 120, seed: 1, rates: { latents: 0.05, scales: 1e-2 } };
    const scales = await tune(teacher, student, { ...options, what: "scales" });
    const codes = await tune(teacher, student, { ...options, what: "codes" });
    const [a, b] = [await kl(scales), await kl(codes)];
    assert(a < 0.7 * untuned && b < a, `${untuned} became ${a} and ${b}`);
    assertEquals(codesOf(scales), codesOf(student));
    assertNotEquals(codesOf(codes), codesOf(student));
    assertEquals([bitsOf(scales), bitsOf(codes)], [bitsOf(student), bitsOf(student)]);
    assertEquals(tensorsOf(codes).map(dtypes), stored.map(dtypes));
    assertEquals([snapshot(student), tensorsOf(student)], [before, stored], "the student changed");
  });
}

const dtypes = (tensors: ReturnType<typeof tensorsOf>[number]) =>
  Object.fromEntries(Object.entries(tensors).map(([name, { dtype, shape }]) => [name, [dtype, ...shape]]));

Deno.test("norms and biases move in the checkpoint's own type, or stay; what is no norm and not quantised stays", async () => {
  await using teacher = await tinyModel({ config: { ...familyConfigs["LLaDA-MoE"], qkv_bias: undefined } });
  const student = await quantized(teacher, rtn({ bits: 2, group: 8 }));
  const options: TuneOptions = { what: "scales", text, steps: 4, seed: 1, rates: { norms: 0.05 } };
  const [moved, kept] = [
    await tune(teacher, student, options),
    await tune(teacher, student, { ...options, norms: false }),
  ];
  const [old, own, still] = [student, moved, kept].map(arraysOf);
  const quantisable = new Set(linears(teacher.architecture));
  for (const [layer, block] of old.blocks.entries()) {
    for (const name of blockWeights(teacher.architecture)) {
      if (quantisable.has(name)) continue;
      const isNorm = name.endsWith("orm");
      assertEquals(still.blocks[layer][name], block[name]);
      if (!isNorm) assertEquals(own.blocks[layer][name], block[name]);
      else assertNotEquals(own.blocks[layer][name], block[name]);
      if (isNorm) assertEquals(bfloat16ToFloat(floatToBfloat16(own.blocks[layer][name])), own.blocks[layer][name]);
    }
  }
  assertNotEquals(own.finalNorm, old.finalNorm);
  assertEquals(still.finalNorm, old.finalNorm);
  assertEquals([own.embed, own.head], [old.embed, old.head]);
});

Deno.test("the same options give the same bytes, another seed others", async () => {
  await using teacher = await tinyModel();
  const student = await quantized(teacher, levels({ bits: 2, group: 8 }));
  const run = async (seed: number) => {
    const model = await tune(teacher, student, { what: "codes", text, steps: 3, seed, rates: { latents: 0.2 } });
    return [tensorsOf(model), snapshot(model)];
  };
  const first = await run(1);
  assertEquals(await run(1), first);
  assertNotEquals(await run(2), first);
});

for (const [name, config] of Object.entries(familyConfigs)) {
  Deno.test(`${name}: a tuned model predicts better, and answers the same when it is saved and loaded`, async () => {
    await using teacher = await tinyModel({ config });
    const student = await quantized(teacher, rtn({ bits: 2, group: 8 }));
    const after20 = await tune(teacher, student, { what: "codes", text, steps: 20, seed: 1, rates: { latents: 0.05 } });
    const [before, after] = [
      await divergence(teacher, student, { text: heldOut, seed: 2 }),
      await divergence(teacher, after20, { text: heldOut, seed: 2 }),
    ];
    assert(after.forward < before.forward && after.answers < before.answers, JSON.stringify([before, after]));
    await inFolder(async (folder) => {
      await saveModel(after20, folder);
      await using loaded = await loadModel(folder, { device: "cpu", threads: 1 });
      const tokens = heldOut.windows[0];
      assertEquals((await loaded.logits(tokens)).data, (await after20.logits(tokens)).data);
      assertEquals(loaded.provenance, after20.provenance);
      assertEquals(loaded.provenance.method, "rtn-2b-g8+tuned:codes-20-8x12-random-latents0.05");
    });
  });
}

Deno.test("progress tells the loss of each step, and the divergence on held-out windows when it is asked for", async () => {
  await using teacher = await tinyModel();
  const student = await quantized(teacher, rtn({ bits: 2, group: 8 }));
  const told: [number, boolean][] = [];
  let last: unknown;
  const result = await tune(teacher, student, {
    ...{ what: "scales", text, steps: 5, seed: 3, heldOut: { text: heldOut, every: 2 } },
    onProgress: ({ step, steps, kl, heldOut }) => {
      assert(kl! > 0 && steps === 5);
      told.push([step, heldOut !== undefined]);
      last = heldOut ?? last;
    },
  });
  assertEquals(told, [[1, false], [2, true], [3, false], [4, true], [5, true]]);
  assertEquals(last, await divergence(teacher, result, { text: heldOut, seed: 3 }));
});

Deno.test("what cannot be tuned is refused, and a stop is obeyed", async () => {
  await using teacher = await tinyModel();
  await using other = await tinyModel({ config: familyConfigs.Dream });
  const student = await quantized(teacher, rtn({ bits: 2, group: 8 }));
  const options: TuneOptions = { what: "scales", text, steps: 2, seed: 1 };
  await assertRejects(() => tune(teacher, teacher, options), TypeError, "none of its linears is quantised");
  await assertRejects(() => tune(teacher, student, { ...options, steps: 0 }), RangeError, "0 steps");
  await assertRejects(() => tune(teacher, student, { ...options, loss: { masked: 2 } }), TypeError, "loss.masked");
  await assertRejects(() => tune(teacher, student, { ...options, by: "block", loss: { kl: 1 } }), TypeError, "loss.kl");
  await assertRejects(() => tune(teacher, student, { ...options, pool: 3 }), TypeError, "pool");
  assertThrows(() => tuned(rtn({ bits: 2, group: 8 }), { ...options, steps: 1.5 }), RangeError, "1.5 steps");
  await assertRejects(() => tune(other, student, options), TypeError, "firstPredicted is 0, wanted 1");
  const masks = { forward: 0.5, answers: 0.1 };
  await assertRejects(() => tune(teacher, student, { ...options, masks }), RangeError, "a sum of one");
  const stop = new AbortController();
  const onProgress = () => stop.abort();
  await assertRejects(() => tune(teacher, student, { ...options, onProgress, signal: stop.signal }), DOMException);
});

Deno.test("a loss on hidden states falls when it is asked for, and stands in the name", async () => {
  await using teacher = await tinyModel();
  const student = await quantized(teacher, rtn({ bits: 2, group: 8 }));
  const errors: number[] = [];
  const model = await tune(teacher, student, {
    ...{ what: "scales", text, steps: 30, seed: 1, loss: { kl: 0, hidden: 1 }, rates: { scales: 1e-2 } },
    onProgress: ({ hidden, kl }) => {
      assert(kl! > 0);
      errors.push(hidden!);
    },
  });
  const mean = (x: number[]) => x.reduce((a, b) => a + b) / x.length;
  assert(mean(errors.slice(-5)) < 0.8 * mean(errors.slice(0, 5)), `${errors}`);
  assertEquals(model.provenance.method, "rtn-2b-g8+tuned:scales-30-8x12-random-kl0-hidden1-scales0.01");
});

Deno.test("a tuned method is its method, then tuned, whatever wraps it", async () => {
  await using teacher = await tinyModel();
  const options: TuneOptions = { what: "codes", text, steps: 3, seed: 1 };
  const method = levels({ bits: 2, group: 8 });
  const wanted = await tune(teacher, await quantized(teacher, method), options);
  const found = await quantized(teacher, tuned(method, options));
  assertEquals(found.provenance.method, `${method.name}+tuned:codes-3-8x12-random`);
  assertEquals([tensorsOf(found), snapshot(found)], [tensorsOf(wanted), snapshot(wanted)]);
  const rows8 = await quantized(teacher, scaled8(tuned(method, { ...options, norms: false })));
  assertEquals(rows8.provenance.method, `${method.name}-rows8+tuned:codes-3-8x12-random-no-norms`);
  assertEquals([...rows8.quantized.values()].map((q) => q.config.rowScaleBits), Array(14).fill(8));
  const head = rtn({ bits: 8, group: 16 });
  const excepted = await quantized(teacher, except(tuned(method, options), { head }));
  assertEquals(excepted.provenance.method, `${method.name}+tuned:codes-3-8x12-random+head:${head.name}`);
  assertEquals(excepted.quantized.size, 15);
});

Deno.test("a method may be tuned twice: block by block, then the scales by the model", async () => {
  await using teacher = await tinyModel();
  const method = levels({ bits: 2, group: 8 });
  const blocks: TuneOptions = { what: "codes", by: "block", text, steps: 4, seed: 1, pool: 3 };
  const scales: TuneOptions = { what: "scales", text, steps: 3, seed: 2 };
  const first = await tune(teacher, await quantized(teacher, method), blocks);
  const wanted = await tune(teacher, first, scales);
  const found = await quantized(teacher, tuned(tuned(method, blocks), scales));
  assertEquals([tensorsOf(found), snapshot(found)], [tensorsOf(wanted), snapshot(wanted)]);
  assertEquals(
    found.provenance.method,
    `${method.name}+tuned:codes-4-a-block-8x12-random-pool3+tuned:scales-3-8x12-random`,
  );
  assertEquals(String(found.provenance.tuned).split("; then ").length, 2);
});

Deno.test("rates rise over ten steps and fall along half a cosine", () => {
  assertEquals([0, 4, 9, 10].map((step) => scheduled(step, 110)), [0.1, 0.5, 1, 1]);
  assert(Math.abs(scheduled(60, 110) - 0.5) < 1e-12);
  assert(scheduled(109, 110) > 0 && scheduled(109, 110) < 1e-3);
  assertEquals([0, 1, 2].map((step) => scheduled(step, 2) > 0), [true, true, false]);
});

Deno.test("Adam: the first step has the size of the rate, and moments are those of float64 loops", () => {
  const x = Float32Array.of(1, 2, 3), adam = new Adam(x, { rate: 0.1, beta1: 0.9, beta2: 0.95 });
  adam.step(Float32Array.of(5, -0.001, 0), { factor: 0.5, count: 1 });
  assert(Math.max(...[0.95, 2.05, 3].map((y, i) => Math.abs(x[i] - y))) < 1e-6);
  adam.step(Float32Array.of(1, 1, 1), { factor: 1, count: 2 });
  const m = 0.9 * 0.1 * 5 + 0.1, v = 0.95 * 0.05 * 25 + 0.05;
  const wanted = 0.95 - 0.1 * (m / (1 - 0.81)) / Math.sqrt(v / (1 - 0.95 ** 2));
  assert(Math.abs(x[0] - wanted) < 1e-6, `${x[0]}, wanted ${wanted}`);
});
