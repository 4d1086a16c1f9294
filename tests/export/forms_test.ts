/** Every stored form that a method makes, through whole models: run from its codes, and exported as a graph. */
import { assert, assertEquals } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { visible } from "../../lib/diffusion/mcs.ts";
import { exportOnnx } from "../../lib/export/onnx.ts";
import { abmp } from "../../lib/methods/abmp.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { except } from "../../lib/quant/except.ts";
import { blockOrders } from "../../lib/quant/forms/grouped.ts";
import { scaled8 } from "../../lib/quant/forms/row_scales.ts";
import type { Method } from "../../lib/quant/method.ts";
import { checkpointTensors, inFolder, randomTokens, tinyConfig, tinyWeights, writeCheckpoint } from "../model/tiny.ts";
import { runOnnx } from "../onnx/onnx_run.ts";
import { LOGITS_PACKED_LARGEST } from "../tolerances.ts";

const config = tinyConfig({ n_kv_heads: 2 });
const batch = 3, time = 11, tokens = randomTokens(batch * time, 5);
const cpu = { device: "cpu", threads: 1 } as const;
const official = "official" as const;
/** Fits no data, so that it may be given the embedding and the head too. */
const planesAlone = daq({ bits: 4, group: 6, profile: "paper", dor: false });

/** By name: the method, and the orders of blocks that it must have made. */
const methods: Readonly<Record<string, readonly [Method, ...number[]]>> = {
  "4 planes": [daq({ bits: 4, group: 8, profile: official }), 4],
  "2 to 4 planes": [daq({ bits: abmp({ average: 3, ratio: 0.25 }), group: 4, profile: official }), 2, 3, 4],
  "1 to 3 planes, row scales of 8 bits": [
    scaled8(daq({ bits: abmp({ average: 2, ratio: 0.5 }), group: 5, profile: official })),
    1,
    2,
    3,
  ],
  "4 planes everywhere, groups that do not divide the width": [
    except(planesAlone, { embed: planesAlone, head: scaled8(planesAlone) }),
    4,
  ],
  "levels of 3 bits": [scaled8(levels({ bits: 3, group: 8 })), 3],
  "levels of 1 to 3 bits": [levels({ bits: abmp({ average: 2, ratio: 0.5 }), group: 5 }), 1, 2, 3],
  "uniform with a group map": [gptq({ bits: 2, group: 6, actOrder: true })],
  "uniform of 8 bits, embedding and head in rows that fill no bytes": [
    except(rtn({ bits: 8, group: 32, symmetric: true }), {
      embed: rtn({ bits: 5, group: 16 }),
      head: rtn({ bits: 3, group: 16 }),
    }),
  ],
};

for (const [name, [method, ...orders]] of Object.entries(methods)) {
  Deno.test(`${name}: logits packed and exported are those of what the codes decode to`, () =>
    inFolder(async (folder) => {
      await writeCheckpoint(folder, config, checkpointTensors(config, tinyWeights(config), "BF16"));
      {
        await using model = await loadModel(folder, cpu);
        const calibration = visible({ windows: Array.from({ length: 8 }, (_, i) => randomTokens(time, 100 + i)) });
        await using quantized = await quantize(model, method, { calibration });
        const blocks = [...quantized.quantized.values()].filter(({ format }) => format !== "uniform");
        assertEquals([...new Set(blocks.flatMap(blockOrders))].sort(), orders);
        await saveModel(quantized, `${folder}/made`);
      }
      await using dense = await loadModel(`${folder}/made`, { ...cpu, run: "dense" });
      const wanted = (await dense.logits(tokens, { batch })).data;
      await using packed = await loadModel(`${folder}/made`, { ...cpu, run: "packed", accuracyLevel: 0 });
      near("packed", (await packed.logits(tokens, { batch })).data, wanted);
      const checkpoint = await openCheckpoint(`${folder}/made`);
      await exportOnnx(checkpoint, `${folder}/onnx`, { accuracyLevel: 0, dtype: "float32" });
      near("exported", (await runOnnx(`${folder}/onnx`, tokens, batch)).data, wanted);
    }));
}

function near(what: string, found: Float32Array, wanted: Float32Array): void {
  assertEquals(found.length, wanted.length);
  let off = 0, largest = 0;
  wanted.forEach((w, i) => {
    off = Math.max(off, Math.abs(found[i] - w));
    largest = Math.max(largest, Math.abs(w));
  });
  assert(off / largest <= LOGITS_PACKED_LARGEST, `${what}: off by ${off / largest} of the largest logit`);
}
