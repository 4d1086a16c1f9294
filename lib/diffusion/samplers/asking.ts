/** How a sampler asks a model about positions of its canvas: all of it every time, a part of it against what is kept, or guided away from the prompt. */
import { type Denoiser, isCaching, type Logits } from "../denoiser.ts";
import { type Guidance, guidedBy } from "./guided.ts";

export interface Asking extends AsyncDisposable {
  /** Function evaluations of one call, in sequences. */
  readonly cost: number;
  /** Logits at `positions`, of a canvas of which only what lies in the span changes until there is another span. */
  logits(tokens: Int32Array, positions: readonly number[], span?: readonly [number, number]): Promise<Logits>;
}

/** Of all positions, each time. */
export function askWhole(denoiser: Denoiser): Asking {
  return {
    cost: 1,
    logits: (tokens, positions) => denoiser.logits(tokens, { rows: Int32Array.from(positions) }),
    async [Symbol.asyncDispose]() {},
  };
}

/**
 * What a sampler keeps of a pass over all positions, made anew at the start of every span (Fast-dLLM, arXiv 2505.22618 §3.2): the keys and values before the
 * span (`prefix`), or those behind it too (`dual`).
 */
export type Keeping = "prefix" | "dual";

/** Of the span alone, or of it and what is behind it, but for the first pass of a span. Throws `RangeError` where the model keeps nothing. */
export function askKept(denoiser: Denoiser, keeping: Keeping): Asking {
  if (!isCaching(denoiser)) {
    throw new RangeError(`Cannot sample with cache ${keeping}: this model keeps no keys and values; wanted none`);
  }
  const cache = denoiser.openCache(), { firstPredicted = 0 } = denoiser;
  let current = -1;
  return {
    cost: 1,
    async logits(tokens, positions, span = [0, tokens.length]) {
      const [start, end] = span, rows = Int32Array.from(positions), known = current === start;
      current = start;
      // Where logits are shifted, the row before the span predicts its first token.
      const from = known ? start - firstPredicted : 0, to = known && keeping === "dual" ? end : tokens.length;
      return await cache.run(tokens, { from, to, rows });
    },
    [Symbol.asyncDispose]: () => cache[Symbol.asyncDispose](),
  };
}

/** Of all positions, each time, and of all but the prompt beside it: two sequences where w is not 0. */
export function askGuided(denoiser: Denoiser, guidance: Guidance): Asking {
  const guided = guidedBy(denoiser, guidance);
  return { ...askWhole(guided), cost: guided === denoiser ? 1 : 2 };
}
