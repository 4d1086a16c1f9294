/** Continues a prompt, or answers one, with a checkpoint: see `deno task generate --help`. */
import { dreamSampler, generate, lladaSampler, loadModel, type Sampler, samplerOf } from "quant-dllm";
import { interruptSignal, loadOptions, main, meter, positiveInteger, readOptions, runOptions } from "./cli.ts";

const options = readOptions('deno task generate MODEL "PROMPT" [options]', {
  length: { default: "128", help: "tokens to generate" },
  steps: { default: "", help: "denoising steps; as many as tokens when not given" },
  sampler: { default: "auto", help: "llada, dream, or auto: what the model's authors use" },
  block: { default: "32", help: "llada: tokens per block, filled from left to right; at most the length" },
  temperature: { default: "0", help: "0 takes the most probable tokens" },
  seed: { default: "1", help: "of the noise" },
  chat: { default: true, help: "apply the chat template of the checkpoint (--no-chat: continue the plain text)" },
  ...runOptions,
}, 2);

await main(async () => {
  const [location, prompt] = options._;
  const length = positiveInteger("length", options.length);
  const steps = options.steps === "" ? length : positiveInteger("steps", options.steps);
  const seed = Number(options.seed);
  if (!Number.isInteger(seed)) throw new RangeError(`--seed is ${JSON.stringify(options.seed)}, wanted an integer`);
  const signal = interruptSignal();
  await using model = await loadModel(location, loadOptions(options, signal));
  const sampler = samplerNamed(options.sampler === "auto" ? samplerOf(model).name : options.sampler, length);
  const progress = meter(sampler.name, steps, "steps");
  const start = performance.now();
  // Without the flag, a checkpoint with no template is given the plain text.
  const chat = Deno.args.includes("--chat") || (options.chat ? undefined : false);
  const { text, prompt: given, count, passes } = await generate(model, prompt, {
    length,
    steps,
    sampler,
    chat,
    seed,
    signal,
    onStep: ({ done, masked }) => progress.update(done, `${length - masked} of ${length} tokens`),
  });
  progress.finish();
  const seconds = (performance.now() - start) / 1000;
  console.error(given === prompt ? "continued the plain text" : "applied the chat template");
  const rate = (count / seconds).toFixed(1);
  console.error(`${count} tokens in ${seconds.toFixed(1)} s, ${rate} per second, ${passes} passes`);
  console.log(text);
});

function samplerNamed(name: string, length: number): Sampler {
  const temperature = Number(options.temperature);
  if (name.startsWith("dream")) return dreamSampler({ temperature });
  if (name !== "llada") throw new RangeError(`Unknown sampler ${name}: wanted auto, llada or dream`);
  return lladaSampler({ block: Math.min(positiveInteger("block", options.block), length), temperature });
}
