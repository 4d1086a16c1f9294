/** The hidden states of the calibration windows on their way through the blocks, in parts of a few windows. */
import type { Calibration, Guide } from "../diffusion/mcs.ts";
import type { Hidden } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import { concat } from "../tensor/concat.ts";

/** What a part is besides its states. */
export interface Part {
  /** Weights of its tokens in the second moments, all one when absent. */
  readonly weights?: Float32Array;
  /** The place of its first token among all of the calibration. */
  readonly start: number;
  /** Kept out of the second moments that quantisers see, to measure errors on. */
  readonly heldOut: boolean;
}

/** How the calibration weighs tokens linear by linear. */
interface Weighing {
  readonly inverseNorm?: boolean;
  readonly guide?: Guide;
}

/** States of all parts at one place in the model. */
export interface HiddenStates extends Weighing {
  readonly parts: readonly Part[];
  /** Calibration windows, those held out not counted. */
  readonly windows: number;
  /** The half blocks that they went through: an index into `halfBlocks`. */
  readonly passed: number;
  get(part: number): Promise<Hidden>;
  /** Moves all parts on, one after another. `step` may write to `into`, when it is given one. */
  advance(step: (x: Hidden, into?: Float32Array) => Promise<Hidden>): Promise<void>;
}

/** Windows cut into parts of at most `batch`; the last `heldOut` windows are in parts of their own. */
export interface Slices extends Weighing {
  readonly parts: readonly (Part & { readonly tokens: Int32Array; readonly count: number })[];
  readonly windows: number;
}

/** Checks a calibration and cuts it. Throws `RangeError` when there are no windows or they differ in length. */
export function slice(calibration: Calibration, { batch = 32, heldOut = 0 } = {}): Slices {
  const { windows, weights, inverseNorm, guide } = calibration;
  if (windows.length === 0) throw new RangeError("Cannot calibrate: there are no windows");
  const used = windows.length - heldOut;
  if (used <= 0) throw new RangeError(`Cannot calibrate: ${heldOut} of ${windows.length} windows are held out`);
  const length = windows[0].length;
  const odd = windows.findIndex((w) => w.length !== length);
  if (odd >= 0) {
    throw new RangeError(`Cannot calibrate: window ${odd} has ${windows[odd].length} tokens, window 0 has ${length}`);
  }
  if (weights && (weights.length !== windows.length || weights.some((w) => w.length !== length))) {
    throw new RangeError(`Cannot calibrate: wanted ${windows.length} x ${length} token weights, one per token`);
  }
  for (const [linear, groups] of Object.entries(guide ?? {})) {
    if (groups.length > 0 && groups.every((w) => w.length === windows.length * length)) continue;
    throw new RangeError(
      `Cannot calibrate: the guide of ${linear} wanted ${windows.length * length} weights a group, one per token`,
    );
  }
  const parts: Slices["parts"][number][] = [];
  for (const [from, to] of [[0, used], [used, windows.length]]) {
    for (let start = from; start < to; start += batch) {
      const end = Math.min(start + batch, to);
      const tokens = concat(windows.slice(start, end), Int32Array);
      const some = weights && concat(weights.slice(start, end), Float32Array);
      parts.push({ tokens, count: end - start, weights: some, start: start * length, heldOut: from > 0 });
    }
  }
  return { parts, windows: used, inverseNorm, guide };
}

/** States in memory, float32. */
export async function heldStates(model: Model, slices: Slices): Promise<HiddenStates> {
  const states: Hidden[] = [];
  for (const { tokens, count } of slices.parts) states.push(await model.embed(tokens, count));
  let passed = 0;
  return {
    ...slices,
    get passed() {
      return passed;
    },
    get: (part) => Promise.resolve(states[part]),
    async advance(step) {
      for (const [i, x] of states.entries()) states[i] = await step(x);
      passed++;
    },
  };
}
