/** Adaptive parallel decoding (Israel, Van den Broeck, Grover: arXiv 2506.00413): drafted by the diffusion model at once, kept as far as a reader agrees. */
import { type Rng, rng } from "../../tensor/rng.ts";
import type { CachingDenoiser, Denoiser, Logits, SequenceCache } from "../denoiser.ts";
import { check, openCanvas, type Sampler, type SampleState, type WalkOptions } from "../sampler.ts";
import { coupledChoice } from "./coupled.ts";
import { type LeftToRight, stepwise } from "./left_to_right.ts";

/** How much a draft may run ahead of the model that reads it. */
export interface ApdOptions {
  /** The model that reads the draft from left to right; the diffusion model itself by default (`stepwise`). */
  readonly helper?: LeftToRight;
  /** R: the diffusion model's share of the target, 0 to 1. Higher is faster; at 1 the helper is not asked and all is accepted. */
  readonly mix?: number;
  /**
   * W: positions before the newly written ones whose keys and values are computed anew in each pass, older ones being kept as they were; at least 1.
   * Without it nothing is kept.
   */
  readonly window?: number;
  /** M: positions that are drafted at once, at most. */
  readonly lookAhead?: number;
  /** T, of draft and target. */
  readonly temperature?: number;
  /** Restricts draft and target each to the most probable tokens that together pass it. */
  readonly topP?: number;
  /** Tokens that end the text: behind the first one that is written, the answer is filled with it and no pass is made. */
  readonly end?: readonly number[];
  /** Draws as the authors' code does and not as the paper says. */
  readonly released?: boolean;
}

/**
 * Adaptive parallel decoding. From left to right, one pass drafts the next M tokens x from the marginals p_D; a helper gives its p_AR of each drafted
 * token but the first, whose marginal is exact, after those before it. With the same Gumbel noise per position as x, y is drawn from the target
 * p_T ∝ p_D^R p_AR^(1 - R), in logits R l_D + (1 - R) l_AR, and x is written up to where y first differs. `steps` bounds the passes and has to be as
 * large as `length`: each pass writes one token at least. The mask itself is never drafted.
 *
 * The window: pass n computes positions from max(cur - W - k + 1, 0) on, cur being the first masked one and k what was written last. With W = 0 the
 * token at cur - k would stay what it was when it was read last, a mask; and where logits are shifted, the first row would lack the state it comes from.
 *
 * `released` follows the authors' code (danielmisrael/apd) where it departs from the paper: (a) y is the argmax of the target, without noise, so that
 * nothing is coupled; (b) the draft's logits are divided by T and its noise multiplied by T, so that it is drawn at T². Their third departure (d), that
 * after a fully accepted window the helper's logits for the next token are those of the last one, changes no text: that token is accepted whatever they
 * are. GAP(paper): what top-p does to the target is not said; here it restricts the target like the draft, so that equal distributions stay equal.
 *
 * @throws RangeError for options out of range, `steps` below `length`, and a window where the model keeps no keys and values.
 *
 * @example
 * ```ts
 * import { apdSampler, generate, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const prompt = "sort down d i j f s : s j i f d . sort up n v e g z :";
 * for (const mix of [0, 0.7, 1]) {
 *   const { text, passes } = await generate(model, prompt, { length: 5, seed: 1, sampler: apdSampler({ mix }) });
 *   console.log(mix, passes, text); // the more the marginals count, the fewer passes
 * }
 * ```
 */
