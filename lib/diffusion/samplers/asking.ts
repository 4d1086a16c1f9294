/** How a sampler asks a model about positions of its canvas: all of it every time, a part of it against what is kept, or guided away from the prompt. */
import { type Denoiser, isCaching, type Logits } from "../denoiser.ts";

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

/**
 * Classifier-free guidance (generate.py of LLaDA): l_u + (w + 1) (l_c - l_u), l_c being the logits of the canvas and l_u those of it with the prompt masked.
 * Both run as one batch of two.
 *
 * @param weight w; 0 would give l_c.
 * @param prompt positions 0 .. prompt - 1 are the prompt.
 */
export function askGuided(
  denoiser: Denoiser,
  { weight, prompt }: { readonly weight: number; readonly prompt: number },
): Asking {
  return {
    cost: 2,
    async logits(tokens, positions) {
      const n = tokens.length, both = new Int32Array(2 * n), count = positions.length;
      both.set(tokens);
      both.set(tokens, n);
      both.fill(denoiser.maskId, n, n + prompt);
      const rows = Int32Array.from([...positions, ...positions.map((p) => n + p)]);
      const { shape: [, vocab], data } = await denoiser.logits(both, { batch: 2, rows });
      const out = new Float32Array(count * vocab);
      for (let k = 0, u = out.length; k < out.length; k++, u++) out[k] = data[u] + (weight + 1) * (data[k] - data[u]);
      return { shape: [count, vocab], data: out };
    },
    async [Symbol.asyncDispose]() {},
  };
}
