import { assert, assertEquals, assertRejects } from "@std/assert";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { bfloat16ToFloat } from "../../lib/tensor/half.ts";
import { checkpointTensors, inFolder, tinyConfig, tinyWeights, writeCheckpoint } from "../model/tiny.ts";

Deno.test("a number outside the blocks that is not finite is named by its tensor and its place, before anything is made", async () => {
  const config = tinyConfig(), weights = tinyWeights(config);
  for (const [tensor, at] of [["embed", 0], ["embed", 37], ["head", 5], ["final", 3]] as const) {
    await inFolder(async (folder) => {
      const tensors = checkpointTensors(config, weights, "BF16");
      const name = Object.keys(tensors).find((name) =>
        ({ embed: /wte/, head: /transformer\.ff_out/, final: /ln_f/ })[tensor].test(name)
      )!;
      const words = new Uint16Array(tensors[name].bytes.slice().buffer);
      words[at] = 0x7fc0;
      assertEquals(bfloat16ToFloat(words)[at], NaN);
      await writeCheckpoint(folder, config, {
        ...tensors,
        [name]: { ...tensors[name], bytes: new Uint8Array(words.buffer) },
      });
      const options = { out: `${folder}/out`, seed: 1, device: "cpu" } as const;
      const { message } = await assertRejects(
        async () => {
          await using quantization = await openQuantization(
            await openCheckpoint(folder),
            rtn({ bits: 2, group: 4 }),
            options,
          );
          await quantization.run();
        },
        Error,
        "is NaN",
      );
      assert(message.includes(`"${name}"`) && message.includes(` ${at} of `), message);
    });
  }
});
