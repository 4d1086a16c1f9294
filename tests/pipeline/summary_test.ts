/** What a run says of what it made: bits, fallbacks, the card, and the errors of embedding and head, each against the files. */
import { assert, assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { fileSource } from "../../lib/checkpoint/files/file_source.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { except } from "../../lib/quant/except.ts";
import type { Method } from "../../lib/quant/method.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { checkpointTensors, inFolder, randomTokens, tinyConfig, tinyWeights, writeCheckpoint } from "../model/tiny.ts";

const config = tinyConfig(), weights = tinyWeights(config);
const outside = { embed: rtn({ bits: 4, group: 8 }), head: rtn({ bits: 3, group: 8 }) };
/** RTN that falls back at every o. */
const method: Method = except({
  ...rtn({ bits: 2, group: 8 }),
  async quantize(linear) {
    const q = await rtn({ bits: 2, group: 8 }).quantize(linear);
    return linear.name.endsWith("attn_out.weight") ? { ...q, report: { ...q.report, fallback: "made up" } } : q;
  },
}, outside);

Deno.test("a summary, the card and the reports say what the files hold", () =>
  inFolder(async (folder) => {
    const out = `${folder}/out`;
    await writeCheckpoint(folder, config, checkpointTensors(config, weights));
    const corpus = { windows: Array.from({ length: 4 }, (_, i) => randomTokens(10, i)) };
    await using run = await openQuantization(await openCheckpoint(folder), method, {
      ...{ out, seed: 1, device: "cpu", threads: 1, measure: true },
      calibration: simulateMasks(corpus, { maskId: 22, seed: 1 }),
    });
    const summary = await run.run();
    const file = await openSafetensors(await fileSource(`${out}/model.safetensors`));
    const bytes = file.names.reduce((sum, name) => sum + file.info(name).bytes, 0);
    const { embed, finalNorm, head, blocks } = weights;
    const all = [embed, finalNorm, head, ...blocks.flatMap((block) => Object.values(block))];
    const parameters = all.reduce((sum, { length }) => sum + length, 0);
    assertEquals([summary.bytes, summary.fallbacks], [bytes, 2]);
    assertAlmostEquals(summary.bitsPerParameter, 8 * bytes / parameters, 1e-12);

    const card = await Deno.readTextFile(`${out}/README.md`);
    assertStringIncludes(card, "2 linears fell back");
    assertStringIncludes(card, summary.bitsPerWeight.toFixed(4));
    const reports = (await Deno.readTextFile(`${out}/quantization.jsonl`)).trim().split("\n").map((l) => JSON.parse(l));
    for (const [part, W] of [["embed", embed], ["head", head]] as const) {
      const shape = { name: part, W: { rows: 23, cols: 16, shape: [23, 16] as [number, number], data: W } };
      const Q = dequantize(await outside[part].quantize({ ...shape, kernels: referenceKernels }));
      const square = (x: ArrayLike<number>) => Array.from(x).reduce((sum, v) => sum + v * v, 0);
      const { relativeError } = reports.find(({ linear }) => linear === part);
      assert(relativeError > 1e-4);
      assertAlmostEquals(relativeError, square(W.map((w, i) => w - Q.data[i])) / square(W), 1e-6);
    }
  }));
