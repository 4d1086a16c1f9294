/** The evidence lower bound of a masked diffusion model per token. */
import type { Denoiser } from "../diffusion/denoiser.ts";
import { stratifiedCounts } from "../diffusion/forward.ts";
import { rng } from "../tensor/rng.ts";
import { type DrawOptions, logProbabilities, type Query } from "./scoring.ts";

export interface ElboResult {
  /** Upper bound on the negative log-likelihood per token, in nats. */
  readonly nats: number;
  /** Number of windows. */
  readonly n: number;
  /** Of `nats`, over windows. */
  readonly standardError: number;
  /** Of `nats`, over mask draws within windows. */
  readonly mcStandardError: number;
  /** The bound of each window, nats per token: for paired comparisons. */
  readonly perWindow: Float64Array;
}

/**
 * Estimates -ELBO / L per window as the mean over `draws` masks of (1 / n_i) Σ -log p over the n_i masked tokens: the weight L / n_i of the likelihood
 * estimate over L. L counts the tokens that the model predicts: all, or all but the first where logits are shifted, which stays visible and is given.
 * Mask counts are stratified over 1..L; masks depend on (seed, window, draw, L) only, so models of one kind are compared on the same.
 * Throws `RangeError` for a window with nothing to predict, and for a number of draws that is no positive integer.
 */
export async function elbo(
  denoiser: Denoiser,
  windows: readonly Int32Array[],
  { draws, seed, batch, signal, onProgress }: DrawOptions,
): Promise<ElboResult> {
  const n = windows.length;
  const { maskId, firstPredicted = 0 } = denoiser;
  const perWindow = new Float64Array(n);
  let mcVariance = 0;
  const chunk = 32;
  for (let start = 0; start < n; start += chunk) {
    const part = windows.slice(start, start + chunk);
    const queries = part.flatMap((tokens, i) => {
      const length = tokens.length - firstPredicted;
      const counts = stratifiedCounts(length, draws, rng(seed, "elbo-counts", start + i));
      return Array.from(counts, (count, d): Query => {
        const chosen = rng(seed, "elbo-mask", start + i, d).choose(length, count).sort();
        const positions = Array.from(chosen, (p) => firstPredicted + p);
        const masked = Int32Array.from(tokens);
        for (const p of positions) masked[p] = maskId;
        return { tokens: masked, positions, ids: positions.map((p) => tokens[p]) };
      });
    });
    const answers = await logProbabilities(denoiser, queries, { batch, signal });
    part.forEach((_, i) => {
      const estimates = answers.slice(i * draws, (i + 1) * draws).map((x) => -x.reduce((a, b) => a + b, 0) / x.length);
      const mean = estimates.reduce((a, b) => a + b, 0) / draws;
      perWindow[start + i] = mean;
      if (draws > 1) mcVariance += estimates.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (draws - 1) / draws;
    });
    onProgress?.(start + part.length, n);
  }
  const nats = perWindow.reduce((a, b) => a + b, 0) / n;
  const spread = perWindow.reduce((sum, x) => sum + (x - nats) ** 2, 0);
  return {
    nats,
    n,
    standardError: n > 1 ? Math.sqrt(spread / (n - 1) / n) : NaN,
    mcStandardError: draws > 1 ? Math.sqrt(mcVariance) / n : NaN,
    perWindow,
  };
}
