/** What the tunings of a method will take: passes through blocks, counted in forward passes of this machine. */
import type { Method } from "../quant/method.ts";
import { linears, linearShape } from "../model/architecture.ts";
import type { Model } from "../model/model.ts";
import { defaultPool, type TuneOptions } from "../tune/options.ts";
import { tuningsOf } from "../tune/tuned.ts";
import { probeDevice, type ProbeOptions } from "./probe.ts";
import { statesBytes } from "./disk/spilled.ts";

export interface TuningPlan {
  readonly seconds: number;
  /** Peak of what the process holds. */
  readonly memoryBytes: number;
  /** Of hidden states. */
  readonly diskBytes: number;
}

/** A backward pass takes as long as so many forward passes (`tests/bench/backward.ts`). */
const BACKWARD = 3;
/** Logits of a chunk of rows and what the head makes of them. */
const HEAD = 6 * 4 * 2 ** 23;

/** One after another; the peaks are those of the largest. */
export async function planTunings(
  model: Model,
  method: Method,
  options: ProbeOptions & { readonly quantisedBytes: number },
): Promise<TuningPlan> {
  let plan: TuningPlan = { seconds: 0, memoryBytes: 0, diskBytes: 0 };
  for (const tuning of tuningsOf(method)) {
    const { batch, length } = tuning.text;
    const { forward } = await probeDevice(model, { ...options, windows: batch, length });
    const own = planOf(model, tuning, { ...options, forward: forward / 2 }); // the probe goes through each half twice
    plan = {
      seconds: plan.seconds + own.seconds,
      memoryBytes: Math.max(plan.memoryBytes, own.memoryBytes),
      diskBytes: Math.max(plan.diskBytes, own.diskBytes),
    };
  }
  return plan;
}

function planOf(
  { architecture: a }: Model,
  { what, by, steps, text: { batch, length }, pool = defaultPool }: TuneOptions,
  { quantisedBytes, forward }: { readonly quantisedBytes: number; readonly forward: number },
): TuningPlan {
  const tokens = batch * length, state = 4 * tokens * a.width;
  const block = linears(a).reduce((sum, linear) => sum + linearShape(a, linear).reduce((x, y) => x * y), 0);
  // Codes as bytes, the weight they decode to, and for moving codes a latent with its two moments.
  const perWeight = 1 + 4 + (what === "codes" ? 12 : 0);
  const activations = tokens * 4 * (4 * a.width + 4 * a.hidden);
  // A block of the teacher, the gradients of one, and what both leave behind on the way.
  const running = 4e8 + 3 * 4 * block + BACKWARD * activations + quantisedBytes;
  if (by === "block") {
    return {
      seconds: a.layers * tokens * forward * (2 * pool + steps * (1 + BACKWARD)),
      memoryBytes: running + perWeight * block,
      diskBytes: 2 * 2 * pool * statesBytes(tokens, a.width),
    };
  }
  return {
    // Teacher and student forward, and back.
    seconds: a.layers * tokens * forward * steps * (2 + BACKWARD),
    memoryBytes: running + a.layers * (perWeight * block + 2 * state) + 4 * a.vocabSize * a.width + HEAD,
    diskBytes: 0,
  };
}
