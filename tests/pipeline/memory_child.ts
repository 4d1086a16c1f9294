/**
 * Quantises a made-up checkpoint of so many blocks of width 1024 and prints the least that it held during each of them, in bytes of arrays and objects:
 * what comes and goes within a block is left out, what stays is not. Wants --v8-flags=--expose-gc.
 */
import process from "node:process";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { llada8b, writeSynthetic } from "../bench/synthetic.ts";
import { randomTokens } from "../model/tiny.ts";

const [folder, layers] = Deno.args;
const config = { ...llada8b(Number(layers)), d_model: 1024, n_heads: 8, n_kv_heads: 8, mlp_hidden_size: 3072 };
await writeSynthetic(`${folder}/full`, config);
const corpus = { windows: Array.from({ length: 8 }, (_, i) => randomTokens(64, i)) };
const checkpoint = await openCheckpoint(`${folder}/full`);
const least = Array.from({ length: Number(layers) }, () => Infinity);
let layer = 0;
// As a task of its own: what native arrays held is given back between tasks.
const timer = setInterval(() => {
  (globalThis as unknown as { gc(): void }).gc();
  const { heapUsed, external } = process.memoryUsage();
  least[layer] = Math.min(least[layer], heapUsed + external);
}, 50);
await using quantization = await openQuantization(checkpoint, gptq({ bits: 2, group: 128 }), {
  out: `${folder}/packed`,
  calibration: simulateMasks(corpus, { maskId: 1023, seed: 1 }),
  seed: 1,
  device: "cpu",
  onProgress: (_done, _total, report) => layer = report.layer,
});
await quantization.run();
clearInterval(timer);
console.log(JSON.stringify(least));
