/** The world as an endless text with its answers marked, drawn anew for every step of a run. */
import { rng } from "../tensor/rng.ts";
import type { Split } from "./split.ts";
import { SEQUENCE_LENGTH, type World } from "./world.ts";

/**
 * Windows of packed statements for a step of a seed, and where their answers are. The same seed and step give the same ones.
 *
 * @example
 * ```ts
 * import { createWorld, WORLD_SEED, worldText } from "quant-dllm/testbed";
 *
 * const text = worldText(createWorld({ seed: WORLD_SEED }), { batch: 32 });
 * const { windows, answers } = text.draw(1, 0);
 * ```
 */
export function worldText(
  world: World,
  { batch, length = SEQUENCE_LENGTH, split = "train" }: {
    readonly batch: number;
    readonly length?: number;
    readonly split?: Split;
  },
): {
  readonly name: string;
  readonly batch: number;
  readonly length: number;
  draw(seed: number, step: number): { readonly windows: Int32Array[]; readonly answers: Uint8Array[] };
} {
  return {
    name: `nanoworld-${split}`,
    batch,
    length,
    draw(seed, step) {
      const sequences = Array.from(
        { length: batch },
        (_, i) => world.sequence(rng(world.seed, "stream", split, seed, step, i), split, length),
      );
      return { windows: sequences.map(({ tokens }) => tokens), answers: sequences.map(({ answers }) => answers) };
    },
  };
}
