/** Toys of eight tokens, the last one the mask: a diffusion model of a Markov chain, one that keeps keys and values, and readers. */
import type { CachingDenoiser, Denoiser, Logits, SequenceCache } from "../../../lib/diffusion/denoiser.ts";
import type { LeftToRight } from "../../../lib/diffusion/apd/left_to_right.ts";

export const MASK = 7;
const letters = 7, vocab = 8;

/** Transition probabilities of a chain over seven letters: mostly one up, modulo seven. */
export const chain: readonly (readonly number[])[] = Array.from(
  { length: letters },
  (_, a) => Array.from({ length: letters }, (_, b) => b === (a + 1) % letters ? 0.76 : 0.04),
);

const powers = (() => {
  const all = [chain.map((row, a) => row.map((_, b) => Number(a === b)))];
  for (let n = 1; n < 40; n++) {
    all.push(all[n - 1].map((row) => row.map((_, b) => row.reduce((sum, p, k) => sum + p * chain[k][b], 0))));
  }
  return all;
})();

/** Exact p(x_p | all visible tokens) of the chain, whose letters are equally likely where nothing is visible. */
function posterior(tokens: readonly number[], position: number): number[] {
  const before = tokens.findLastIndex((t, p) => p < position && t !== MASK);
  const after = tokens.findIndex((t, p) => p > position && t !== MASK);
  const p = Array.from({ length: letters }, (_, a) => {
    const come = before < 0 ? 1 / letters : powers[position - before][tokens[before]][a];
    return come * (after < 0 ? 1 : powers[after - position][a][tokens[after]]);
  });
  const sum = p.reduce((a, b) => a + b, 0);
  return p.map((x) => x / sum);
}

/** log p of a string of letters under the chain, after its first. */
export const logChain = (tokens: ArrayLike<number>, from: number): number =>
  Array.from(tokens).reduce((sum, t, p, all) => p < from ? sum : sum + Math.log(chain[all[p - 1]][t]), 0);

/** What a denoiser was asked: the sequences of a call. */
export type Calls = (readonly number[])[][];

/** A diffusion model by its logits, `[8]` at a position of a sequence. */
export function denoiserOf(logits: (tokens: readonly number[], position: number) => readonly number[]) {
  const calls: Calls = [];
  const denoiser: Denoiser = {
    maskId: MASK,
    vocabSize: vocab,
    logits(tokens, { batch = 1, rows } = {}) {
      const length = tokens.length / batch;
      const sequences = Array.from({ length: batch }, (_, s) => Array.from(tokens.slice(s * length, (s + 1) * length)));
      calls.push(sequences);
      const flat = Array.from(rows ?? tokens.keys());
      const data = Float32Array.from(flat.flatMap((r) => logits(sequences[Math.floor(r / length)], r % length)));
      return Promise.resolve({ shape: [flat.length, vocab], data });
    },
  };
  return { denoiser, calls };
}

/** A model that knows the chain exactly; the mask is unlikely. */
export const markov = () => denoiserOf((tokens, p) => [...posterior(tokens, p).map(Math.log), -30]);

/** Rough logits that depend on all visible tokens and where they stand. */
export const rough = (tokens: readonly number[], position: number): number[] =>
  Array.from({ length: vocab }, (_, id) => {
    const around = tokens.reduce((s, t, p) => s + (t + 1) * (Math.abs(p - position) + 0.7), 0);
    return 1.5 * Math.sin(1 + id * 2.3 + around + position);
  });

/** A reader that looks at the token before, `table[before][id]` being its logits; `asked` records from where to where. */
export function bigram(table: (before: number, id: number) => number) {
  const asked: [number, number][] = [];
  const helper: LeftToRight = {
    name: "bigram",
    open() {
      let passes = 0;
      return Promise.resolve({
        get passes() {
          return passes;
        },
        logits(tokens, { from, to }) {
          passes++;
          asked.push([from, to]);
          return Promise.resolve(rowsOf(from, to, (p, id) => table(tokens[p - 1], id)));
        },
        crop() {},
        [Symbol.asyncDispose]: () => Promise.resolve(),
      });
    },
  };
  return { helper, asked };
}

export function rowsOf(from: number, to: number, logit: (position: number, id: number) => number): Logits {
  const data = Float32Array.from(
    { length: (to - from) * vocab },
    (_, i) => logit(from + Math.floor(i / vocab), i % vocab),
  );
  return { shape: [to - from, vocab], data };
}

