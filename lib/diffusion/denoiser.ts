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
