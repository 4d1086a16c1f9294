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

/** A denoiser that can keep the keys and values of positions it has run. */
export interface CachingDenoiser extends Denoiser {
  openCache(): Promise<SequenceCache>;
}

/** Keys and values of one sequence. */
export interface SequenceCache extends AsyncDisposable {
  /** Positions that are kept: 0 .. kept - 1. */
  readonly kept: number;
  /** Forgets what is kept from position `length` on. */
  crop(length: number): void;
  /**
   * Runs positions [from, to) of `tokens` (the whole sequence) and keeps their keys and values: they see one another as they are now, and kept positions
   * outside of [from, to) as they were; from <= kept. Gives logits at the absolute positions `rows`, `[rows, vocab]`.
   */
  run(
    tokens: Int32Array,
    window: { readonly from: number; readonly to: number; readonly rows: Int32Array },
  ): Promise<Logits>;
}
