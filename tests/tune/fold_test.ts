/** Factors of columns that are folded into what comes before: the model answers as before, and stores fewer bits. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { exportCheckpoint } from "../../lib/export/export.ts";
import { sizeOf } from "../../lib/evaluate/evaluate.ts";
import { awq } from "../../lib/methods/awq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { openQuantization, quantize } from "../../lib/pipeline/quantize.ts";
import { readUniform, storeUniform } from "../../lib/quant/forms/uniform.ts";
import type { Method } from "../../lib/quant/method.ts";
import { asMatrix, matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { tuned } from "../../lib/tune/tuned.ts";
import { contents, writeSharded } from "../pipeline/checkpoints.ts";
import { familyConfigs, inFolder, randomTokens, tinyConfig, tinyModel } from "../model/tiny.ts";

const cpu = { device: "cpu", threads: 1 } as const, bits = 8, group = 8;
const windows = Array.from({ length: 6 }, (_, i) => randomTokens(12, 40 + i));
const calibration = simulateMasks({ windows }, { maskId: 22, seed: 3 });
const plain = awq({ bits, group }), fold = awq({ bits, group, fold: true });
/** Linears of a block whose factors have nowhere to go. */
const kept: Readonly<Record<string, RegExp>> = {
  "LLaDA, grouped queries": /attn_out/,
  Dream: /o_proj/,
  "Qwen2 diffusion": /o_proj/,
  "Qwen3 diffusion": /o_proj/,
  "LLaDA-MoE": /gate_proj|up_proj/,
};

for (const [family, config] of Object.entries({ ...familyConfigs, LLaDA: tinyConfig() })) {
  Deno.test(`${family}: folded, a model answers as with its factors stored, in fewer bits`, () =>
    inFolder(async (folder) => {
      await writeSharded(`${folder}/full`, config);
      await using model = await loadModel(`${folder}/full`, cpu);
      const [stored, folded] = [
        await quantize(model, plain, { calibration }),
        await quantize(model, fold, { calibration }),
      ];
      assert([...stored.quantized.values()].every(({ tensors }) => tensors.in_scale));
      const left = [...folded.quantized.values()].filter(({ tensors }) => tensors.in_scale).map(({ name }) => name);
      const wanted = [...stored.quantized.keys()].filter((name) => kept[family]?.test(name));
      assertEquals(left.sort(), wanted.sort());
      assert(sizeOf(folded).bitsPerWeight < sizeOf(stored).bitsPerWeight);
      const tokens = randomTokens(10, 5), { data } = await stored.logits(tokens), own = await folded.logits(tokens);
      const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      // Scales of rows are rounded to fp16 once more.
      data.forEach((x, i) => assert(Math.abs(x - own.data[i]) < 3e-3 * largest, `${i}: ${x}, ${own.data[i]}`));
    }));
}

/** Rounding to nearest under factors of columns that are powers of two, which fp16 divides by without rounding; one draw for all that share an input. */
function poweredRtn(folds: boolean): Method {
  const inner = rtn({ bits: 8, group });
  const scaledBy = (scale: Float32Array): Method => ({
    ...inner,
    async quantize({ name, W, ...rest }) {
      const cols = scale.length, data = Float32Array.from(W.data, (w, k) => w * scale[k % cols]);
      const q = await inner.quantize({ ...rest, name, W: matrix(data.length / cols, cols, data) });
      return storeUniform(name, { ...readUniform(q), inScale: scale }, q.report);
    },
  });
  return {
    ...inner,
    ...(folds ? { folds } : {}),
    together: ([{ name, W }]) => {
      const random = rng(1, name), cols = asMatrix(W).cols;
      return Promise.resolve(scaledBy(Float32Array.from({ length: cols }, () => 2 ** (random.int(5) - 2))));
    },
  };
}

