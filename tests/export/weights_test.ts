import { assert, assertEquals } from "@std/assert";
import { visible } from "../../lib/diffusion/mcs.ts";
import { decodeFloats, joinChunks } from "../../lib/format/safetensors.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { loadModel, openCheckpoint, tensorShapes } from "../../lib/checkpoint/open.ts";
import { tensorBytes } from "../../lib/export/weights.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { checkpointTensors, inFolder, randomTokens, tinyConfig, tinyWeights, writeCheckpoint } from "../model/tiny.ts";

const config = tinyConfig();
const methods = {
  "full precision": undefined,
  "a form by rows": rtn({ bits: 4, group: 8 }),
  "a form by rows whose zero points do not fill bytes": rtn({ bits: 3, group: 16 }),
  "a form by columns": daq({ bits: 2, group: 8, profile: "official" }),
};

for (const [name, method] of Object.entries(methods)) {
  Deno.test(`weights for an export, ${name}: pieces of any size are the same bytes, and what the model computes with`, () =>
    inFolder(async (folder) => {
      await writeCheckpoint(folder, config, checkpointTensors(config, tinyWeights(config), "BF16"));
      if (method) {
        await using model = await loadModel(folder, { device: "cpu", threads: 1 });
        const calibration = visible({ windows: Array.from({ length: 6 }, (_, i) => randomTokens(11, 60 + i)) });
        await saveModel(await quantize(model, method, { calibration }), folder);
      }
      const checkpoint = await openCheckpoint(folder);
      for (const [tensor, shape] of tensorShapes(checkpoint.family, checkpoint.architecture)) {
        const q = await checkpoint.stored.read(tensor);
        const wanted = q ? dequantize(q).data : await checkpoint.source.tensors.readFloat(tensor);
        for (const piece of [1, 50, 2 ** 24]) {
          const pieces = await Array.fromAsync(tensorBytes(checkpoint, tensor, { shape, dtype: "F32", piece }));
          assertEquals(decodeFloats("F32", joinChunks(pieces)), wanted, tensor);
          if (shape.length === 2 && piece === 1) assertEquals(pieces.length, shape[0]);
        }
        const narrow = decodeFloats(
          "BF16",
          joinChunks(await Array.fromAsync(tensorBytes(checkpoint, tensor, { shape, dtype: "BF16" }))),
        );
        assert(narrow.every((w, i) => Math.abs(w - wanted[i]) <= Math.abs(wanted[i]) / 256));
      }
    }));
}
