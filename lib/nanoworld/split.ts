/**
 * Who may see a statement. Every distinct statement belongs to exactly one split, by a hash of its text (computed on its token ids, which determine
 * the text). Of a table entry that can be said in P phrasings, one phrasing, fixed by a hash of the entry, is always for training, so that no answer is
 * asked that was never taught; the others are held out P / (P - 1) times as often, which keeps the shares.
 */

export const SPLITS = ["train", "calibration", "validation", "test"] as const;
export type Split = typeof SPLITS[number];

/** Shares of the held-out splits; the rest is for training. */
export const HELD_OUT = { calibration: 0.04, validation: 0.04, test: 0.1 } as const;

/** Hash (uint32) of the first `length` token ids, seeded: FNV-1a with a final mix. */
export function hashTokens(tokens: Int32Array, length: number, seed: number): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let i = 0; i < length; i++) {
    hash = Math.imul(hash ^ (tokens[i] & 0xff), 0x01000193);
    hash = Math.imul(hash ^ (tokens[i] >>> 8), 0x01000193);
  }
  return mix(hash);
}

/** The phrasing (0 ... phrasings - 1) of entry `key` of family `family` that is always for training. */
export function taughtPhrasing(family: number, key: number, phrasings: number, seed: number): number {
  return mix(mix(family * 0x9e3779b1 ^ seed) ^ key) % phrasings;
}

/** The split of a statement with the hash `hash`, held out `scale` times as often as usual. */
export function splitOf(hash: number, scale = 1): Split {
  const at = hash / 0x1_0000_0000 / scale;
  if (at < HELD_OUT.test) return "test";
  if (at < HELD_OUT.test + HELD_OUT.validation) return "validation";
  if (at < HELD_OUT.test + HELD_OUT.validation + HELD_OUT.calibration) return "calibration";
  return "train";
}

function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
