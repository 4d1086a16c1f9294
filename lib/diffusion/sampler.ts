/** Samplers of masked diffusion models: from a prompt and masks to text, over the Denoiser seam. */
import { type Rng, rng } from "../tensor/rng.ts";
import type { Denoiser } from "./denoiser.ts";
import { type Choice, type Confidence, gumbel, gumbelChoice, nucleusChoice } from "./sampler_choice.ts";
import { denoisingTimes, evenCounts, transferShare } from "./schedule.ts";

/** A point of a sampler's way from masks to text. */
export interface SampleState {
  /** Prompt and answer, with masks where nothing is committed yet; a copy. */
  readonly tokens: Int32Array;
  /** Masked positions left. */
  readonly masked: number;
  /** Steps done, of `steps`. */
  readonly done: number;
  readonly steps: number;
  /** Forward passes made (NFE): a step that commits nothing makes none. */
  readonly passes: number;
  /** Sequences that a second model, which the sampler asks besides, has run. */
  readonly helperPasses?: number;
}

export interface WalkOptions {
  /** Tokens to generate. */
  readonly length: number;
  readonly steps: number;
  /** Noise is drawn per step and position, from streams of their own. */
  readonly seed: number | string;
  readonly signal?: AbortSignal;
}

/** A way of sampling with its options bound. */
export interface Sampler {
  /** Canonical, derived from the options. */
  readonly name: string;
  /** Yields the state before the first step and after every step; between them the tokens are what the model saw. */
  walk(denoiser: Denoiser, prompt: Int32Array, options: WalkOptions): AsyncGenerator<SampleState>;
}

