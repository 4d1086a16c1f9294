/** The world as an endless text with its answers marked, drawn anew for every step of a run. */
import { rng } from "../tensor/rng.ts";
import { isSpared } from "./spared.ts";
import type { Split } from "./split.ts";
import { type Sequence, SEQUENCE_LENGTH, type World } from "./world.ts";

/**
 * Windows of packed statements for a step of a seed, and where their answers are. The same seed and step give the same ones. With `sparing`, statements about
 * the spared persons are there to be read, and marked as never to be masked.
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
  { batch, length = SEQUENCE_LENGTH, split = "train", sparing = false }: {
    readonly batch: number;
    readonly length?: number;
    readonly split?: Split;
    readonly sparing?: boolean;
  },
): {
  readonly name: string;
  readonly batch: number;
  readonly length: number;
  draw(seed: number, step: number): {
    readonly windows: Int32Array[];
    readonly answers: Uint8Array[];
    readonly visible?: Uint8Array[];
  };
} {
  return {
    name: `nanoworld-${split}${sparing ? "-sparing" : ""}`,
    batch,
    length,
    draw(seed, step) {
      const sequences = Array.from(
        { length: batch },
        (_, i) => world.sequence(rng(world.seed, "stream", split, seed, step, i), split, length),
      );
      const text = { windows: sequences.map((s) => s.tokens), answers: sequences.map((s) => s.answers) };
      return sparing ? { ...text, visible: sequences.map(sparedOf) } : text;
    },
  };
}

/** 1 at the tokens of statements about spared persons. */
function sparedOf({ tokens, starts }: Sequence): Uint8Array {
  const marks = new Uint8Array(tokens.length);
  starts.forEach((start, i) => {
    const end = starts[i + 1] ?? tokens.length;
    if (isSpared(tokens.subarray(start, end))) marks.fill(1, start, end);
  });
  return marks;
}
