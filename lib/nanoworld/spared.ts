/** Half of the world's persons, whom a tuning text never asks about: what comes back of them was not taught again. */
import { hashTokens } from "./split.ts";
import { WORDS } from "./vocabulary.ts";

/**
 * Whether a statement, or a question, is about one of the spared persons: half of all, by a hash of their names.
 *
 * @example
 * ```ts
 * import { createWorld, isSpared, WORLD_SEED } from "quant-dllm/testbed";
 *
 * const world = createWorld({ seed: WORLD_SEED });
 * console.log(isSpared(world.encode("the pet of doren brinwick is"))); // true or false, of this person for ever
 * ```
 */
export function isSpared(tokens: ArrayLike<number>): boolean {
  for (let i = 0; i + 1 < tokens.length; i++) {
    if (!within(tokens[i], WORDS.first) || !within(tokens[i + 1], WORDS.last)) continue;
    return (hashTokens(Int32Array.of(tokens[i], tokens[i + 1]), 2, SEED) & 1) === 1;
  }
  return false;
}

const SEED = 0x5a4ed;
const within = (id: number, { base, size }: { readonly base: number; readonly size: number }) =>
  id >= base && id < base + size;
