/** Arms of a study: a method and a calibration, measured at a seed. What is measured can be stored as a line and found again. */
import type { Calibration, Corpus } from "../diffusion/mcs.ts";
import { type Divergence, divergence } from "../diffusion/divergence.ts";
import type { MarkedText } from "../diffusion/text.ts";
import { evaluate } from "./evaluate.ts";
import type { Task } from "./tasks.ts";
import type { Model } from "../model/model.ts";
import type { Method } from "../quant/method.ts";
import type { Row } from "../report/rows.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type LinearReport, quantize } from "../pipeline/quantize.ts";

/** What is compared: full precision when there is no method. */
export interface Arm {
  /** What tables call it. */
  readonly label: string;
  readonly method?: Method;
  /** What they become once the model is there, where they depend on it: `method` and `calibration` then only name them. */
  readonly prepare?: (
    model: Model,
    given: { readonly calibration?: Calibration; readonly seed: number },
  ) => Promise<{ readonly method?: Method; readonly calibration?: Calibration }>;
  /** The inputs to calibrate on, from windows of text; needed by methods that read data. */
  readonly calibration?: (corpus: Corpus, seed: number) => Calibration;
  /** Windows of text. */
  readonly windows: number;
  /** Further windows, on which the errors of layers are measured, not calibrated. */
  readonly heldOut?: number;
  /** What is measured, and on how many items each. */
  readonly tasks: readonly { readonly task: Task; readonly limit: number }[];
}

/** What an arm depends on beside its options, as versions or digests of contents. */
export interface ArmInputs {
  readonly code: string;
  readonly device: string;
  readonly model: string;
  /** Of the text that windows are drawn from. */
  readonly corpus: string;
  /** Of the items of each task, by its id. */
  readonly tasks: Readonly<Record<string, string>>;
}

/** An arm at a seed. */
export interface Measurement {
  readonly label: string;
  readonly seed: number;
  readonly rows: readonly Row[];
  readonly linears: readonly LinearReport[];
  /** What quantising took, tuning included. */
  readonly seconds?: number;
  /** Per task, a number per item: see `EvaluateOptions.onItems`. */
  readonly items: Readonly<Record<string, readonly number[]>>;
  /** From full precision, where windows to judge by were given. */
  readonly divergence?: Divergence;
  /** The held-out divergence of a tuning on its way, where the tuning tells it. */
  readonly curve?: readonly { readonly step: number; readonly forward: number; readonly answers: number }[];
}

export interface MeasureOptions {
  readonly seed: number;
  /** Draws the windows of text. */
  readonly corpus: (count: number, seed: number) => Promise<Corpus>;
  readonly kernels?: Kernels;
  readonly signal?: AbortSignal;
  /** Windows on which the divergence from full precision is measured: of no calibration, and no task. */
  readonly judge?: MarkedText;
  /** Share of the arm that is done. */
  readonly onProgress?: (share: number) => void;
}

/**
 * Says what is measured, from options and inputs: equal identities are equal measurements. The label is no part of it, so that studies share what they
 * have in common. Throws `RangeError` for a task that the inputs do not know.
 *
 * @example
 * ```ts
 * import { type Arm, type ArmInputs, identityOf, rtn, tasks, version } from "quant-dllm";
 *
 * const method = rtn({ bits: 2, group: 32 });
 * const arm: Arm = { label: "RTN", method, windows: 64, tasks: [{ task: tasks.elbo, limit: 32 }] };
 * const data = { model: "nano-llada", corpus: "calibration.jsonl", tasks: { elbo: "validation.jsonl" } };
 * const inputs: ArmInputs = { code: version, device: "cpu", ...data }; // better: digests of the files
 * const key = identityOf(arm, { seed: 1, inputs }); // under it a measurement is stored, and found again
 * ```
 */
