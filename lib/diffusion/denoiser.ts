/** All that samplers, likelihoods and tasks know of a model. */
export interface Denoiser {
  readonly maskId: number;
  readonly vocabSize: number;
  /**
   * The first position that is predicted: 0 by default, 1 where logits are shifted, since nothing predicts the first token of a sequence then. What
   * stands before is never masked nor scored; logits of its rows mean nothing.
   */
  readonly firstPredicted?: number;
  /**
   * Logits of a batch of equally long token sequences. `tokens` holds `batch` sequences one after another (batch 1 by default). With `rows`, only
   * these flat positions (sequence * length + position) go through the head, in the order given; otherwise all do.
   * The result is float32 `[rows or tokens, vocab]`; row i predicts the token at its own position (families with a logit shift are aligned inside).
   */
  logits(tokens: Int32Array, options?: { readonly batch?: number; readonly rows?: Int32Array }): Promise<Logits>;
}

export interface Logits {
  readonly shape: readonly [number, number];
  readonly data: Float32Array;
}

/** A denoiser that can keep keys and values of positions, and run a part of a sequence against them. */
export interface CachingDenoiser extends Denoiser {
  openCache(): SequenceCache;
}

/** Keys and values of one sequence, as they were when their positions were last run. */
export interface SequenceCache extends AsyncDisposable {
  /** Positions that are kept: 0 .. kept - 1. */
  readonly kept: number;
  /** Forgets what is kept from position `length` on. */
  crop(length: number): void;
  /**
   * Runs positions from .. to - 1 of `tokens`, the whole sequence: they attend to one another as they are now, and to all that is kept outside of them as
   * it was. Their keys and values take the place of those that are kept. Row i of the result is of position `rows[i]`, which predicts its own token.
   *
   * @throws RangeError when `from` is beyond what is kept, and for rows outside of the part; where logits are shifted the row before must be in it too.
   */
  run(
    tokens: Int32Array,
    part: { readonly from: number; readonly to: number; readonly rows: Int32Array },
  ): Promise<Logits>;
}

/** Whether a denoiser can keep keys and values. */
export const isCaching = (denoiser: Denoiser): denoiser is CachingDenoiser => "openCache" in denoiser;
