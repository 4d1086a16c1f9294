/** Answer accuracy of packed statements: all answer tokens masked at once, predicted greedily. The measure to watch while training. */
import type { Denoiser } from "../diffusion/denoiser.ts";
import { checkPredicted } from "./scoring.ts";

/** A sequence of statements: `starts[i]` is the first position of statement i, `families[i]` its family, `answers` 1 at answer tokens. */
export interface LabelledSequence {
  readonly tokens: Int32Array;
  readonly answers: Uint8Array;
  readonly starts: ArrayLike<number>;
  readonly families: readonly string[];
}

export interface FamilyAccuracy {
  readonly family: string;
  /** Statements, and the share of them whose answer tokens are all right. */
  readonly n: number;
  readonly exact: number;
  /** Share of answer tokens that are right. */
  readonly token: number;
}

/**
 * Accuracy per family, in order of first appearance, and over all as "mean" (every family counts the same). Throws `RangeError` for sequences of
 * unequal length, and for an answer at a position that the denoiser does not predict.
 *
 * @example
 * ```ts
 * import { loadModel } from "quant-dllm";
 * import { answerAccuracy, createWorld, rng, WORLD_SEED } from "quant-dllm/testbed";
 *
 * const model = await loadModel("data/nano-llada");
 * const world = createWorld({ seed: WORLD_SEED });
 * const draw = (i: number) => world.sequence(rng(WORLD_SEED, "unseen", i), "test", 64);
 * const families = await answerAccuracy(model, Array.from({ length: 64 }, (_, i) => draw(i)));
 * for (const { family, exact } of families) console.log(family, exact);
 * ```
 */
export async function answerAccuracy(
  denoiser: Denoiser,
  sequences: readonly LabelledSequence[],
  { batch = 32 }: { readonly batch?: number } = {},
): Promise<FamilyAccuracy[]> {
  const odd = sequences.find((s) => s.tokens.length !== sequences[0].tokens.length);
  if (odd) {
    throw new RangeError(
      `Cannot measure answers: a sequence has ${odd.tokens.length} tokens, the first ${sequences[0].tokens.length}`,
    );
  }
  sequences.forEach(({ answers }, i) => {
    const first = answers.indexOf(1);
    if (first >= 0) checkPredicted(denoiser, first, `Cannot measure the answers of sequence ${i}`);
  });
  const counts = new Map<string, { n: number; exact: number; tokens: number; right: number }>();
  for (let start = 0; start < sequences.length; start += batch) {
    const part = sequences.slice(start, start + batch);
    const length = part[0].tokens.length;
    const tokens = new Int32Array(part.length * length);
    const rows: number[] = [];
    part.forEach(({ tokens: t, answers }, i) => {
      for (let p = 0; p < length; p++) {
        tokens[i * length + p] = answers[p] ? denoiser.maskId : t[p];
        if (answers[p]) rows.push(i * length + p);
      }
    });
    const { shape: [, vocab], data } = await denoiser.logits(tokens, {
      batch: part.length,
      rows: Int32Array.from(rows),
    });
    let row = 0;
    for (const { tokens: t, answers, starts, families } of part) {
      for (let s = 0; s < families.length; s++) {
        const end = s + 1 < families.length ? starts[s + 1] : length;
        const count = counts.get(families[s]) ?? { n: 0, exact: 0, tokens: 0, right: 0 };
        counts.set(families[s], count);
        let wrong = 0;
        for (let p = starts[s]; p < end; p++) {
          if (!answers[p]) continue;
          const right = argmax(data, row * vocab, vocab) === t[p];
          row++;
          count.tokens++;
          if (right) count.right++;
          else wrong++;
        }
        count.n++;
        if (wrong === 0) count.exact++;
      }
    }
  }
  const list = [...counts].map(([family, c]): FamilyAccuracy => ({
    family,
    n: c.n,
    exact: c.exact / c.n,
    token: c.right / c.tokens,
  }));
  const mean = (key: "exact" | "token") => list.reduce((sum, f) => sum + f[key], 0) / list.length;
  return [...list, {
    family: "mean",
    n: list.reduce((sum, f) => sum + f.n, 0),
    exact: mean("exact"),
    token: mean("token"),
  }];
}

/** Index of the largest of `count` numbers from `offset`; ties go to the lowest. */
export function argmax(x: Float32Array, offset: number, count: number): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (x[offset + i] > x[offset + best]) best = i;
  return best;
}