/**
 * A reader with a state per token read, as one that keeps keys and values: what it kept is trusted, not looked at again. `cropped` tells whether it
 * forgets when it is told to; `answers` records what it said of which tokens.
 */
export function remembering({ cropped = true } = {}) {
  const answers: { readonly tokens: Int32Array; readonly from: number; readonly logits: Logits }[] = [];
  const next = (state: number, token: number) => (state * 31 + token * 7 + 1) % 1009;
  const logit = (state: number, id: number) => 2 * Math.sin(state * 1.7 + id * 2.9);
  const helper: LeftToRight = {
    name: "remembering",
    open() {
      const states = [5];
      let passes = 0;
      return Promise.resolve({
        get passes() {
          return passes;
        },
        logits(tokens, { from, to }) {
          passes++;
          for (let read = states.length - 1; read < to - 1; read++) states.push(next(states[read], tokens[read]));
          const logits = rowsOf(from, to, (p, id) => logit(states[p], id));
          answers.push({ tokens: tokens.slice(), from, logits });
          return Promise.resolve(logits);
        },
        crop(length) {
          if (cropped) states.length = Math.min(states.length, length + 1);
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      });
    },
  };
  /** Logits of positions [from, tokens.length) with nothing remembered. */
  const anew = (tokens: Int32Array, from: number) => {
    const states = [5];
    tokens.forEach((t) => states.push(next(states.at(-1)!, t)));
    return rowsOf(from, tokens.length, (p, id) => logit(states[p], id));
  };
  return { helper, answers, anew };
}

/**
 * Two layers of attention in miniature, with the states that were last computed of each position as its keys and values. With `shifted`, the row of a
 * position comes from the state before it. `windows` records what was run.
 */
export function caching({ shifted = false } = {}) {
  const windows: [number, number][] = [];
  const log = { opened: 0, closed: 0 };
  const near = (p: number, q: number) => 1 / (1 + Math.abs(p - q));
  const open = (): SequenceCache => {
    const first: number[] = [], second: number[] = [];
    return {
      get kept() {
        return first.length;
      },
      crop(length) {
        first.length = second.length = Math.min(first.length, length);
      },
      run(tokens, { from, to, rows }) {
        if (from > first.length) throw new Error(`position ${from} is run, but only ${first.length} are kept`);
        for (let p = from; p < to; p++) first[p] = Math.sin(1 + 2.7 * tokens[p]);
        const mixed = (p: number, values: number[]) => values.reduce((sum, v, q) => sum + v * near(p, q), 0);
        const fresh = Array.from({ length: to - from }, (_, i) => Math.tanh(mixed(from + i, first)));
        fresh.forEach((h, i) => second[from + i] = h);
        const data = Array.from(rows).flatMap((p) => {
          const at = shifted ? p - 1 : p;
          if (at < from || at >= to) throw new Error(`row ${p} needs position ${at}, which is not run`);
          const out = mixed(at, second);
          return Array.from({ length: vocab }, (_, id) => id === MASK ? -30 : 2 * Math.sin(out * 3 + id * 2.3 + p));
        });
        return Promise.resolve({ shape: [rows.length, vocab], data: Float32Array.from(data) });
      },
      [Symbol.asyncDispose]() {
        log.closed++;
        return Promise.resolve();
      },
    };
  };
  const denoiser: CachingDenoiser = {
    maskId: MASK,
    vocabSize: vocab,
    ...(shifted ? { firstPredicted: 1 } : {}),
    async logits(tokens, { batch = 1, rows } = {}) {
      const length = tokens.length / batch;
      const data: number[] = [];
      for (const row of rows ?? tokens.keys()) {
        const s = Math.floor(row / length), at = Int32Array.of(row % length);
        const answer = await open().run(tokens.slice(s * length, (s + 1) * length), { from: 0, to: length, rows: at });
        data.push(...answer.data);
      }
      return { shape: [data.length / vocab, vocab], data: Float32Array.from(data) };
    },
    openCache() {
      log.opened++;
      const cache = open();
      return {
        ...cache,
        get kept() {
          return cache.kept;
        },
        run(tokens: Int32Array, window: Parameters<SequenceCache["run"]>[1]) {
          windows.push([window.from, window.to]);
          return cache.run(tokens, window);
        },
      };
    },
  };
  return { denoiser, windows, log };
}
