import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { encodeSafetensors, openSafetensors, type TensorBytes } from "../../lib/format/safetensors.ts";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { readJson } from "../../lib/checkpoint/files/file_source.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { fileSource, writeFileAtomic } from "../../lib/checkpoint/files/file_source.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import {
  arraysOf,
  checkpointTensors,
  inFolder,
  randomTokens,
  snapshot,
  tinyConfig,
  tinyModel,
  tinyWeights,
  writeCheckpoint,
} from "../model/tiny.ts";

const config = tinyConfig();
const weights = tinyWeights(config);
const tokens = randomTokens(10, 1);
const cpu = { device: "cpu", threads: 1 } as const;

Deno.test("float32, fp16 and bf16 checkpoints load", () =>
  inFolder(async (folder) => {
    await using model = await tinyModel();
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      await writeCheckpoint(folder, config, checkpointTensors(config, weights, dtype));
      await using loaded = await loadModel(folder, cpu);
      // fp16 rounds some of the bf16 weights, the other two hold all of them.
      if (dtype !== "F16") assertEquals(snapshot(loaded), snapshot(model));
      else snapshot(loaded).forEach((a, i) => assertEquals(a, Float32Array.from(new Float16Array(snapshot(model)[i]))));
      const { data } = await loaded.logits(tokens);
      assert(data.every((x) => Number.isFinite(x)));
      assertEquals(loaded.maskId, 22);
      assertEquals(loaded.vocabSize, 23);
    }
  }));

Deno.test("a checkpoint without tokenizer loads, and says so when one is asked for", () =>
  inFolder(async (folder) => {
    await writeCheckpoint(folder, config, checkpointTensors(config, weights));
    await using loaded = await loadModel(folder, cpu);
    await assertRejects(() => Promise.resolve().then(() => loaded.tokenizer), Error, "holds no tokenizer.json");
  }));

Deno.test("a missing tensor, a wrong shape and a wrong dtype are named", () =>
  inFolder(async (folder) => {
    const all = checkpointTensors(config, weights);
    const name = "model.transformer.blocks.1.ff_proj.weight";
    const { [name]: gate, ...others } = all;
    await writeCheckpoint(folder, config, others);
    await assertRejects(() => loadModel(folder, cpu), RangeError, name);

    await writeCheckpoint(folder, config, { ...others, [name]: { ...gate, shape: [16, 32] } });
    await assertRejects(() => loadModel(folder, cpu), RangeError, `"${name}" is [16,32]`);

    await writeCheckpoint(folder, config, {
      ...others,
      [name]: { dtype: "U8", shape: gate.shape, bytes: gate.bytes.slice(0, 512) },
    });
    await assertRejects(() => loadModel(folder, cpu), TypeError, name);
  }));

Deno.test("malformed files are named", () =>
  inFolder(async (folder) => {
    await writeCheckpoint(folder, config, checkpointTensors(config, weights));
    const path = `${folder}/config.json`;
    for (const text of ["{", "[]", "null", '{"model_type": "llada", "model_type": "llada"}']) {
      await Deno.writeTextFile(path, text);
      await assertRejects(() => readJson(path), SyntaxError, path);
      await assertRejects(() => loadModel(folder, cpu), SyntaxError, path);
    }
    await Deno.writeTextFile(path, JSON.stringify(tinyConfig({ alibi: true })));
    await assertRejects(() => loadModel(folder, cpu), RangeError, `${path}: alibi is true`);
    await Deno.writeTextFile(path, JSON.stringify(config));
    await Deno.writeTextFile(`${folder}/model.safetensors`, "no tensors");
    await assertRejects(() => loadModel(folder, cpu), SyntaxError, "model.safetensors");
  }));

Deno.test("a full-precision model is saved in the type of its config", () =>
  inFolder(async (folder) => {
    for (
      const [torch_dtype, wanted] of [["bfloat16", "BF16"], ["float16", "F16"], ["float32", "F32"], [undefined, "F32"]]
    ) {
      await using model = await tinyModel({ config: tinyConfig({ torch_dtype }) });
      await saveModel(model, folder);
      const file = await openSafetensors(await fileSource(`${folder}/model.safetensors`));
      assertEquals(new Set(file.names.map((n) => file.info(n).dtype as string)), new Set([wanted]));
      await using loaded = await loadModel(folder, cpu);
      assertEquals((await loaded.logits(tokens)).shape, [10, 23]);
      if (wanted !== "F16") assertEquals(await loaded.logits(tokens), await model.logits(tokens));
    }
  }));

Deno.test("a packed checkpoint answers bit for bit also where its float type would round", () =>
  inFolder(async (folder) => {
    await using model = await tinyModel({ config: tinyConfig({ torch_dtype: "bfloat16" }) });
    arraysOf(model).embed[5] = 0.1;
    arraysOf(model).finalNorm[2] = 1 / 3;
    const packed = await quantize(model, rtn({ bits: 3, group: 16 }));
    await saveModel(packed, folder);
    await using loaded = await loadModel(folder, cpu);
    assertStrictEquals(arraysOf(loaded).embed[5], Math.fround(0.1));
    assertEquals(await loaded.logits(tokens), await packed.logits(tokens));
    const file = await openSafetensors(await fileSource(`${folder}/model.safetensors`));
    assertEquals(file.info("model.transformer.wte.weight").dtype, "F32");
    assertEquals(file.info("model.transformer.ff_out.weight").dtype, "BF16");
  }));

Deno.test("a packed checkpoint of another kit, or with parts missing, is refused", () =>
  inFolder(async (folder) => {
    await using model = await tinyModel();
    await saveModel(await quantize(model, rtn({ bits: 3, group: 16 })), folder);
    const path = `${folder}/config.json`;
    const saved = await readJson(path);

    const other = { ...saved, quantization_config: { quant_method: "gptq", bits: 4 } };
    await Deno.writeTextFile(path, JSON.stringify(other));
    await assertRejects(() => loadModel(folder, cpu), RangeError, 'quantization_config.quant_method is "gptq"');

    // deno-lint-ignore no-explicit-any
    const linears = { ...(saved.quantization_config as any).linears };
    const name = "model.transformer.blocks.0.q_proj.weight";
    linears[name] = { ...linears[name], format: "ternary" };
    await Deno.writeTextFile(
      path,
      JSON.stringify({ ...saved, quantization_config: { quant_method: "quant-dllm", linears } }),
    );
    await assertRejects(() => loadModel(folder, cpu), SyntaxError, name);

    await Deno.writeTextFile(path, JSON.stringify(saved));
    const file = await openSafetensors(await fileSource(`${folder}/model.safetensors`));
    const tensors: Record<string, TensorBytes> = {};
    for (const n of file.names) tensors[n] = { ...file.info(n), bytes: await file.read(n) };
    const scales = "model.transformer.blocks.0.q_proj.scales";
    const { [scales]: { dtype, shape, bytes }, ...others } = tensors;
    assertEquals(shape, [16, 1]);
    for (const damaged of [others, { ...others, [scales]: { dtype, shape: [8, 1], bytes: bytes.slice(0, 16) } }]) {
      await writeFileAtomic(`${folder}/model.safetensors`, encodeSafetensors(damaged));
      await assertRejects(() => loadModel(folder, cpu), SyntaxError, name);
    }
  }));
