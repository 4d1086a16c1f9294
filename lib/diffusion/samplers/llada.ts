/** LLaDA's sampler: blocks from left to right, in each the surest predictions first. */
import { type Choice, gumbelChoice } from "../sampler_choice.ts";
import { check, type Sampler } from "../sampler.ts";
import { evenCounts } from "../schedule.ts";
import { askGuided, askKept, askWhole, type Keeping } from "./asking.ts";
import { denoise } from "./denoise.ts";

export interface LladaOptions {
  /** Tokens per block; blocks are filled from left to right. Default: all in one. */
  readonly block?: number;
  /** T of the Gumbel noise. */
  readonly temperature?: number;
  /** w of classifier-free guidance, which runs each step with the prompt masked too; none by default. */
  readonly cfg?: number;
  /** Commits per step all predictions of a block at least so probable, and the surest one, instead of so many for each step (Fast-dLLM, §3.3). */
  readonly threshold?: number;
  /** f: commits per step the n surest for the largest n with (n + 1) (1 - c_n) < f, c_n being the probability of the n-th; one at least. */
  readonly factor?: number;
  /** Keys and values that are kept within a block: those before it, or those behind it too. They are approximate, as all else changes meanwhile. */
  readonly cache?: Keeping | "none";
  /** Which predictions are committed first: those of highest probability, or random ones. */
  readonly remasking?: "low_confidence" | "random";
  /** Tokens that are never chosen: the end of text, for answers of full length (`logits_eos_inf` of the reference). */
  readonly forbid?: readonly number[];
  /** Tokens that are committed after all others: end of text and of turn (`confidence_eos_eot_inf`, as it is meant). */
  readonly defer?: readonly number[];
}

/**
 * LLaDA's sampler (generate.py): the answer is cut into blocks, each block's masks are predicted S times over, and each time the surest predictions are
 * committed, `evenCounts` many. One difference: the mask itself is never predicted, so that every commit counts. Only the masked rows of the block go
 * through the head. With a threshold or a factor (Fast-dLLM, arXiv 2505.22618) a block takes as many passes as its predictions need, and the steps bound
 * nothing: they stay as many as tokens.
 *
 * @throws RangeError for options that are out of range or exclude one another; `walk` where blocks do not divide the length or the number of blocks the
 *   steps, where steps are named beside a threshold or factor, and for a cache where the model keeps nothing.
 *
 * @example
 * ```ts
 * import { generate, lladaSampler, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const prompt = "shift t e c by 2 :";
 * for (const sampler of [lladaSampler({ block: 2 }), lladaSampler({ block: 4, threshold: 0.9, cache: "dual" })]) {
 *   const { text, passes } = await generate(model, prompt, { length: 4, seed: 1, sampler });
 *   console.log(sampler.name, passes, text); // as sure as the model is, so few passes
 * }
 * ```
 */
export function lladaSampler(options: LladaOptions = {}): Sampler {
  const { block, temperature = 0, cfg = 0, threshold, factor, cache = "none" } = options;
  const { remasking = "low_confidence", forbid = [], defer = [] } = options;
  const random = remasking === "random", parallel = parallelCount(options);
  checkOptions(options);
  const sets = { forbid: new Set(forbid), defer: new Set(defer) };
  const name = ["llada", block === undefined ? "" : `b${block}`, temperature > 0 ? `t${temperature}` : ""];
  name.push(cfg > 0 ? `cfg${cfg}` : "", threshold === undefined ? "" : `threshold${threshold}`);
  name.push(factor === undefined ? "" : `factor${factor}`, cache === "none" ? "" : cache);
  name.push(random ? "random" : "", forbid.length > 0 ? `forbid${forbid.join("+")}` : "");
  name.push(defer.length > 0 ? `defer${defer.join("+")}` : "");
  return {
    name: name.filter(Boolean).join("-"),
    walk(denoiser, prompt, walk) {
      const { length, steps } = walk;
      const size = block ?? length;
      check("block", size, Number.isInteger(size) && size > 0 && length % size === 0, `a divisor of length ${length}`);
      const blocks = length / size;
      if (parallel) check("steps", steps, steps === length, "none beside a threshold or factor, which decide them");
      check("steps", steps, steps % blocks === 0, `a multiple of the ${blocks} blocks`);
      const counts = evenCounts(size, steps / blocks);
      return denoise(denoiser, prompt, walk, {
        plan(step, masked) {
          const at = parallel ? Math.floor((masked[0] - prompt.length) / size) : Math.floor(step * blocks / steps);
          const start = prompt.length + size * at, end = start + size;
          const count = parallel ?? counts[step % counts.length];
          return { positions: masked.filter((p) => p < end), count, span: [start, end] };
        },
        choose(logits, stream) {
          const noise = stream("token");
          const choice = gumbelChoice(logits, { maskId: denoiser.maskId, ...sets, temperature, random: noise });
          // What is deferred stays last in a random order too.
          return random && !sets.defer.has(choice.token) ? { ...choice, confidence: stream("remask").next() } : choice;
        },
        ask: (denoiser) =>
          cfg > 0
            ? askGuided(denoiser, { weight: cfg, prompt: prompt.length })
            : cache === "none"
            ? askWhole(denoiser)
            : askKept(denoiser, cache),
        ends: parallel !== undefined,
      });
    },
  };
}

/** How many predictions are committed by their probabilities; undefined where the schedule says it. */
function parallelCount({ threshold, factor }: LladaOptions): ((surestFirst: readonly Choice[]) => number) | undefined {
  if (threshold !== undefined) {
    return (surest) => Math.max(1, surest.findLastIndex(({ confidence }) => confidence >= threshold) + 1);
  }
  if (factor === undefined) return undefined;
  // c falls and n rises: the largest n is the last for which it holds.
  return (surest) => Math.max(1, surest.findLastIndex(({ confidence }, i) => (i + 2) * (1 - confidence) < factor) + 1);
}

function checkOptions(options: LladaOptions): void {
  const { temperature = 0, cfg = 0, threshold = 0, factor = 1, cache = "none", remasking = "low_confidence" } = options;
  check("temperature", temperature, temperature >= 0, "a number from 0 on");
  check("cfg", cfg, cfg >= 0 && cfg < Infinity, "a number from 0 on");
  check("threshold", threshold, threshold >= 0, "a probability");
  check("factor", factor, factor > 0, "a number above 0");
  check("cache", cache, ["none", "prefix", "dual"].includes(cache), "none, prefix or dual");
  check("remasking", remasking, ["low_confidence", "random"].includes(remasking), "low_confidence or random");
  const pairs = [
    ["threshold", "factor", options.threshold !== undefined && options.factor !== undefined],
    ["threshold", "remasking random", options.threshold !== undefined && remasking === "random"],
    ["factor", "remasking random", options.factor !== undefined && remasking === "random"],
    ["cfg", `cache ${cache}`, cfg > 0 && cache !== "none"],
  ] as const;
  for (const [one, other, both] of pairs) {
    if (both) throw new RangeError(`Cannot sample with ${one} and ${other}: wanted one of them`);
  }
}
