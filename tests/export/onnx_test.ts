import { assert, assertEquals, assertRejects } from "@std/assert";
import proto from "onnx-proto";
import { visible } from "../../lib/diffusion/mcs.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import type { Config } from "../../lib/model/config.ts";
import { exportOnnx, type OnnxOptions } from "../../lib/export/onnx.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { abmp } from "../../lib/methods/abmp.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { except } from "../../lib/quant/except.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import type { Method } from "../../lib/quant/method.ts";
import { LOGITS_TINY, ONNX_INT8 } from "../tolerances.ts";
import { deviation, runOnnx } from "../onnx/onnx_run.ts";
import {
  checkpointTensors,
  familyConfigs,
  inFolder,
  randomTokens,
  tinyConfig,
  tinyWeights,
  writeCheckpoint,
} from "../model/tiny.ts";

const cpu = { device: "cpu", threads: 1 } as const;
const batch = 3, time = 11;
const tokens = randomTokens(batch * time, 5);

/** Runs `body` with a checkpoint folder, quantised by `method` where one is given, and the logits of its model. */
async function withCheckpoint(
  config: Config,
  method: Method | undefined,
  body: (folder: string, logits: Float32Array) => Promise<void>,
) {
  await inFolder(async (folder) => {
    await writeCheckpoint(folder, config, checkpointTensors(config, tinyWeights(config), "BF16"));
    if (method) {
      await using model = await loadModel(folder, cpu);
      const calibration = visible({ windows: Array.from({ length: 8 }, (_, i) => randomTokens(time, 100 + i)) });
      await saveModel(await quantize(model, method, { calibration }), `${folder}/packed`);
    }
    const from = method ? `${folder}/packed` : folder;
    await using model = await loadModel(from, cpu);
    await body(from, (await model.logits(tokens, { batch })).data);
  });
}

async function exported(folder: string, options: OnnxOptions = {}) {
  const out = `${folder}/${crypto.randomUUID()}`;
  return { out, ...await exportOnnx(await openCheckpoint(folder), out, options) };
}

for (const [name, config] of Object.entries({ LLaDA: tinyConfig(), ...familyConfigs })) {
  Deno.test(`onnx of ${name}: onnxruntime gives the model's logits`, () =>
    withCheckpoint(config, undefined, async (folder, logits) => {
      // The weights are bf16: fp16 holds them but for its smallest numbers.
      for (const dtype of ["float16", "float32"] as const) {
        const { out, files, packed } = await exported(folder, { dtype });
        assertEquals([files, packed], [["model.onnx.data", "model.onnx"], []]);
        const { dims, data } = await runOnnx(out, tokens, batch);
        assertEquals(dims, [batch, time, 23]);
        const { largest } = deviation(data, logits);
        assert(largest <= LOGITS_TINY, `${dtype}: off by ${largest}`);
      }
    }));

  Deno.test(`onnx of ${name}, packed: codes give the logits of what they decode to`, () =>
    withCheckpoint(
      config,
      except(rtn({ bits: 4, group: 8 }), { embed: rtn({ bits: 8, group: 16 }) }),
      async (folder, logits) => {
        const { out, packed, decoded } = await exported(folder, { accuracyLevel: 0 });
        const { section } = (await openCheckpoint(folder)).stored;
        assertEquals([new Set(packed), decoded], [new Set(Object.keys(section!.linears)), {}]);
        const { largest } = deviation((await runOnnx(out, tokens, batch)).data, logits);
        assert(largest <= LOGITS_TINY, `off by ${largest}`);
        const plain = await exported(folder, { packed: false, dtype: "float32" });
        assertEquals(plain.packed, []);
        const { largest: decodedOff } = deviation((await runOnnx(plain.out, tokens, batch)).data, logits);
        assert(decodedOff <= LOGITS_TINY, `as decoded: off by ${decodedOff}`);
      },
    ));
}

const outside = { embed: rtn({ bits: 4, group: 8 }), head: rtn({ bits: 8, group: 16 }) };
const forms: Readonly<Record<string, Method>> = {
  "binary planes": except(daq({ bits: 2, group: 8, profile: "official" }), outside),
  "binary blocks of 1 to 3 planes": daq({ bits: abmp({ average: 2, ratio: 0.5 }), group: 4, profile: "official" }),
  "levels": except(levels({ bits: 2, group: 8 }), outside),
  "levels of 1 to 3 bits": levels({ bits: abmp({ average: 2, ratio: 0.5 }), group: 4 }),
  "three bits": except(rtn({ bits: 3, group: 16 }), { embed: rtn({ bits: 2, group: 16, symmetric: true }) }),
};

