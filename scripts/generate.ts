/** Continues a prompt, or answers one, with a checkpoint: see `deno task generate --help`. */
import { dreamSampler, generate, lladaSampler, loadModel, type Sampler, samplerOf } from "quant-dllm";
import {
  count,
  interruptSignal,
  loadOptions,
  main,
  meter,
  number,
  oneOf,
  readOptions,
  runOptions,
  seedOption,
  standWhereUserStands,
} from "./cli.ts";

const options = readOptions('deno task generate MODEL "PROMPT" [options]', {
  length: { default: "128", help: "tokens to generate", check: count() },
  steps: { default: "", help: "denoising steps; as many as tokens when not given", check: count() },
  sampler: {
    default: "auto",
    help: "llada, dream, or auto: what the model's authors use",
    check: oneOf("auto", "llada", "dream"),
  },
  block: {
    default: "32",
    help: "llada: tokens per block, filled from left to right; at most the length",
    check: count(),
  },
  temperature: { default: "0", help: "0 takes the most probable tokens", check: number() },
  seed: seedOption("of the noise"),
  chat: { default: true, help: "apply the chat template of the checkpoint (--no-chat: continue the plain text)" },
  ...runOptions,
}, 2);

await main(async () => {
  const [location, prompt] = options._;
  const length = Number(options.length), seed = Number(options.seed);
  const steps = options.steps === "" ? length : Number(options.steps);
  standWhereUserStands();
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
  return lladaSampler({ block: Math.min(Number(options.block), length), temperature });
}
