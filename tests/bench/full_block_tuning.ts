/**
 * One full-size LLaDA-8B block of random bf16 weights through block tuning: peak memory, tokens per second of a step against the forward pass alone, and
 * the projection to the whole model. Exits 1 when memory misses its bar.
 *
 *     deno run -A tests/bench/full_block_tuning.ts [scales|codes] [windows] [length] [steps]
 */
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { concat } from "../../lib/tensor/concat.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { tuned } from "../../lib/tune/tuned.ts";
import { judge, once } from "./report.ts";
import { llada8b, residentMemory, writeSynthetic } from "./synthetic.ts";

const [what = "codes", count = "2", tokens = "1024", rounds = "4"] = Deno.args;
const windows = Number(count), length = Number(tokens), steps = Number(rounds);
const MEMORY_BAR = 12e9;
/** What the laptop goes through, block by block: steps of 2,048 tokens on a pool of 64 batches. */
const laptop = { steps: 200, pool: 64, tokens: 2048 };
/** What a GPU goes through, the model as a whole: steps of 65,536 tokens, 10 operations a weight and token with both forward passes (spec: 400 TFLOP/s). */
const gpu = { steps: 1500, tokens: 65_536, perWeight: 10, rate: 4e14 };

const folder = await Deno.makeTempDir();
try {
  await writeSynthetic(`${folder}/full`, llada8b(1));
  const checkpoint = await openCheckpoint(`${folder}/full`);
  const { architecture: a } = checkpoint;
  const text = {
    ...{ name: "random", batch: windows, length },
    draw(seed: number, step: number) {
      const r = rng(seed, "tokens", step);
      return { windows: Array.from({ length: windows }, () => Int32Array.from({ length }, () => r.int(a.maskId))) };
    },
  };
  const stamps: number[] = [];
  const errors: number[] = [];
  const method = tuned(rtn({ bits: 2, group: 128 }), {
    ...{ what: what as "scales" | "codes", by: "block", text, steps, pool: 2 },
    onProgress: ({ hidden }) => {
      stamps.push(performance.now());
      errors.push(hidden!);
    },
  });
  const options = { out: `${folder}/packed`, seed: 1, device: "cpu" } as const;
  await using quantization = await openQuantization(checkpoint, method, options);
  const { model, model: { engine } } = quantization;
  const plan = await quantization.plan();
  const { bitsPerWeight } = await quantization.run();
  const peak = residentMemory().peak;
  // The first step opens sessions.
  const step = Math.min(...stamps.slice(1).map((at, i) => at - stamps[i])) / 1000;
  const block = await model.weights.block(0);
  const x = await model.embed(concat(text.draw(1, 0).windows, Int32Array), windows);
  const pass = async () => {
    await engine.feedForward(await engine.attend(x, block), block);
  };
  await pass();
  const forward = Math.min((await once(pass)).seconds, (await once(pass)).seconds);
  const all = windows * length, perToken = { step: step / all, forward: forward / all };
  const hours = 32 * laptop.tokens * (laptop.steps * perToken.step + 2 * laptop.pool * perToken.forward) / 3600;
  const gpuHours = gpu.steps * gpu.tokens * gpu.perWeight * 6.98e9 / gpu.rate / 3600;
  console.error(`${method.name}, ${windows} windows of ${length} tokens, ${bitsPerWeight.toFixed(4)} bits per weight`);
  console.error(
    `  relative error            ${errors[0].toFixed(4)} -> ${errors.at(-1)!.toFixed(4)} in ${steps} steps`,
  );
  console.error(`  forward pass alone        ${(1 / perToken.forward).toFixed(0)} tokens/s`);
  console.error(
    `  a step                    ${(1 / perToken.step).toFixed(0)} tokens/s, ${
      (step / forward).toFixed(2)
    } forward passes`,
  );
  console.error(
    `  peak resident memory      ${gigabytes(peak)} (bar ${gigabytes(MEMORY_BAR)}); the plan said ${
      gigabytes(plan.memoryBytes)
    }`,
  );
  console.error(
    `  laptop, 32 blocks, ${laptop.steps} steps of ${laptop.tokens} tokens: ${hours.toFixed(1)} h on this machine`,
  );
  console.error(
    `  gpu, by the model, ${gpu.steps} steps of ${gpu.tokens} tokens at ${gpu.rate / 1e12} TFLOP/s: ${
      gpuHours.toFixed(1)
    } h by count`,
  );
  const missed = judge([{ what: "memory of block tuning", found: peak, atMost: MEMORY_BAR }]);
  console.log(JSON.stringify({ bench: "full block tuning", method: method.name, step, forward, peak, hours, missed }));
} finally {
  await Deno.remove(folder, { recursive: true });
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