export function apdSampler(options: ApdOptions = {}): Sampler {
  const { mix = 0.7, window, lookAhead = 100, temperature = 0, topP = 1, end = [], released = false } = options;
  check("mix", mix, mix >= 0 && mix <= 1, "a share from 0 to 1");
  check("lookAhead", lookAhead, Number.isInteger(lookAhead) && lookAhead > 0, "a positive integer");
  check("temperature", temperature, temperature >= 0, "a number from 0 on");
  check("topP", topP, topP > 0 && topP <= 1, "a share above 0, at most 1");
  if (window !== undefined) {
    check(
      "window",
      window,
      Number.isInteger(window) && window > 0,
      "a positive integer: what was just written is read anew",
    );
  }
  return {
    name: nameOf(options),
    async *walk(denoiser: Denoiser, prompt: Int32Array, { length, steps, seed, signal }: WalkOptions) {
      const canvas = openCanvas(denoiser, prompt, length);
      check("steps", steps, steps >= length, `at least length ${length}: a pass may write one token alone`);
      await using cache = window === undefined ? undefined : await openCache(denoiser, window);
      await using reading = await (options.helper ?? stepwise(denoiser)).open();
      const { maskId } = denoiser;
      const draft = { maskId, temperature, topP, noise: released ? temperature ** 2 : temperature }; // (b)
      const target = released ? { ...draft, temperature: 0, noise: 0 } : draft; // (a)
      // The target repeats the draft's noise: the same stream, from its beginning. A pass has noise of its own, for a token that was not accepted tells
      // something of the noise that it was drawn with.
      const noiseOf = (step: number, position: number): Rng => rng(seed, "sampler", "token", step, position);

      let cur = prompt.length, written = 0;
      for (let step = 0;; step++) {
        const masked = canvas.length - cur;
        const state: SampleState = { tokens: canvas.slice(), masked, done: step, steps, passes: step };
        yield { ...state, helperPasses: reading.passes };
        if (masked === 0) return;
        signal?.throwIfAborted();

        const right = Math.min(cur + lookAhead, canvas.length);
        const rows = Int32Array.from({ length: right - cur }, (_, i) => cur + i);
        const left = step === 0 ? 0 : Math.max(cur - (window ?? 0) - written + 1, 0);
        const drafted = cache
          ? await cache.run(canvas.slice(), { from: left, to: right, rows })
          : await denoiser.logits(canvas.slice(0, right), { rows });
        const x = rows.map((p, i) => coupledChoice(rowOf(drafted, i), { ...draft, random: noiseOf(step, p) }));

        written = mix === 1 && !released ? x.length : 1; // the target is what x was drawn from
        if (written < x.length) {
          const tokens = canvas.slice(0, right);
          tokens.set(x, cur);
          const read = await reading.logits(tokens, { from: cur + 1, to: right });
          for (; written < x.length; written++) {
            const mixed = mixture(mix, rowOf(drafted, written), rowOf(read, written - 1));
            const random = noiseOf(step, cur + written);
            if (coupledChoice(mixed, { ...target, random }) !== x[written]) break;
          }
        }
        canvas.set(x.subarray(0, written), cur);
        reading.crop(cur + written);
        const last = x.subarray(0, written).findIndex((token) => end.includes(token));
        if (last >= 0) canvas.fill(x[last], cur + last);
        cur = last >= 0 ? canvas.length : cur + written;
      }
    },
  };
}

function nameOf(
  { helper, mix = 0.7, window, lookAhead = 100, temperature = 0, topP = 1, ...rest }: ApdOptions,
): string {
  const { end = [], released = false } = rest;
  const name = ["apd", `r${mix}`, window === undefined ? "" : `w${window}`, `m${lookAhead}`];
  name.push(temperature > 0 ? `t${temperature}` : "", topP < 1 ? `p${topP}` : "");
  name.push(end.length > 0 ? `end${end.join("+")}` : "", released ? "released" : "", helper ? `by-${helper.name}` : "");
  return name.filter(Boolean).join("-");
}

const rowOf = ({ shape: [, vocab], data }: Logits, row: number) => data.subarray(row * vocab, (row + 1) * vocab);

/** The target's logits R l_D + (1 - R) l_AR, float64, over the tokens that both know; a part without weight does not count, however infinite. */
function mixture(mix: number, marginal: Float32Array, read: Float32Array): Float64Array {
  return Float64Array.from({ length: Math.min(marginal.length, read.length) }, (_, id) => {
    return (mix > 0 ? mix * marginal[id] : 0) + (mix < 1 ? (1 - mix) * read[id] : 0);
  });
}

async function openCache(denoiser: Denoiser, window: number): Promise<SequenceCache> {
  if ("openCache" in denoiser) return await (denoiser as CachingDenoiser).openCache();
  throw new RangeError(`Cannot sample with window ${window}: this model keeps no keys and values; leave window out`);
}
