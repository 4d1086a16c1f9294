import { assert, assertEquals } from "@std/assert";
import { visible } from "../../lib/diffusion/mcs.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { exportCheckpoint } from "../../lib/export/export.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { abmp } from "../../lib/methods/abmp.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { except } from "../../lib/quant/except.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { deviation } from "../onnx/onnx_run.ts";
import {
  checkpointTensors,
  familyConfigs,
  inFolder,
  randomTokens,
  tinyWeights,
  writeCheckpoint,
} from "../model/tiny.ts";
import { LOGITS_WASM } from "../tolerances.ts";
import { type Job, runInBrowser } from "./browser.ts";
import { findBrowser } from "../../scripts/render.ts";

const batch = 2, time = 24;
const nano = "data/nano-llada";
const outside = { embed: rtn({ bits: 4, group: 32 }), head: rtn({ bits: 8, group: 32 }) };

/** One model for each kind of node: checkpoint, method, and tokens below `vocab`. */
const cases = [
  { name: "nano-llada, full precision in three files", from: nano, vocab: 400, onnx: { maxDataBytes: 1_000_000 } },
  {
    name: "nano-llada, levels of 2 bits",
    from: nano,
    vocab: 400,
    method: except(levels({ bits: 2, group: 32, profile: "official" }), outside),
  },
  {
    name: "Dream, 1 to 3 binary planes",
    from: "Dream",
    vocab: 22,
    method: daq({ bits: abmp({ average: 2, ratio: 0.5 }), group: 4, profile: "official" }),
  },
  { name: "LLaDA-MoE, 3 bits", from: "LLaDA-MoE", vocab: 22, method: rtn({ bits: 3, group: 8 }) },
];

const name = "plain onnxruntime-web in Chromium gives the model's logits, from full precision and from codes";
const browser = await findBrowser();
if (!browser) console.log("SKIPPED onnxruntime-web: install chromium");
Deno.test({ name, ignore: !browser }, () =>
  inFolder(async (folder) => {
    const jobs: Job[] = [], wanted: Float32Array[] = [];
    for (const [i, { from, vocab, method, onnx }] of cases.entries()) {
      let checkpoint = from;
      const tokens = randomTokens(batch * time, 5, vocab);
      if (familyConfigs[from]) {
        const config = familyConfigs[from];
        await Deno.mkdir(checkpoint = `${folder}/${i}`);
        await writeCheckpoint(checkpoint, config, checkpointTensors(config, tinyWeights(config), "BF16"));
      }
      await using model = await loadModel(checkpoint, { device: "cpu" });
      const calibration = visible({ windows: Array.from({ length: 4 }, (_, w) => randomTokens(time, 50 + w, vocab)) });
      const quantized = method ? await quantize(model, method, { calibration }) : model;
      if (method) await saveModel(quantized, checkpoint = `${folder}/${i}-packed`);
      wanted.push((await quantized.logits(tokens, { batch })).data);
      const dir = `${folder}/${i}-onnx`;
      const { files, packed } = await exportCheckpoint(checkpoint, { format: "onnx", out: dir, onnx });
      assertEquals([packed > 0, files.includes("model.onnx.data.2")], [method !== undefined, onnx !== undefined]);
      jobs.push({
        dir,
        data: files.filter((f) => f.startsWith("model.onnx.data")),
        tokens: [...tokens],
        dims: [batch, time],
      });
    }
    const answers = (await runInBrowser(jobs))!;
    answers.forEach(({ dims, logits }, i) => {
      const { relative } = deviation(logits, wanted[i]);
      console.log(
        `${cases[i].name}: logits of wasm within ${relative.toExponential(1)} of the model's, tolerance ${LOGITS_WASM}`,
      );
      assertEquals(dims.slice(0, 2), [batch, time]);
      assertEquals(logits.length, wanted[i].length);
      assert(relative <= LOGITS_WASM, `${cases[i].name}: off by ${relative}`);
    });
  }));
