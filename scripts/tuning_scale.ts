/** How much of everything the tuning study takes, what its arms are called, and its two halves of nano_mmlu. */
import { tasks, type TuneOptions } from "quant-dllm";
import { isSpared } from "quant-dllm/testbed";
import type { Scale } from "./studies.ts";

/** Steps of what is shown first, and of what is compared with it. */
export interface TuningScale extends Scale {
  readonly long: number;
  readonly middle: number;
  readonly short: number;
  /** Steps of a block. */
  readonly block: number;
}

export const tuningFull: TuningScale = {
  seeds: [1, 2, 3, 4, 5],
  items: 400,
  elboWindows: 256,
  calibrationWindows: 128,
  without: [],
  long: 1500,
  middle: 800,
  short: 400,
  block: 400,
};

export const tuningQuick: TuningScale = {
  ...tuningFull,
  seeds: [1],
  items: 50,
  elboWindows: 32,
  calibrationWindows: 64,
  without: ["steps", "text", "block"],
  long: 6,
  middle: 5,
  short: 4,
  block: 4,
};

/** Windows of each step, of 64 tokens. */
export const batch = 32;

/** Few steps want larger ones. */
export const ratesFor = (steps: number): Pick<TuneOptions, "rates"> => ({
  rates: { latents: steps <= 1000 ? 0.05 : 0.025 },
});

/** nano_mmlu, asking about persons whom a sparing text never asks about, or about the others. */
const half = (spared: boolean): typeof tasks.nano_mmlu => ({
  ...tasks.nano_mmlu,
  id: spared ? "nano_mmlu spared" : "nano_mmlu asked",
  async items(tokenizer) {
    const end = tokenizer.encode(".")[0];
    const items = await tasks.nano_mmlu.items(tokenizer);
    return items.filter(({ prefix, choices, suffix }) => {
      const question = prefix.slice(prefix.lastIndexOf(end) + 1);
      return isSpared([...question, ...choices[0], ...suffix]) === spared;
    });
  },
});
export const asked = half(false), spared = half(true);

/** Arms that are measured after everything else: what takes long and decides least. */
export const measuredLast: readonly string[] = [
  "levels, planes by KL, + codes",
  "allocation added",
  "levels, 1.5 planes by KL, + codes",
  "plus + codes",
  "GPTQ + scales",
];

/** What tables and figures call the arms. */
export const tuningNames = {
  levelsCodes: "levels + codes",
  best: "levels, planes by KL, + codes",
  plusCodes: "plus + codes",
  fewest: "levels, 1.5 planes by KL, + codes",
} as const;
