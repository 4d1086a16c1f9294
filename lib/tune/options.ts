/** What a tuning is: what moves, on which text, towards what, how far and for how long. */
import type { Divergence } from "../diffusion/divergence.ts";
import type { MaskShares } from "../diffusion/masks.ts";
import type { MarkedText, TextSource } from "../diffusion/text.ts";

/** Step sizes of Adam at the height of the schedule. */
export interface Rates {
  /** Of each tensor of scales, times its mean absolute value. */
  readonly scales: number;
  /** Of each norm and bias, times its mean absolute value. */
  readonly norms: number;
  /** Of the latents of a linear, times its mean half cell. Twice the default is better for less than a thousand steps, and noisy beyond. */
  readonly latents: number;
}

/** What `tune` moves, on which text, and how long. */
export interface TuneOptions {
  /** What moves: "scales" leave every code as it is; "codes" move too. */
  readonly what: "scales" | "codes";
  /**
   * What is held against the teacher: "model" (default) moves all blocks at once and looks at predictions; "block" moves one block after another, each on
   * what the tuned blocks before it give, and looks at the states that leave it. That is what models can afford that do not fit in memory.
   */
  readonly by?: "model" | "block";
  /** The windows of each step. */
  readonly text: TextSource;
  /** Steps; of each block by block. */
  readonly steps: number;
  /** Of text and masks; the seed of the run by default. */
  readonly seed?: number;
  /** How windows are masked; half through the forward process, half at their answers by default. */
  readonly masks?: MaskShares;
  /** Whether norms and biases move too; they do by default, and are stored in the type of the checkpoint. */
  readonly norms?: boolean;
  readonly loss?: LossWeights;
  readonly rates?: Partial<Rates>;
  /** Block by block: batches of text that are drawn once and gone through again and again; 64 by default. */
  readonly pool?: number;
  /** Windows whose divergence is told every `every` steps of the model, and at the end: not those of `text`, nor their statements. */
  readonly heldOut?: { readonly text: MarkedText; readonly every?: number };
  readonly onProgress?: (progress: TuneProgress) => void;
  readonly signal?: AbortSignal;
}

/** How much the terms of the loss count. */
export interface LossWeights {
  /** By the model: the divergence of masked predictions; 1 by default. */
  readonly kl?: number;
  /** By the model: the relative error of the states behind every half of a block, mean over all tokens; 0 by default. It keeps what the text does not ask for. */
  readonly hidden?: number;
  /** By block: the relative error of a masked token, where that of a visible one counts 1; 1 by default. */
  readonly masked?: number;
}

/** Where a tuning stands after a step. */
export interface TuneProgress {
  /** Steps that are done, of so many; those of all blocks together. */
  readonly step: number;
  readonly steps: number;
  /** By the model: the divergence on this step's text, before it. */
  readonly kl?: number;
  /** The relative error of hidden states there, where the loss counts it. */
  readonly hidden?: number;
  /** Codes that the step changed. */
  readonly changed: number;
  /** After this step, where it was measured. */
  readonly heldOut?: Divergence;
}

const WARMUP = 10;
export const defaultRates: Rates = { scales: 3e-3, norms: 1e-3, latents: 0.025 };
export const evenShares: MaskShares = { forward: 0.5, answers: 0.5 };
export const defaultPool = 64;

/**
 * Checks what can be checked before a step is done.
 *
 * @throws RangeError when `steps` or `pool` is no positive integer, or a weight of the loss negative; TypeError for an option of the other kind of tuning.
 */
export function checkTuning({ what, by = "model", steps, pool, loss = {} }: TuneOptions): void {
  if (what !== "scales" && what !== "codes") throw new RangeError(`Cannot tune ${what}: wanted scales or codes`);
  if (by !== "model" && by !== "block") throw new RangeError(`Cannot tune by ${by}: wanted model or block`);
  if (!(Number.isInteger(steps) && steps > 0)) {
    throw new RangeError(`Cannot tune for ${steps} steps: wanted a positive integer`);
  }
  if (pool !== undefined && !(Number.isInteger(pool) && pool > 0)) {
    throw new RangeError(`Cannot tune on a pool of ${pool} batches: wanted a positive integer`);
  }
  const others: readonly (keyof LossWeights)[] = by === "model" ? ["masked"] : ["kl", "hidden"];
  const wrong = others.find((term) => loss[term] !== undefined);
  if (wrong) throw new TypeError(`Cannot tune by ${by} with loss.${wrong}: that is a term of the other kind`);
  if (by === "model" && pool !== undefined) {
    throw new TypeError("Cannot tune by model with a pool: every step draws text of its own");
  }
  const negative = Object.entries(loss).find(([, weight]) => !(weight >= 0 && weight < Infinity));
  if (negative) {
    throw new RangeError(`Cannot tune with loss.${negative[0]} ${negative[1]}: wanted a number that is not negative`);
  }
}

/** What a method is called whose linears are then tuned: all that the result depends on, but for the seed and the contents of the text. */
export function tunedName(method: string, options: TuneOptions): string {
  const { what, by = "model", text, steps, norms = true, loss = {}, rates = {}, pool, masks } = options;
  const { kl = 1, hidden = 0, masked = 1 } = loss;
  const parts = [
    `${what}-${steps}${by === "block" ? "-a-block" : ""}`,
    `${text.batch}x${text.length}-${text.name.replaceAll(" ", "-")}`,
    ...(kl === 1 && hidden === 0 ? [] : [`kl${kl}-hidden${hidden}`]),
    ...(masked === 1 ? [] : [`masked${masked}`]),
    ...(masks && masks.forward !== evenShares.forward ? [`answers${masks.answers}`] : []),
    ...(pool !== undefined && pool !== defaultPool ? [`pool${pool}`] : []),
    ...Object.entries(rates).filter(([key, rate]) => rate !== defaultRates[key as keyof Rates]).map(([key, rate]) =>
      `${key}${rate}`
    ),
    ...(norms ? [] : ["no-norms"]),
  ];
  return `${method}+tuned:${parts.join("-")}`;
}

/** What model cards say of a tuning. */
export function tuningText(options: TuneOptions, seed: number): string {
  const { what, by = "model", text, steps, norms = true, loss = {}, masks = evenShares } = options;
  const { kl = 1, hidden = 0, masked = 1 } = loss;
  const goal = by === "model"
    ? `loss ${kl} KL and ${hidden} hidden`
    : `relative error of each block's output, masked tokens counted ${masked}`;
  return `${what} ${norms ? "and norms" : "alone"}, ${steps} steps${
    by === "block" ? " a block" : ""
  } of ${text.batch} x ` +
    `${text.length} tokens of ${text.name}, ${goal}, masks ${masks.forward} forward and ${masks.answers} answers, seed ${seed}`;
}

/** The factor on all rates: ten steps of warm-up (half of the steps where there are few), then half a cosine down to zero. */
export function scheduled(step: number, steps: number): number {
  const warm = Math.min(WARMUP, Math.floor(steps / 2));
  if (step < warm) return (step + 1) / warm;
  return 0.5 * (1 + Math.cos(Math.PI * (step - warm) / (steps - warm)));
}
