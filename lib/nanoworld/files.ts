/** The files that a world is shipped as, as text; writing them is the caller's business. */

import { rng } from "../tensor/rng.ts";
import { HELD_OUT, type Split } from "./split.ts";
import { taskItems, TASKS } from "./tasks.ts";
import { tokenizerConfigJson, tokenizerJson } from "./tokenizer.ts";
import { decode } from "./vocabulary.ts";
import { SEQUENCE_LENGTH, type World } from "./world.ts";

/** Sequences in the two files of packed text. */
export const SEQUENCES = { calibration: 1024, validation: 512 } as const;

/**
 * The files that a world is shipped as: paths below `data/` and their contents; the same world gives the same bytes.
 *
 * @example
 * ```ts
 * import { createWorld, WORLD_SEED, worldFiles } from "quant-dllm/testbed";
 *
 * const files = worldFiles(createWorld({ seed: WORLD_SEED }));
 * const stored = await Deno.readTextFile("data/nanoworld/validation.jsonl");
 * if (files.get("nanoworld/validation.jsonl") !== stored) throw new Error("the stored world is another one");
 * ```
 */
export function worldFiles(world: World): Map<string, string> {
  const files = new Map<string, string>();
  for (const [split, count] of Object.entries(SEQUENCES)) {
    files.set(`nanoworld/${split}.jsonl`, lines(texts(world, split as Split, count)));
  }
  const asked = new Set<string>();
  const tasks = TASKS.map((spec) => ({ spec, items: taskItems(world, spec, asked) }));
  for (const { spec, items } of tasks) files.set(`nanoworld/tasks/${spec.name}.jsonl`, lines(items));
  const heldOut = Object.values(HELD_OUT).reduce((sum, share) => sum + share, 0);
  files.set(
    "nanoworld/world.json",
    pretty({
      version: world.version,
      seed: world.seed,
      entities: world.entities,
      sequenceLength: SEQUENCE_LENGTH,
      vocabulary: world.vocabulary.length,
      splits: { train: Number((1 - heldOut).toFixed(4)), ...HELD_OUT },
      sequences: SEQUENCES,
      families: world.families.map((family) => ({
        name: family.name,
        weight: family.weight,
        tokens: family.tokens,
        ...(family.kind === "closed" ? { entries: family.keys, phrasings: family.phrasings } : {}),
      })),
      tasks: tasks.map(({ spec, items }) => ({
        name: spec.name,
        mirrors: spec.mirrors,
        shots: spec.shots,
        items: items.length,
        choices: Math.max(...items.map((item) => item.choices.length)),
        chance: Number((items.reduce((sum, item) => sum + 1 / item.choices.length, 0) / items.length).toFixed(4)),
        families: Object.fromEntries(spec.parts.map((part) => [part.family, part.items])),
      })),
    }),
  );
  files.set("nano-llada/tokenizer.json", pretty(tokenizerJson()));
  files.set("nano-llada/tokenizer_config.json", pretty(tokenizerConfigJson()));
  return files;
}

function texts(world: World, split: Split, count: number): { readonly text: string }[] {
  return Array.from({ length: count }, (_, i) => {
    const { tokens } = world.sequence(rng(world.seed, "nanoworld", split, i), split, SEQUENCE_LENGTH);
    return { text: decode(tokens) };
  });
}

function lines(records: readonly unknown[]): string {
  return records.map((record) => JSON.stringify(record) + "\n").join("");
}

function pretty(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}
