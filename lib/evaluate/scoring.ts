/** Log-probabilities of tokens at masked positions, batched over sequences of equal length. */
import type { Denoiser } from "../diffusion/denoiser.ts";

/** One masked sequence and what is asked of it: log p of `ids[i]` at `positions[i]`; a position may be asked several times. */
export interface Query {
  readonly tokens: Int32Array;
  readonly positions: readonly number[];
  readonly ids: readonly number[];
}

/** How likelihoods are estimated from random masks. */
export interface DrawOptions {
  /** Masks per choice or window. */
  readonly draws: number;
  readonly seed: number;
  readonly batch?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Throws `RangeError` when `position` is one that the denoiser does not predict; `action` begins the message. */
export function checkPredicted({ firstPredicted = 0 }: Denoiser, position: number, action: string): void {
  if (position >= firstPredicted) return;
  throw new RangeError(
    `${action}: position ${position} is masked, but this model predicts from position ${firstPredicted} on; put a context before it`,
  );
}

/**
 * Natural log-probabilities, one float64 array per query, as long as its `ids`. Equal sequences are run once, equally long ones as one batch of at
 * most `batch`; only the asked positions go through the head.
 */
export async function logProbabilities(
  denoiser: Denoiser,
  queries: readonly Query[],
  { batch = 64, signal }: { readonly batch?: number; readonly signal?: AbortSignal } = {},
): Promise<Float64Array[]> {
  const results = queries.map(({ ids }) => new Float64Array(ids.length));
  for (const sameLength of groupBy(queries, (q) => String(q.tokens.length)).values()) {
    const distinct = [...groupBy(sameLength, (i) => queries[i].tokens.join(), sameLength).values()];
    for (let start = 0; start < distinct.length; start += batch) {
      signal?.throwIfAborted();
      await runBatch(denoiser, queries, distinct.slice(start, start + batch), results);
    }
  }
  return results;
}

/** `members[s]` are the indices of the queries that share sequence s. */
async function runBatch(
  denoiser: Denoiser,
  queries: readonly Query[],
  members: readonly (readonly number[])[],
  results: readonly Float64Array[],
): Promise<void> {
  const length = queries[members[0][0]].tokens.length;
  const tokens = new Int32Array(members.length * length);
  const rows: number[] = [];
  const rowOf = new Map<number, number>();
  members.forEach((indices, s) => {
    tokens.set(queries[indices[0]].tokens, s * length);
    for (const i of indices) {
      for (const position of queries[i].positions) {
        const flat = s * length + position;
        if (rowOf.has(flat)) continue;
        rowOf.set(flat, rows.length);
        rows.push(flat);
      }
    }
  });
  const { shape: [, vocab], data } = await denoiser.logits(tokens, {
    batch: members.length,
    rows: Int32Array.from(rows),
  });
  const normaliser = Float64Array.from(rows, (_, row) => logSumExp(data, row * vocab, vocab));
  members.forEach((indices, s) => {
    for (const i of indices) {
      const { positions, ids } = queries[i];
      positions.forEach((position, j) => {
        const row = rowOf.get(s * length + position)!;
        results[i][j] = data[row * vocab + ids[j]] - normaliser[row];
      });
    }
  });
}

function logSumExp(x: Float32Array, offset: number, count: number): number {
  let max = -Infinity;
  for (let i = 0; i < count; i++) if (x[offset + i] > max) max = x[offset + i];
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.exp(x[offset + i] - max);
  return max + Math.log(sum);
}

/** Indices grouped by key, in order of first appearance; of all queries, or of the given ones. */
function groupBy(queries: readonly Query[], key: (query: Query) => string): Map<string, number[]>;
function groupBy(
  queries: readonly number[],
  key: (index: number) => string,
  indices: readonly number[],
): Map<string, number[]>;
function groupBy<T>(items: readonly T[], key: (item: T) => string, indices?: readonly number[]): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  items.forEach((item, i) => {
    const k = key(item);
    const group = groups.get(k);
    const index = indices ? indices[i] : i;
    if (group) group.push(index);
    else groups.set(k, [index]);
  });
  return groups;
}