for (const [family, config] of Object.entries({ ...familyConfigs, LLaDA: tinyConfig() })) {
  Deno.test(`${family}: powers of two fold without rounding: the same logits, and bytes less those of the factors`, async () => {
    await using model = await tinyModel({ config });
    const [stored, folded] = [await quantize(model, poweredRtn(false)), await quantize(model, poweredRtn(true))];
    const bytes = (m: typeof stored) => [...m.storedBytes.values()].reduce((sum, n) => sum + n, 0);
    const factors = (m: typeof stored) =>
      [...m.quantized.values()].reduce((sum, { tensors }) => sum + (tensors.in_scale?.bytes.length ?? 0), 0);
    assert(factors(stored) > factors(folded));
    assertEquals(bytes(stored) - bytes(folded), factors(stored) - factors(folded));
    const tokens = randomTokens(12, 6), { data } = await stored.logits(tokens), own = await folded.logits(tokens);
    const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    data.forEach((x, i) => assert(Math.abs(x - own.data[i]) < 1e-5 * largest, `${i}: ${x}, ${own.data[i]}`));
  });
}

Deno.test("on disk: a stopped run folds once, its counted bits are those that it stores, and it runs packed", () =>
  inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, familyConfigs.Dream);
    const run = async (out: string, method: typeof fold, stopAfter = Infinity) => {
      const stop = new AbortController();
      await using quantization = await openQuantization(await openCheckpoint(`${folder}/full`), method, {
        ...{ out: `${folder}/${out}`, calibration, seed: 3, signal: stop.signal, ...cpu },
        onProgress: (done) => done === stopAfter && stop.abort(),
      });
      return await quantization.run();
    };
    const stored = await run("stored", plain), whole = await run("whole", fold);
    const planned = async (method: typeof fold) => {
      await using quantization = await openQuantization(await openCheckpoint(`${folder}/full`), method, {
        ...{ out: `${folder}/planned`, calibration, seed: 3, ...cpu },
      });
      return await quantization.plan();
    };
    const [first, second] = [await planned(plain), await planned(fold)];
    assertAlmostEquals(first.bitsPerWeight - second.bitsPerWeight, stored.bitsPerWeight - whole.bitsPerWeight, 1e-9);
    assertAlmostEquals(first.outputBytes - second.outputBytes, stored.bytes - whole.bytes, 2);
    assert(whole.bitsPerWeight < stored.bitsPerWeight && whole.bytes < stored.bytes);
    await assertRejects(() => run("stopped", fold, 9), DOMException);
    await run("stopped", fold);
    assertEquals(await contents(`${folder}/stopped`), await contents(`${folder}/whole`));
    await using dense = await loadModel(`${folder}/whole`, { ...cpu, run: "dense" });
    await using packed = await loadModel(`${folder}/whole`, { ...cpu, run: "packed", accuracyLevel: 0 });
    await using before = await loadModel(`${folder}/stored`, { ...cpu, run: "dense" });
    assertEquals(sizeOf(dense).bitsPerWeight, whole.bitsPerWeight);
    const tokens = randomTokens(9, 7), { data } = await dense.logits(tokens);
    const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const far = (other: Float32Array) => data.reduce((most, x, i) => Math.max(most, Math.abs(x - other[i])), 0);
    assert(far((await packed.logits(tokens)).data) < 1e-4 * largest);
    // Scales of rows are rounded to fp16 once more; norms and biases are float32 there.
    assert(far((await before.logits(tokens)).data) < 3e-3 * largest);
    const { tensors } = (await openCheckpoint(`${folder}/whole`)).source;
    assertEquals(tensors.info("model.layers.0.input_layernorm.weight").dtype, "F32");
    assertEquals(tensors.info("model.norm.weight").dtype, "BF16");
    // As plain weights for transformers, in the type of the config.
    await exportCheckpoint(`${folder}/whole`, { out: `${folder}/hf`, format: "hf" });
    await using exported = await loadModel(`${folder}/hf`, cpu);
    assertEquals(exported.quantized.size, 0);
    assert(far((await exported.logits(tokens)).data) < 0.03 * largest);
  }));

Deno.test("what folds is not tuned: its norms would move again", () => {
  const text = { name: "none", batch: 1, length: 4, draw: () => ({ windows: [] }) };
  assertThrows(() => tuned(fold, { what: "scales", text, steps: 1 }), TypeError, "leave them stored");
});
