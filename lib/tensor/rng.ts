/**
 * Seeded random numbers, the same on every platform. A generator is named by a seed and a path of labels, `rng(1, "masks", window)`, so that
 * independent uses of one seed draw independent streams whatever order they run in. The state is sfc32 (C. Doty-Humphrey, PractRand).
 */

export interface Rng {
  /** Uniform in [0, 1) with 53 random bits. */
  next(): number;
  /** Uniform integer in [0, n), unbiased; throws `RangeError` unless n is an integer in 1..2^32. */
  int(n: number): number;
  /** Standard normal. */
  normal(): number;
  /** Shuffles in place and returns the array. */
  shuffle<T>(items: T[]): T[];
  /** `k` distinct integers of [0, n) in random order; throws `RangeError` when k > n. */
  choose(n: number, k: number): Int32Array;
}

/**
 * A generator for `seed` and the labels of its stream. Numbers and strings differ: `rng(1)` is not `rng("1")`.
 *
 * @example
 * ```ts
 * import { rng } from "quant-dllm/testbed";
 *
 * const random = rng(1, "masks", 7); // a stream of its own: no other use of seed 1 moves it
 * const masked = Array.from({ length: 64 }, () => random.next() < 0.5);
 * const order = random.shuffle([0, 1, 2, 3]);
 * ```
 */
export function rng(seed: number | string, ...stream: (number | string)[]): Rng {
  const uint32 = sfc32(stateOf([seed, ...stream]));
  let spare: number | undefined;

  const next = () => {
    // Named, so that the order of the two draws is plain.
    const high = uint32() >>> 5;
    const low = uint32() >>> 6;
    return (high * 0x4000000 + low) / 0x20000000000000;
  };

  const int = (n: number) => {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new RangeError(`Cannot draw an integer below ${n}: wanted an integer from 1 to 2^32`);
    }
    const limit = 2 ** 32 - (2 ** 32 % n);
    let x = uint32();
    while (x >= limit) x = uint32();
    return x % n;
  };

  const normal = () => {
    if (spare !== undefined) {
      const z = spare;
      spare = undefined;
      return z;
    }
    // Marsaglia's polar form: no sine, so that only log and sqrt have to agree between platforms.
    let u, v, s;
    do {
      u = 2 * next() - 1;
      v = 2 * next() - 1;
      s = u * u + v * v;
    } while (s >= 1 || s === 0);
    const scale = Math.sqrt(-2 * Math.log(s) / s);
    spare = v * scale;
    return u * scale;
  };

  const shuffle = <T>(items: T[]) => {
    for (let i = items.length - 1; i > 0; i--) {
      const j = int(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  };

  const choose = (n: number, k: number) => {
    if (!(k >= 0 && k <= n)) throw new RangeError(`Cannot choose ${k} distinct integers below ${n}`);
    const all = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = 0; i < k; i++) {
      const j = i + int(n - i);
      const picked = all[j];
      all[j] = all[i];
      all[i] = picked;
    }
    return all.slice(0, k);
  };

  return { next, int, normal, shuffle, choose };
}

/** Four words from the labels: FNV-1a over their text and kind, with four starting points. */
function stateOf(labels: (number | string)[]): Uint32Array {
  const text = labels.map((label) => `${typeof label}:${label}\u0000`).join("");
  const state = Uint32Array.of(0x811c9dc5, 0x9e3779b9, 0x85ebca6b, 0xc2b2ae35);
  for (let w = 0; w < 4; w++) {
    for (let i = 0; i < text.length; i++) state[w] = Math.imul(state[w] ^ text.charCodeAt(i), 0x01000193);
  }
  return state;
}

function sfc32(state: Uint32Array): () => number {
  let [a, b, c, counter] = state;
  const step = () => {
    const t = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t | 0;
    return t >>> 0;
  };
  // Labels that differ in one bit start close together; twenty steps spread them.
  for (let i = 0; i < 20; i++) step();
  return step;
}
