/** Continues a prompt, or answers one, with a checkpoint: see `deno task generate --help`. */
import {
  type Commit,
  dreamSampler,
  generate,
  lladaSampler,
  loadModel,
  type Model,
  type Sampler,
  samplerOf,
  type SampleState,
} from "quant-dllm";
import { Canvas } from "./canvas.ts";
import {
  count,
  interruptSignal,
  isGiven,
  loadOptions,
  main,
  meter,
  number,
  oneOf,
  readOptions,
  refuse,
  runOptions,
  seedOption,
  standWhereUserStands,
} from "./cli.ts";

const options = readOptions('deno task generate MODEL "PROMPT" [options]', {
  length: {
    default: "auto",
    help: "tokens to generate; auto: 128, or half of what the model reads",
    check: count("auto"),
  },
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
  cfg: {
    default: "0",
    help: "llada: weight of guidance away from the answer without a prompt; twice the work",
    check: number(),
  },
  remasking: {
    default: "low_confidence",
    help: "llada: which predictions are committed first, low_confidence (the surest) or random",
    check: oneOf("low_confidence", "random"),
  },
  threshold: {
    default: "",
    help: "llada: commit all predictions at least so probable, in as many steps as it takes; 0.9 is usual",
    check: number(),
  },
  factor: {
    default: "",
    help: "llada: commit the n surest, (n + 1)(1 - probability of the n-th) below it; 1 is usual",
    check: number(),
  },
  cache: {
    default: "none",
    help: "llada: keep keys and values of what is before a block (prefix), or behind it too (dual)",
    check: oneOf("none", "prefix", "dual"),
  },
  eos: {
    default: "plain",
    help: "llada: end tokens are written like others (plain), last (defer), or never (forbid)",
    check: oneOf("plain", "defer", "forbid"),
  },
  seed: seedOption("of the noise"),
  chat: { default: true, help: "apply the chat template of the checkpoint (--no-chat: continue the plain text)" },
  json: { default: false, help: "one line of JSON on stdout: text, tokens, passes, seconds, tokens per second" },
  ...runOptions,
}, 2);

/** Options of LLaDA's sampler alone. */
const ofLlada = ["cfg", "remasking", "threshold", "factor", "cache", "eos"] as const;

await main(async () => {
  checkTogether();
  const [location, prompt] = options._;
  const seed = Number(options.seed);
  standWhereUserStands();
  const signal = interruptSignal();
  await using model = await loadModel(location, loadOptions(options, signal));
  const length = options.length === "auto"
    ? Math.min(128, Math.floor(model.architecture.maxLength / 2))
    : Number(options.length);
  const steps = options.steps === "" ? length : Number(options.steps);
  const sampler = samplerFor(model, length);
  const progress = watch(model, sampler, steps, length);
  const start = performance.now();
  // Without the flag, a checkpoint with no template is given the plain text.
  const chat = Deno.args.includes("--chat") || (options.chat ? undefined : false);
  const given = { length, steps, sampler, chat, seed, signal, onStep: progress.update };
  const { text, tokens, prompt: shown, count, passes } = await generate(model, prompt, given);
  progress.finish();
  const seconds = (performance.now() - start) / 1000, tokensPerSecond = count / seconds;
  console.error(shown === prompt ? "continued the plain text" : "applied the chat template");
  console.error(
    `${count} new tokens in ${seconds.toFixed(1)} s, ${tokensPerSecond.toFixed(1)} per second, ` +
      evaluations(passes),
  );
  if (count === 0) {
    console.error(
      "the answer is empty: its first token ends the text (--sampler llada --eos forbid writes none of those)",
    );
  }
  const all = { text, tokens: [...tokens], newTokens: count, passes, seconds, tokensPerSecond };
  console.log(options.json ? JSON.stringify({ ...all, sampler: sampler.name, prompt: shown, seed }) : text);
});

