/** What happens when a model writes answers with a sampler: passes, spans, and commits that full precision would not have made. */
import type { Denoiser } from "../../diffusion/denoiser.ts";
import type { Sampler } from "../../diffusion/sampler.ts";

/** A prompt with its one right answer. */
export interface PromptItem {
  readonly id: string;
  readonly prompt: Int32Array;
  readonly answer: Int32Array;
}

export interface DecodeOptions {
  readonly seed: number;
  readonly sampler: Sampler;
  /** Steps that the sampler is given for an answer of so many tokens; as many as tokens by default. */
  readonly steps?: (length: number) => number;
  /** Tokens per span, the last one of an answer being what is left; the whole answer by default. */
  readonly span?: number;
  /** Full precision, which is asked what it would have committed. */
  readonly reference?: Denoiser;
  /** A clock in milliseconds. */
  readonly now?: () => number;
  /** Sequences per pass when model and reference are compared. */
  readonly batch?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** How one answer was written. */
export interface Decoded {
  readonly id: string;
  /** Prompt and answer. */
  readonly tokens: Int32Array;
  /** Whether all tokens of the answer are right. */
  readonly right: boolean;
  /** Tokens of the answer. */
  readonly length: number;
  readonly passes: number;
  /** Sequences that the sampler's second model ran, if it has one. */
  readonly helperPasses?: number;
  readonly spans: number;
  /** Sum over the spans of the passes that wrote to them: a pass that writes to two counts for both, one that writes nothing for none. */
  readonly spanPasses: number;
  /** Spans that took as many passes as they have tokens: nothing in them was written in parallel. */
  readonly capped: number;
  /** Commits where the reference's likeliest token is not the model's on the same canvas; without a reference undefined. */
  readonly flips?: number;
  /** From prompt to answer; without a clock undefined. */
  readonly seconds?: number;
}

/**
 * Lets the model answer each prompt, and watches: any sampler, by the states that it visits. Seeds depend on (seed, id) only. For flips, model and
 * reference both run each canvas that was visited, whole and in the same batches, and their likeliest tokens (the mask aside) are compared where the
 * next state has a token: a model compared with itself has none, whatever its sampler draws.
 *
 * @throws RangeError for a span that is no positive integer and a reference of another vocabulary, and what the sampler refuses.
 */
export async function decode(
  denoiser: Denoiser,
  items: readonly PromptItem[],
  { seed, sampler, steps = (n) => n, span = Infinity, now, batch = 32, ...options }: DecodeOptions,
): Promise<Decoded[]> {
  const { reference, onProgress, signal } = options;
  if (!(span === Infinity || (Number.isInteger(span) && span > 0))) {
    throw new RangeError(`Cannot decode with span ${span}: wanted a positive integer`);
  }
  if (reference && (reference.maskId !== denoiser.maskId || reference.vocabSize !== denoiser.vocabSize)) {
    throw new RangeError(
      `Cannot decode: the reference has ${reference.vocabSize} tokens with mask ${reference.maskId}, the model ` +
        `${denoiser.vocabSize} with mask ${denoiser.maskId}; wanted a reference of the same vocabulary`,
    );
  }
  const decoded: Decoded[] = [];
  for (const { id, prompt, answer } of items) {
    const { length } = answer;
    const way: Way[] = [];
    const begun = now?.();
    const walk = sampler.walk(denoiser, prompt, { length, steps: steps(length), seed: `${seed} decode ${id}`, signal });
    for await (const { tokens, passes, helperPasses } of walk) way.push({ tokens, passes, helperPasses });
    const seconds = now && begun !== undefined ? (now() - begun) / 1000 : undefined;

    const { tokens, passes, helperPasses } = way.at(-1)!;
    const commits = commitsOf(way, denoiser.maskId);
    decoded.push({
      id,
      tokens,
      right: answer.every((token, i) => tokens[prompt.length + i] === token),
      length,
      passes,
      helperPasses,
      ...spansOf(commits, { from: prompt.length, length, span }),
      flips: reference && await flipsOf(denoiser, reference, commits, { batch, signal }),
      seconds,
    });
    onProgress?.(decoded.length, items.length);
  }
  return decoded;
}

/** A state of the walk, as far as it is kept. */
interface Way {
  readonly tokens: Int32Array;
  readonly passes: number;
  readonly helperPasses?: number;
}

/** The positions that were written on a canvas, and in how many passes. */
interface Commit {
  readonly canvas: Int32Array;
  readonly positions: readonly number[];
  readonly passes: number;
}

function commitsOf(way: readonly Way[], maskId: number): Commit[] {
  return way.slice(1).flatMap(({ tokens, passes }, i) => {
    const { tokens: canvas, passes: before } = way[i];
    const positions = [...canvas.keys()].filter((p) => canvas[p] === maskId && tokens[p] !== maskId);
    return positions.length > 0 ? [{ canvas, positions, passes: passes - before }] : [];
  });
}

function spansOf(
  commits: readonly Commit[],
  { from, length, span }: { readonly from: number; readonly length: number; readonly span: number },
) {
  const size = Math.min(span, length);
  const took = new Array<number>(Math.ceil(length / size)).fill(0);
  for (const { positions, passes } of commits) {
    for (const s of new Set(positions.map((p) => Math.floor((p - from) / size)))) took[s] += passes;
  }
  return {
    spans: took.length,
    spanPasses: took.reduce((a, b) => a + b, 0),
    capped: took.filter((n, s) => n >= Math.min(size, length - s * size)).length,
  };
}

async function flipsOf(
  denoiser: Denoiser,
  reference: Denoiser,
  commits: readonly Commit[],
  { batch, signal }: { readonly batch: number; readonly signal?: AbortSignal },
): Promise<number> {
  let flips = 0;
  for (let start = 0; start < commits.length; start += batch) {
    signal?.throwIfAborted();
    const part = commits.slice(start, start + batch);
    const { length } = part[0].canvas;
    const tokens = new Int32Array(part.length * length);
    part.forEach(({ canvas }, s) => tokens.set(canvas, s * length));
    const rows = Int32Array.from(part.flatMap(({ positions }, s) => positions.map((p) => s * length + p)));
    const ours = await likeliest(denoiser, tokens, { batch: part.length, rows });
    const theirs = await likeliest(reference, tokens, { batch: part.length, rows });
    flips += ours.filter((token, i) => token !== theirs[i]).length;
  }
  return flips;
}

/** The token of the greatest logit in each row, the mask aside; ties go to the lowest id. */
async function likeliest(
  denoiser: Denoiser,
  tokens: Int32Array,
  options: { readonly batch: number; readonly rows: Int32Array },
): Promise<number[]> {
  const { shape: [rows, vocab], data } = await denoiser.logits(tokens, options);
  return Array.from({ length: rows }, (_, row) => {
    let best = -1;
    for (let id = 0; id < vocab; id++) {
      if (id !== denoiser.maskId && (best < 0 || data[row * vocab + id] > data[row * vocab + best])) best = id;
    }
    return best;
  });
}