export interface LladaOptions {
  /** Tokens per block; blocks are filled from left to right. Default: all in one. */
  readonly block?: number;
  /** T of the Gumbel noise. */
  readonly temperature?: number;
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
 * through the head. Throws `RangeError` where blocks do not divide the length, or the number of blocks the steps.
 *
 * @example
 * ```ts
 * import { generate, lladaSampler, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const sampler = lladaSampler({ block: 2, temperature: 0.5 }); // two tokens at a time, from left to right
 * const { text, passes } = await generate(model, "shift t e c by 2 :", { length: 4, steps: 4, seed: 1, sampler });
 * ```
 */
export function lladaSampler(options: LladaOptions = {}): Sampler {
  const { block, temperature = 0, remasking = "low_confidence", forbid = [], defer = [] } = options;
  check("temperature", temperature, temperature >= 0, "a number from 0 on");
  const random = remasking === "random";
  const sets = { forbid: new Set(forbid), defer: new Set(defer) };
  const name = ["llada", block === undefined ? "" : `b${block}`, temperature > 0 ? `t${temperature}` : ""];
  name.push(random ? "random" : "", forbid.length > 0 ? `forbid${forbid.join("+")}` : "");
  name.push(defer.length > 0 ? `defer${defer.join("+")}` : "");
  return {
    name: name.filter(Boolean).join("-"),
    walk(denoiser, prompt, walk) {
      const { length, steps } = walk;
      const size = block ?? length;
      check("block", size, Number.isInteger(size) && size > 0 && length % size === 0, `a divisor of length ${length}`);
      const blocks = length / size;
      check("steps", steps, steps % blocks === 0, `a multiple of the ${blocks} blocks`);
      const counts = evenCounts(size, steps / blocks);
      return denoise(denoiser, prompt, walk, {
        plan(step, masked) {
          const end = prompt.length + size * (Math.floor(step * blocks / steps) + 1);
          return { positions: masked.filter((p) => p < end), count: counts[step % counts.length] };
        },
        choose(logits, stream) {
          const noise = stream("token");
          const choice = gumbelChoice(logits, { maskId: denoiser.maskId, ...sets, temperature, random: noise });
          return random ? { ...choice, confidence: stream("remask").next() } : choice;
        },
      });
    },
  };
}

export interface DreamOptions {
  /** Which predictions are committed first: random ones (`origin`), or those of highest probability, lead over the next, or lowest entropy. */
  readonly alg?: "origin" | "maskgit_plus" | "topk_margin" | "entropy";
  /** Above 0, positions are drawn by softmax(confidence / algTemp) without replacement; not for `origin`. */
  readonly algTemp?: number;
  readonly temperature?: number;
  readonly topP?: number;
  /** The time at which denoising ends. */
  readonly eps?: number;
}

const confidences: Readonly<Record<"maskgit_plus" | "topk_margin" | "entropy", Confidence>> = {
  maskgit_plus: "probability",
  topk_margin: "margin",
  entropy: "entropy",
};

/**
 * Dream's sampler (generation_utils.py): the whole answer competes in every step, and a step from time t to s commits floor(n (1 - s / t)) of n masked
 * tokens, the last one all; under `origin` each with probability 1 - s / t instead. As for LLaDA, the mask itself is never predicted.
 *
 * @example
 * ```ts
 * import { dreamSampler, generate, loadModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const sampler = dreamSampler({ alg: "topk_margin", temperature: 0.2, topP: 0.95 });
 * const { text, passes } = await generate(model, "shift t e c by 2 :", { length: 4, steps: 2, seed: 1, sampler });
 * ```
 */
export function dreamSampler(options: DreamOptions = {}): Sampler {
  const { alg = "entropy", algTemp = 0, temperature = 0, topP = 1, eps = 1e-3 } = options;
  check("temperature", temperature, temperature >= 0, "a number from 0 on");
  check("algTemp", algTemp, algTemp >= 0, "a number from 0 on");
  check("topP", topP, topP > 0 && topP <= 1, "a share above 0, at most 1");
  check("eps", eps, eps >= 0 && eps < 1, "a time from 0 on, below 1");
  const confidence = alg === "origin" ? "probability" : confidences[alg];
  if (confidence === undefined) {
    throw new RangeError(`Cannot sample with alg ${alg}: wanted origin, ${Object.keys(confidences).join(", ")}`);
  }
  const name = [`dream-${alg}`, algTemp > 0 ? `at${algTemp}` : "", temperature > 0 ? `t${temperature}` : ""];
  name.push(topP < 1 ? `p${topP}` : "", eps === 1e-3 ? "" : `eps${eps}`);
  return {
    name: name.filter(Boolean).join("-"),
    walk(denoiser, prompt, walk) {
      const times = denoisingTimes(walk.steps, eps);
      return denoise(denoiser, prompt, walk, {
        plan(step, masked, stream) {
          const share = transferShare(times, step);
          if (alg !== "origin") return { positions: masked, count: Math.floor(masked.length * share) };
          const positions = masked.filter((p) => stream("transfer", p).next() < share);
          return { positions, count: positions.length };
        },
        choose(logits, stream) {
          const { maskId } = denoiser;
          const choice = nucleusChoice(logits, { maskId, temperature, topP, confidence, random: stream("token") });
          // The greatest of x / T + Gumbel noise, one after the other, are draws by softmax(x / T) without replacement.
          const drawn = algTemp > 0 ? choice.confidence / algTemp + gumbel(stream("remask")) : choice.confidence;
          return { ...choice, confidence: drawn };
        },
      });
    },
  };
}

export interface SampleOptions extends Omit<WalkOptions, "steps"> {
  /** Default: as many as tokens. */
  readonly steps?: number;
  readonly sampler?: Sampler;
  /** After every step. */
  readonly onStep?: (state: SampleState) => void;
}

/**
 * Generates `length` tokens after the prompt and gives the last state: prompt and answer, nothing masked.
 *
 * @param prompt token ids, int32; none of them the mask.
 * @throws RangeError for a length or steps that are no positive integers, a masked prompt, an empty one where the model predicts from the
 *   token before, and what the sampler refuses.
 */
export async function sample(
  denoiser: Denoiser,
  prompt: Int32Array,
  { sampler = lladaSampler(), steps, onStep, ...options }: SampleOptions,
): Promise<SampleState> {
  let last: SampleState | undefined;
  for await (const state of sampler.walk(denoiser, prompt, { ...options, steps: steps ?? options.length })) {
    if (state.done > 0) onStep?.(state);
    last = state;
  }
  return last!;
}

/** What tells one sampler from another: which masked positions a step asks about and how many it commits, and what it makes of a row. */
interface Rules {
  plan(
    step: number,
    masked: readonly number[],
    stream: (use: string, position: number) => Rng,
  ): { readonly positions: readonly number[]; readonly count: number };
  choose(logits: Float32Array, stream: (use: string) => Rng): Choice;
}

async function* denoise(
  denoiser: Denoiser,
  prompt: Int32Array,
  { length, steps, seed, signal }: WalkOptions,
  { plan, choose }: Rules,
): AsyncGenerator<SampleState> {
  const canvas = openCanvas(denoiser, prompt, length);
  check("steps", steps, Number.isInteger(steps) && steps > 0, "a positive integer");
  const { maskId, vocabSize } = denoiser;
  let masked = Array.from({ length }, (_, i) => prompt.length + i);
  let passes = 0;
  for (let step = 0; step < steps; step++) {
    yield { tokens: canvas.slice(), masked: masked.length, done: step, steps, passes };
    signal?.throwIfAborted();
    const stream = (use: string, position: number) => rng(seed, "sampler", use, step, position);
    const { positions, count } = plan(step, masked, stream);
    if (count === 0) continue;
    const { data } = await denoiser.logits(canvas.slice(), { rows: Int32Array.from(positions) });
    passes++;
    const choices = positions.map((position, i) => {
      const row = data.subarray(i * vocabSize, (i + 1) * vocabSize);
      return { position, ...choose(row, (use) => stream(use, position)) };
    });
    choices.sort((a, b) => b.confidence - a.confidence || a.position - b.position);
    for (const { position, token } of choices.slice(0, count)) canvas[position] = token;
    masked = masked.filter((p) => canvas[p] === maskId);
  }
  yield { tokens: canvas, masked: masked.length, done: steps, steps, passes };
}

/**
 * The prompt and `length` masks after it. Throws `RangeError` for a length that is no positive integer, a masked prompt, and one that is too short for
 * the model to predict what follows.
 */
export function openCanvas({ maskId, firstPredicted = 0 }: Denoiser, prompt: Int32Array, length: number): Int32Array {
  check("length", length, Number.isInteger(length) && length > 0, "a positive integer");
  const hole = prompt.indexOf(maskId);
  if (hole >= 0) throw new RangeError(`Cannot sample: token ${hole} of the prompt is the mask, ${maskId}`);
  if (prompt.length < firstPredicted) {
    throw new RangeError(
      `Cannot sample after ${prompt.length} tokens: this model predicts from position ${firstPredicted} on; give a prompt`,
    );
  }
  const canvas = new Int32Array(prompt.length + length).fill(maskId);
  canvas.set(prompt);
  return canvas;
}

/** Throws `RangeError` for an option of a sampler that is not right; `wanted` says what is. */
export function check(option: string, value: number, right: boolean, wanted: string): void {
  if (!right) throw new RangeError(`Cannot sample with ${option} ${value}: wanted ${wanted}`);
}