/** Exits 2 for options that exclude one another, before anything is loaded. */
function checkTogether(): void {
  const plain = { cfg: "0", remasking: "low_confidence", threshold: "", factor: "", cache: "none", eos: "plain" };
  const set = (name: typeof ofLlada[number]) => options[name] !== plain[name];
  const both = (one: string, other: string) => refuse(`--${one} and --${other} exclude one another: leave one out`);
  if (options.sampler === "dream") refuseForDream(set);
  if (options.threshold !== "" && options.factor !== "") both("threshold", "factor");
  for (const parallel of ["threshold", "factor"] as const) {
    if (options[parallel] === "") continue;
    if (options.steps !== "") both(parallel, "steps");
    if (options.remasking === "random") both(parallel, "remasking random");
  }
  if (options.factor !== "" && Number(options.factor) === 0) refuse("--factor is 0, wanted a number above 0");
  if (set("cfg") && set("cache")) both("cfg", "cache");
}

function refuseForDream(set: (name: typeof ofLlada[number]) => boolean): void {
  const own = ofLlada.find(set);
  if (own) refuse(`--${own} is for LLaDA's sampler: take --sampler llada`);
}

function samplerFor(model: Model, length: number): Sampler {
  const temperature = Number(options.temperature);
  const name = options.sampler === "auto" ? samplerOf(model).name : options.sampler;
  if (name.startsWith("dream")) {
    refuseForDream(isGiven);
    return dreamSampler({ temperature });
  }
  const { eos, remasking, cache, cfg } = options, ends = endsOf(model);
  if (eos !== "plain" && ends.length === 0) refuse(`--eos is ${eos}, but ${model.name} names no end token`);
  return lladaSampler({
    block: Math.min(Number(options.block), length),
    temperature,
    cfg: Number(cfg),
    remasking: remasking as "low_confidence" | "random",
    cache: cache as "none" | "prefix" | "dual",
    ...(options.threshold === "" ? {} : { threshold: Number(options.threshold) }),
    ...(options.factor === "" ? {} : { factor: Number(options.factor) }),
    ...(eos === "plain" ? {} : { [eos]: ends }),
  });
}

/** The end tokens of the model's tokenizer. */
function endsOf({ tokenizer }: Model): readonly number[] {
  return (tokenizer as { readonly eosIds?: readonly number[] }).eosIds ?? [];
}

function evaluations(passes: number): string {
  return `${passes} function evaluation${passes === 1 ? "" : "s"}`;
}

/** Commits with how sure the model was of them, from 0 to 1; without the draws of a random order, which say nothing of it. */
function sureOf({ name }: Sampler, committed: readonly Commit[]): readonly Commit[] {
  if (options.remasking === "random") return [];
  // Dream's is a negative entropy: one over the number of tokens that are equally probable at that entropy.
  return name.startsWith("dream")
    ? committed.map((commit) => ({ ...commit, confidence: Math.exp(commit.confidence) }))
    : committed;
}

/** The canvas in a terminal, the line of a meter elsewhere. */
function watch(model: Model, sampler: Sampler, steps: number, length: number) {
  if (!Deno.stderr.isTerminal()) {
    const progress = meter(sampler.name, steps, "steps");
    const update = ({ done, masked }: SampleState) => progress.update(done, `${length - masked} of ${length} tokens`);
    return { update, finish: () => progress.finish() };
  }
  let canvas: Canvas | undefined;
  const start = performance.now(), encoder = new TextEncoder();
  return {
    update({ tokens, masked, passes, committed = [] }: SampleState) {
      canvas ??= new Canvas({
        ...{ from: tokens.length - length, length, maskId: model.maskId, ends: endsOf(model), colour: !Deno.noColor },
        decode: (ids) => model.tokenizer.decode(ids),
        write: (text) => void Deno.stderr.writeSync(encoder.encode(text)),
        size: () => Deno.consoleSize(),
      });
      const written = length - masked, rate = 1000 * written / (performance.now() - start);
      const done = `${written} of ${length} tokens, ${evaluations(passes)}, ${rate.toFixed(1)} tokens per second`;
      canvas.draw(tokens, sureOf(sampler, committed), done);
    },
    finish: () => canvas?.clear(),
  };
}
