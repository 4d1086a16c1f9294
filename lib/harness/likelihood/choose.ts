/** One question: the log-likelihoods of its options, which of them is chosen, and how sure the random masks leave that. */
import type { Denoiser } from "../../diffusion/denoiser.ts";
import type { TextTokenizer } from "../../model/model.ts";
import { type Rng, rng } from "../../tensor/rng.ts";
import { dreamMasks, lladaMasks, type LossOptions, maskedLosses, type TargetMasks } from "./masks.ts";
import { type DreamEnds, encodeDreamPair, encodePair, type Pair } from "./pairs.ts";

/** How likelihoods are estimated: whose estimator, of how many masks. */
export interface LikelihoodProtocol {
  readonly name: "llada" | "dream";
  /** `mc_num`. */
  readonly draws: number;
  /** `batch_size`: masks that are stratified together. */
  readonly batch: number;
  /** w of classifier-free guidance. */
  readonly guidance: number;
  /** The options of a question that are equally long share their masks; the references draw anew for each. */
  readonly common: boolean;
  pair(tokenizer: TextTokenizer, context: string, continuation: string): Pair;
  masks(pair: Pair, random: (repeat: number, row?: number) => Rng): TargetMasks;
}

/** How many masks, and how options share them. */
export interface LikelihoodOptions {
  /** Default 128. */
  readonly draws?: number;
  /** Default 32. */
  readonly batch?: number;
  /** Default 0. */
  readonly guidance?: number;
  /** Default false. */
  readonly common?: boolean;
}

/**
 * LLaDA's estimator (eval_llada.py; arXiv 2502.09992): exact counts of masks, stratified.
 *
 * @example
 * ```ts
 * import { lladaLikelihood } from "quant-dllm";
 *
 * const likelihood = lladaLikelihood({ draws: 128, batch: 32, guidance: 0 }); // as in the tables of the paper
 * console.log(likelihood.name); // what `runHarness` takes
 * ```
 */
export function lladaLikelihood(options: LikelihoodOptions = {}): LikelihoodProtocol {
  const { draws = 128, batch = Math.min(32, draws), guidance = 0, common = false } = options;
  lladaMasks(2, { draws, batch, random: () => rng(0) }); // refuses what cannot be drawn, before a model runs
  return {
    name: "llada",
    draws,
    batch,
    guidance,
    common,
    pair: encodePair,
    masks: ({ target }, random) => lladaMasks(target.length, { draws, batch, random }),
  };
}

/**
 * Dream's estimator (eval.py of its repository): each token of the target is masked on its own, the EOS that ends it never.
 *
 * @example
 * ```ts
 * import { dreamLikelihood } from "quant-dllm";
 *
 * const likelihood = dreamLikelihood({ bos: "<|endoftext|>", eos: 151643, maxLength: 2048 });
 * console.log(likelihood.draws); // 128
 * ```
 */
export function dreamLikelihood(options: Omit<LikelihoodOptions, "guidance"> & DreamEnds): LikelihoodProtocol {
  const { draws = 128, batch = Math.min(32, draws), common = false, ...ends } = options;
  dreamMasks(2, 0, { draws, batch, random: () => rng(0) });
  return {
    name: "dream",
    draws,
    batch,
    guidance: 0,
    common,
    pair: (tokenizer, context, continuation) => encodeDreamPair(tokenizer, context, continuation, ends),
    masks: ({ context, target }, random) =>
      dreamMasks(target.length, context.length === 0 ? 1 : 0, { draws, batch, random }),
  };
}

/** What is asked of a model: the likelihood of a continuation. */
export interface LikelihoodRequest {
  readonly context: string;
  readonly continuation: string;
}

export interface ScoreOptions extends Omit<LossOptions, "guidance"> {
  readonly seed: number;
  /** The question, for the streams of its masks: models that are asked the same see the same masks. */
  readonly question: string;
  /** Tokens that the model reads at most. */
  readonly maxLength?: number;
}

/** Minus the losses of each option, row by row: their means are the log-likelihoods. Throws `RangeError` for a request longer than the model reads. */
export async function optionEstimates(
  denoiser: Denoiser,
  tokenizer: TextTokenizer,
  { protocol, requests }: { readonly protocol: LikelihoodProtocol; readonly requests: readonly LikelihoodRequest[] },
  { seed, question, maxLength = Infinity, ...options }: ScoreOptions,
): Promise<Float64Array[]> {
  const targets = requests.map(({ context, continuation }, i) => {
    const pair = protocol.pair(tokenizer, context, continuation);
    const length = pair.context.length + pair.target.length;
    if (length > maxLength) {
      throw new RangeError(
        `Cannot score ${question}: its prompt and answer have ${length} tokens, and the model reads ${maxLength}; ask for fewer shots`,
      );
    }
    const own = protocol.common ? `length ${pair.target.length}` : i;
    const masks = protocol.masks(pair, (repeat, row = -1) => rng(seed, protocol.name, question, own, repeat, row));
    return { pair, masks };
  });
  const losses = await maskedLosses(denoiser, targets, { ...options, guidance: protocol.guidance });
  return losses.map((rows) => rows.map((loss) => -loss));
}

/** The choice by a measure of the options, and what the masks leave open. */
export interface Chosen {
  /** Log-likelihoods, nats. */
  readonly logLikelihoods: readonly number[];
  /** 1 where the option of highest log-likelihood is the right one; of equal ones, the first counts. */
  readonly acc: number;
  /** The same by log-likelihood per character of the option. */
  readonly accNorm: number;
  /** Variances of the two over other masks, by 100 bootstrap samples of the rows: 0 where one row is exact. */
  readonly mcVariance: { readonly acc: number; readonly accNorm: number };
}

const resamples = 100;

/** Chooses among options by the estimates of `optionEstimates`; `lengths` are their characters. */
export function choose(
  estimates: readonly Float64Array[],
  { gold, lengths, random }: { readonly gold: number; readonly lengths: readonly number[]; readonly random: Rng },
): Chosen {
  const right = (values: readonly number[]) => Number(best(values) === gold);
  const normed = (values: readonly number[]) => values.map((value, i) => value / lengths[i]);
  const logLikelihoods = estimates.map((rows) => rows.reduce((a, b) => a + b, 0) / rows.length);
  const open = estimates.some((rows) => rows.length > 1);
  let acc = 0, accNorm = 0;
  for (let s = 0; open && s < resamples; s++) {
    const drawn = new Map<number, Int32Array>(); // one draw of rows for options with as many: common masks stay common
    const values = estimates.map((rows) => {
      const n = rows.length;
      let picks = drawn.get(n);
      if (!picks) drawn.set(n, picks = Int32Array.from({ length: n }, () => random.int(n)));
      return picks.reduce((sum, row) => sum + rows[row], 0) / n;
    });
    acc += right(values);
    accNorm += right(normed(values));
  }
  const variance = (count: number) => count / resamples * (1 - count / resamples);
  return {
    logLikelihoods,
    acc: right(logLikelihoods),
    accNorm: right(normed(logLikelihoods)),
    mcVariance: { acc: variance(acc), accNorm: variance(accNorm) },
  };
}

/** The first index of the highest value. */
function best(values: readonly number[]): number {
  return values.reduce((at, value, i) => value > values[at] ? i : at, 0);
}