for (const [name, method] of Object.entries(forms)) {
  Deno.test(`onnx of ${name}: with float activations the model's logits, with int8 ones close to them`, () =>
    withCheckpoint(tinyConfig({ n_kv_heads: 2 }), method, async (folder, logits) => {
      const { largest } = deviation(
        (await runOnnx((await exported(folder, { accuracyLevel: 0 })).out, tokens, batch)).data,
        logits,
      );
      assert(largest <= LOGITS_TINY, `off by ${largest}`);
      const { out, files } = await exported(folder);
      const { relative } = deviation((await runOnnx(out, tokens, batch)).data, logits);
      console.log(`${name}: int8 activations change logits by ${(100 * relative).toFixed(2)} %`);
      assert(relative > 0 && relative <= ONNX_INT8, `off by ${relative}`);
      assertEquals(files.length, 2);
    }));
}

Deno.test("onnx: an embedding in codes that are not looked up is stored as it decodes, and the export says so", () =>
  withCheckpoint(
    tinyConfig({ weight_tying: true }),
    except(rtn({ bits: 4, group: 8 }), { embed: rtn({ bits: 3, group: 16 }) }),
    async (folder, logits) => {
      const { out, packed, decoded } = await exported(folder, { accuracyLevel: 0, dtype: "float32" });
      assertEquals(decoded, { "model.transformer.wte.weight": "rows are not looked up in codes of 3 bits" });
      assertEquals(packed.length, 14);
      const { largest } = deviation((await runOnnx(out, tokens, batch)).data, logits);
      assert(largest <= LOGITS_TINY, `off by ${largest}`);
    },
  ));

Deno.test("onnx: batch and time are free up to the length that was asked for; data files keep to their limit", () =>
  withCheckpoint(familyConfigs.Dream, undefined, async (folder) => {
    await using model = await loadModel(folder, cpu);
    const { out, files } = await exported(folder, { maxLength: 9, maxDataBytes: 9000 });
    assert(files.length > 3 && files.at(-1) === "model.onnx", `${files}`);
    for (const file of files.slice(0, -1)) assert((await Deno.stat(`${out}/${file}`)).size <= 9000);
    for (const [b, t] of [[1, 1], [1, 9], [4, 2]]) {
      const some = randomTokens(b * t, 7);
      const { largest } = deviation((await runOnnx(out, some, b)).data, (await model.logits(some, { batch: b })).data);
      assert(largest <= LOGITS_TINY, `${b} x ${t}: off by ${largest}`);
    }
    await assertRejects(() => runOnnx(out, randomTokens(10, 7), 1), Error);
    await assertRejects(() => exported(folder, { maxLength: 25 }), RangeError, "wanted 1 to 24");
    const big = await assertRejects(() => exported(folder, { maxDataBytes: 700 }), RangeError, "allow at least");
    assert(big.message.includes('Cannot export "model.embed_tokens.weight"'), big.message);
  }));

Deno.test("onnx: weights lie outside the graph, on pages, under the names of the checkpoint", () =>
  withCheckpoint(tinyConfig(), rtn({ bits: 4, group: 8 }), async (folder) => {
    const { out } = await exported(folder);
    const { onnx } = proto;
    const bytes = await Deno.readFile(`${out}/model.onnx`);
    const { graph } = onnx.ModelProto.decode(bytes);
    const outer = graph!.initializer!.filter((t) => t.dataLocation === onnx.TensorProto.DataLocation.EXTERNAL);
    const fields = outer.map((t) => Object.fromEntries(t.externalData!.map(({ key, value }) => [key, value])));
    for (const { location, offset } of fields) {
      assertEquals([location, Number(offset) % 4096], ["model.onnx.data", 0]);
    }
    const names = outer.map((t) => t.name!);
    assertEquals(new Set(names).size, names.length);
    const head = outer.find((t) => t.name === "model.transformer.ff_out.weight")!;
    assertEquals([head.dims!.map(Number), head.dataType], [[23, 16], onnx.TensorProto.DataType.FLOAT16]);
    assert(names.includes("model.transformer.blocks.1.q_proj.weight"));
    // What stays inside are indices and a few scalars.
    for (const { dataType, rawData } of graph!.initializer!.filter((t) => !outer.includes(t))) {
      assert(dataType === onnx.TensorProto.DataType.INT64 || rawData!.length === 4);
    }
  }));

Deno.test("onnx: a weight beyond fp16, or not finite, is named; no model is left behind", () =>
  inFolder(async (folder) => {
    const config = tinyConfig(), weights = tinyWeights(config);
    for (
      const [value, dtype, message] of [[1e5, "float16", "as F16: it holds"], [NaN, "float32", "holds NaN"]] as const
    ) {
      weights.blocks[1].gate[3] = value;
      await writeCheckpoint(folder, config, checkpointTensors(config, weights, "BF16"));
      const out = `${folder}/out`;
      const checkpoint = await openCheckpoint(folder);
      const error = await assertRejects(() => exportOnnx(checkpoint, out, { dtype }), RangeError, message);
      assert(error.message.includes("model.transformer.blocks.1.ff_proj.weight"), error.message);
      assertEquals(await Array.fromAsync(Deno.readDir(out)), []);
    }
  }));
