/** Quantises a made-up checkpoint of so many blocks of width 1024 and prints the peak of its resident memory in bytes. */
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { llada8b, residentMemory, writeSynthetic } from "../bench/synthetic.ts";
import { randomTokens } from "../model/tiny.ts";

const [folder, layers] = Deno.args;
const config = { ...llada8b(Number(layers)), d_model: 1024, n_heads: 8, n_kv_heads: 8, mlp_hidden_size: 3072 };
await writeSynthetic(`${folder}/full`, config);
const corpus = { windows: Array.from({ length: 8 }, (_, i) => randomTokens(64, i)) };
const checkpoint = await openCheckpoint(`${folder}/full`);
await using quantization = await openQuantization(checkpoint, gptq({ bits: 2, group: 128 }), {
  out: `${folder}/packed`,
  calibration: simulateMasks(corpus, { maskId: 1023, seed: 1 }),
  seed: 1,
  device: "cpu",
});
await quantization.run();
console.log(JSON.stringify(residentMemory().peak));
