/** The loop of samplers that write wherever they are surest. */
import { type Rng, rng } from "../../tensor/rng.ts";
import type { Denoiser } from "../denoiser.ts";
import { check, openCanvas, type SampleState, type WalkOptions } from "../sampler.ts";
import type { Choice } from "../sampler_choice.ts";
import { type Asking, askWhole } from "./asking.ts";

/** What a step asks about. */
export interface Step {
  readonly positions: readonly number[];
  /** How many predictions are committed, the surest first. */
  readonly count: number | ((surestFirst: readonly Choice[]) => number);
  /** The positions [start, end) among which the sampler writes for now. */
  readonly span?: readonly [start: number, end: number];
}

/** What tells one sampler from another: what a step asks about and how many it commits, and what it makes of a row. */
export interface Rules {
  plan(step: number, masked: readonly number[], stream: (use: string, position: number) => Rng): Step;
  choose(logits: Float32Array, stream: (use: string) => Rng): Choice;
  /** How the model is asked; the whole sequence by default. */
  readonly ask?: (denoiser: Denoiser) => Asking;
  /** Whether the walk ends when nothing is masked, however many steps are left. */
  readonly ends?: boolean;
}

export async function* denoise(
  denoiser: Denoiser,
  prompt: Int32Array,
  { length, steps, seed, signal }: WalkOptions,
  { plan, choose, ask = askWhole, ends = false }: Rules,
): AsyncGenerator<SampleState> {
  const canvas = openCanvas(denoiser, prompt, length);
  check("steps", steps, Number.isInteger(steps) && steps > 0, "a positive integer");
  const { maskId, vocabSize } = denoiser;
  let masked = Array.from({ length }, (_, i) => prompt.length + i);
  let passes = 0, step = 0, committed: SampleState["committed"];
  await using asking = ask(denoiser);
  for (; step < steps && !(ends && masked.length === 0); step++) {
    yield { tokens: canvas.slice(), masked: masked.length, done: step, steps, passes, committed };
    committed = undefined;
    signal?.throwIfAborted();
    const stream = (use: string, position: number) => rng(seed, "sampler", use, step, position);
    const { positions, count, span } = plan(step, masked, stream);
    if (count === 0) continue;
    const { data } = await asking.logits(canvas.slice(), positions, span);
    passes += asking.cost;
    const choices = positions.map((position, i) => {
      const row = data.subarray(i * vocabSize, (i + 1) * vocabSize);
      return { position, ...choose(row, (use) => stream(use, position)) };
    });
    choices.sort((a, b) => b.confidence - a.confidence || a.position - b.position);
    committed = choices.slice(0, typeof count === "number" ? count : count(choices));
    for (const { position, token } of committed) canvas[position] = token;
    masked = masked.filter((p) => canvas[p] === maskId);
  }
  yield { tokens: canvas, masked: masked.length, done: step, steps: ends ? step : steps, passes, committed };
}
