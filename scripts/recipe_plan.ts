/** What the arms of a recipe will take, and how that is told. */
import type { RecipeTask } from "./recipe_values.ts";

/** What is open of an arm; what cannot be known before the checkpoint is at hand is absent. Plain data. */
export interface ArmPlan {
  readonly model: string;
  readonly label: string;
  /** That are not evaluated yet. */
  readonly tasks: readonly string[];
  /** Sequences that they take through the model. */
  readonly passes: number;
  /** 0 where nothing is quantised, or was before. */
  readonly quantizeSeconds?: number;
  readonly evaluateSeconds?: number;
  /** Of the packed checkpoint. */
  readonly outputBytes?: number;
  /** Peak while it is made. */
  readonly diskBytes?: number;
}

/** Sequences of tasks at so many items each, and their tokens. */
export function passesOf(tasks: readonly RecipeTask[], limit = Infinity): { passes: number; tokens: number } {
  let passes = 0, tokens = 0;
  for (const { documents, parts = 1, passes: each, tokens: length } of tasks) {
    const own = Math.min(documents, limit * parts) * each;
    passes += own;
    tokens += own * length;
  }
  return { passes, tokens };
}

export function planLines(plan: ArmPlan): string[] {
  const { model, label, tasks, passes, quantizeSeconds, evaluateSeconds, outputBytes = 0, diskBytes = 0 } = plan;
  const quantize = quantizeSeconds === undefined
    ? "hours are told once the checkpoint is a folder here"
    : quantizeSeconds === 0
    ? "nothing to do"
    : `about ${timeOf(quantizeSeconds)}, ${gigabytes(outputBytes)}, on the way ${gigabytes(diskBytes)} of disk`;
  const count = passes >= 1e5 ? `${Math.round(passes / 1000)} thousand` : String(passes);
  const hours = evaluateSeconds === undefined ? "" : `, about ${timeOf(evaluateSeconds)} as dense weights take them`;
  const evaluate = tasks.length === 0 ? "nothing to do" : `${tasks.join(", ")}: ${count} forward passes${hours}`;
  return [`${model}, ${label}`, `  quantize: ${quantize}`, `  evaluate: ${evaluate}`];
}

/** Of all arms, where each is known: seconds, and the disk for all checkpoints and the work on one of them. */
export function sumOf(plans: readonly ArmPlan[]): { readonly seconds: number; readonly bytes: number } | undefined {
  let seconds = 0, bytes = 0, work = 0;
  for (const { quantizeSeconds, evaluateSeconds, outputBytes = 0, diskBytes = 0 } of plans) {
    if (quantizeSeconds === undefined || evaluateSeconds === undefined) return undefined;
    seconds += quantizeSeconds + evaluateSeconds;
    bytes += outputBytes;
    work = Math.max(work, diskBytes - outputBytes);
  }
  return { seconds, bytes: bytes + work };
}

export function timeOf(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const gigabytes = (bytes: number) => `${(bytes / 1e9).toPrecision(2)} GB`;
