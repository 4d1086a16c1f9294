/**
 * Python's `random.Random(seed)`, number for number: the few-shot examples of lm-evaluation-harness are drawn with it. The generator is MT19937
 * (M. Matsumoto and T. Nishimura, 1998), seeded by `init_by_array`; sampling and shuffling follow the standard library from version 3.2 on.
 */

const [size, middle] = [624, 397];

/** As far as the harness uses `random.Random`. */
export interface PythonRandom {
  /** `getrandbits(k)` for k of 1..32. */
  bits(k: number): number;
  /** `randrange(n)` for n of 1..2^32 - 1: draws of as many bits as n has, until one is below it. */
  below(n: number): number;
  /** `sample(items, k)`: k of them in random order. Throws `RangeError` when there are fewer. */
  sample<T>(items: readonly T[], k: number): T[];
  /** `shuffle(items)`, in place; returns them. */
  shuffle<T>(items: T[]): T[];
}

/** `random.Random(seed)`. Throws `RangeError` for a seed that is no safe integer. */
export function pythonRandom(seed: number): PythonRandom {
  if (!Number.isSafeInteger(seed)) {
    throw new RangeError(`Cannot seed Python's generator with ${seed}: wanted an integer of at most 2^53`);
  }
  const next = mersenneTwister(seed);
  const bits = (k: number) => next() >>> (32 - k);
  const below = (n: number) => {
    if (!(Number.isInteger(n) && n >= 1 && n < 2 ** 32)) {
      throw new RangeError(`Cannot draw an integer below ${n}: wanted an integer from 1 to 2^32 - 1`);
    }
    const k = 32 - Math.clz32(n);
    let x = bits(k);
    while (x >= n) x = bits(k);
    return x;
  };
  return {
    bits,
    below,
    sample(items, k) {
      const n = items.length;
      if (!(Number.isInteger(k) && k >= 0 && k <= n)) {
        throw new RangeError(`Cannot sample ${k} of ${n}: wanted an integer from 0 to ${n}`);
      }
      // The standard library switches to a set where it takes less memory than a list of all.
      const setSize = 21 + (k > 5 ? 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 0);
      if (n <= setSize) {
        const pool = [...items];
        return Array.from({ length: k }, (_, i) => {
          const j = below(n - i);
          const drawn = pool[j];
          pool[j] = pool[n - i - 1];
          return drawn;
        });
      }
      const selected = new Set<number>();
      while (selected.size < k) selected.add(below(n)); // one that is there already is drawn again
      return Array.from(selected, (j) => items[j]);
    },
    shuffle(items) {
      for (let i = items.length - 1; i >= 1; i--) {
        const j = below(i + 1);
        [items[i], items[j]] = [items[j], items[i]];
      }
      return items;
    },
  };
}

/** The 32-bit outputs of MT19937, seeded by the 32-bit words of |seed|, lowest first. */
function mersenneTwister(seed: number): () => number {
  const magnitude = Math.abs(seed);
  const key = magnitude < 2 ** 32 ? [magnitude] : [magnitude % 2 ** 32, Math.floor(magnitude / 2 ** 32)];
  const state = initial(19650218);
  const mixed = (i: number) => state[i - 1] ^ (state[i - 1] >>> 30);
  let i = 1, j = 0;
  const step = () => {
    if (++i < size) return;
    state[0] = state[size - 1];
    i = 1;
  };
  for (let n = Math.max(size, key.length); n > 0; n--) {
    state[i] = (state[i] ^ Math.imul(mixed(i), 1664525)) + key[j] + j;
    step();
    j = (j + 1) % key.length;
  }
  for (let n = size - 1; n > 0; n--) {
    state[i] = (state[i] ^ Math.imul(mixed(i), 1566083941)) - i;
    step();
  }
  state[0] = 0x80000000;

  let at = size;
  return () => {
    if (at === size) {
      twist(state);
      at = 0;
    }
    let y = state[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

function initial(seed: number): Uint32Array {
  const state = new Uint32Array(size);
  state[0] = seed;
  for (let i = 1; i < size; i++) state[i] = Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1812433253) + i;
  return state;
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < size; i++) {
    const y = (state[i] & 0x80000000) | (state[(i + 1) % size] & 0x7fffffff);
    state[i] = state[(i + middle) % size] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
}