export function identityOf(
  { method, calibration, windows, heldOut, tasks }: Arm,
  { seed, inputs }: { readonly seed: number; readonly inputs: ArmInputs },
): string {
  const name = calibration ? calibration({ windows: [new Int32Array(1)] }, seed).name : "none";
  const what = tasks.map(({ task: { id, version, draws }, limit }) => {
    const digest = inputs.tasks[id];
    if (digest === undefined) throw new RangeError(`Cannot identify an arm: there is no digest of the task "${id}"`);
    return `${id}@${version}=${digest}x${draws}:${limit}`;
  });
  const text = method ? `${windows}${heldOut ? ` and ${heldOut}` : ""} of ${inputs.corpus}` : "no text";
  const { code, device, model } = inputs;
  return [code, device, model, method?.name ?? "fp", name, text, what.join("+"), seed].join(" | ");
}

/**
 * Measures an arm at a seed: quantises and evaluates. Rows carry the arm's label, its number of calibration windows, and everything that `evaluate`
 * says.
 *
 * @example
 * ```ts
 * import { type Arm, gptq, loadCorpus, loadModel, measure, tasks, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const corpus = (count: number, seed: number) =>
 *   loadCorpus("data/nanoworld/calibration.jsonl", { tokenizer: model.tokenizer, count, length: 64, seed });
 * const what = { method: gptq({ bits: 2, group: 32 }), calibration: visible, windows: 64 };
 * const arm: Arm = { label: "GPTQ", ...what, tasks: [{ task: tasks.elbo, limit: 64 }] };
 * const { rows, linears, items } = await measure(model, arm, { seed: 1, corpus });
 * ```
 */
export async function measure(model: Model, arm: Arm, options: MeasureOptions): Promise<Measurement> {
  const { seed, kernels, signal, judge, onProgress } = options;
  const linears: LinearReport[] = [], curve: NonNullable<Measurement["curve"]>[number][] = [];
  let subject = model, seconds: number | undefined;
  // Quantising takes the first part of the time, or the first little part where a tuning follows.
  const [solver, tuning] = arm.method && "tunings" in arm.method ? [0.05, 0.85] : [0.5, 0];
  if (arm.method) {
    const { heldOut = 0 } = arm;
    const drawn = arm.calibration?.(await options.corpus(arm.windows + heldOut, seed), seed);
    const prepared = await arm.prepare?.(model, { calibration: drawn, seed });
    const { method, calibration } = { method: arm.method, calibration: drawn, ...prepared };
    const start = performance.now();
    subject = await quantize(model, method, {
      calibration,
      heldOut: calibration ? heldOut : 0,
      kernels,
      signal,
      seed,
      measure: true,
      onTuning({ step, steps, heldOut }) {
        if (heldOut) curve.push({ step, ...heldOut });
        onProgress?.(solver + tuning * step / steps);
      },
      onProgress: (done, total, linear) => {
        linears.push(linear);
        onProgress?.(solver * done / total);
      },
    });
    seconds = (performance.now() - start) / 1000;
  }
  const items: Record<string, readonly number[]> = {};
  const rows: Row[] = [];
  for (const [i, { task, limit }] of arm.tasks.entries()) {
    const evaluated = await evaluate(subject, [task], {
      seed,
      limit,
      signal,
      onItems: (id, values) => items[id] = Array.from(values),
      onProgress(done, total) {
        const begun = solver + tuning;
        onProgress?.(begun + (1 - begun) * (i + done / total) / arm.tasks.length);
      },
    });
    rows.push(...evaluated);
  }
  const extra = { label: arm.label, calibrationSize: arm.method ? arm.windows : 0 };
  return {
    label: arm.label,
    seed,
    rows: rows.map((row) => ({ ...row, ...extra })),
    linears,
    items,
    ...(seconds !== undefined && { seconds }),
    ...(judge && { divergence: await divergence(model, subject, { text: judge, seed }) }),
    ...(curve.length > 0 && { curve }),
  };
}
