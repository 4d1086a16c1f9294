/**
 * Tuning what a quantised model stores towards the masked predictions of the full-precision model: neither its form nor its bytes change in number.
 *
 *   L = mean over masked positions of KL(p || p_θ) + λ · mean over all tokens and halves of blocks of ‖x_θ - x‖² / ‖x‖²
 *
 * with λ zero by default and x the states that leave a half. That term keeps what the text does not ask for.
 *
 * Scales follow their gradients, which those of the decoded weights give (`quant/forms/tunable.ts`). Codes follow latents, one a weight, that start at the
 * decoded weight and take the gradient of the decoded weight as their own (straight-through). What the forward pass sees in every step is what would be stored.
 */
import { type Divergence, divergence, maskedBatch } from "../diffusion/divergence.ts";
import { drawMasks, type MaskShares } from "../diffusion/masks.ts";
import type { MarkedText, TextSource } from "../diffusion/text.ts";
import type { Model } from "../model/model.ts";
import type { HeldWeights } from "../model/weights.ts";
import { NumericalError } from "../tensor/errors.ts";
import { rng } from "../tensor/rng.ts";
import { backward, forward, memoryTape } from "../train/backward.ts";
import { addRelativeError } from "../train/hidden_loss.ts";
import { KlHead } from "../train/kl_head.ts";
import { BlockVjp } from "../train/vjp.ts";
import { type Rates, Student } from "./student.ts";

/** What `tune` moves, on which text, and how long. */
export interface TuneOptions {
  /** What moves: "scales" leave every code as it is; "codes" move too. */
  readonly what: "scales" | "codes";
  /** The windows of each step. */
  readonly text: TextSource;
  readonly steps: number;
  readonly seed: number;
  /** How windows are masked; half through the forward process, half at their answers by default. */
  readonly masks?: MaskShares;
  /** Whether norms and biases move too; they do by default, and are stored in the type of the checkpoint. */
  readonly norms?: boolean;
  /** How much the two terms of the loss count: 1 and 0 by default. */
  readonly loss?: { readonly kl?: number; readonly hidden?: number };
  readonly rates?: Partial<Rates>;
  /** What rows call the result; the student's method and what moved by default. */
  readonly method?: string;
  /** Windows whose divergence is told every `every` steps and at the end: not those of `text`, nor their statements. */
  readonly heldOut?: { readonly text: MarkedText; readonly every?: number };
  readonly onProgress?: (progress: TuneProgress) => void;
  readonly signal?: AbortSignal;
}

/** Where a tuning stands after a step. */
export interface TuneProgress {
  /** Steps that are done, of so many. */
  readonly step: number;
  readonly steps: number;
  /** The divergence on this step's text, before it. */
  readonly kl: number;
  /** The relative error of hidden states there, where the loss counts it. */
  readonly hidden?: number;
  /** Codes that the step changed. */
  readonly changed: number;
  /** After this step, where it was measured. */
  readonly heldOut?: Divergence;
}

const WARMUP = 10;
const defaultRates: Rates = { scales: 3e-3, norms: 1e-3, latents: 0.025 };
const evenShares: MaskShares = { forward: 0.5, answers: 0.5 };

/**
 * A new model that stores what `student` stores, tuned to predict as `teacher` does, its full-precision self. Both are left as they were. The same options
 * give the same model: text and masks are functions of (seed, step).
 *
 * @example
 * ```ts
 * import { corpusText, loadCorpus, loadModel, quantize, rtn, tune } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 256, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const small = await quantize(model, rtn({ bits: 2, group: 128 }));
 * const text = corpusText(corpus, { batch: 32 });
 * const better = await tune(model, small, { what: "scales", text, steps: 300, seed: 1 });
 * ```
 *
 * @throws TypeError when the student's weights are not held in memory, none of its linears is quantised, or the models do not speak of the same tokens;
 *   RangeError when `steps` is no positive integer, or windows cannot be masked; NumericalError when the loss is no number.
 */
export async function tune(teacher: Model, student: Model, options: TuneOptions): Promise<Model> {
  const { what, text, steps, seed, masks: shares = evenShares, norms = true, heldOut, onProgress, signal } = options;
  const { kl: klWeight = 1, hidden: hiddenWeight = 0 } = options.loss ?? {};
  if (!(Number.isInteger(steps) && steps > 0)) {
    throw new RangeError(`Cannot tune for ${steps} steps: wanted a positive integer`);
  }
  for (const key of ["vocabSize", "maskId", "firstPredicted"] as const) {
    if (teacher[key] !== student[key]) {
      throw new TypeError(
        `Cannot tune ${student.name} towards ${teacher.name}: its ${key} is ${student[key]}, wanted ${teacher[key]}`,
      );
    }
  }
  const moving = new Student(student, { what, norms, rates: { ...defaultRates, ...options.rates } });
  const { engine, weights: { arrays: { head } } } = student as Model & { readonly weights: HeldWeights };
  const provenance = {
    ...student.provenance,
    method: options.method ?? tunedName(String(student.provenance.method ?? student.name), options),
    tuned:
      `${what} ${
        norms ? "and norms" : "alone"
      }, ${steps} steps, loss ${klWeight} KL and ${hiddenWeight} hidden, masks ${shares.forward} forward and ` +
      `${shares.answers} answers, seed ${seed}`,
  };
  await using vjp = new BlockVjp(engine);
  await using klHead = new KlHead(engine);
  for (let step = 0; step < steps; step++) {
    signal?.throwIfAborted();
    const drawn = text(seed, step);
    const masks = drawMasks(drawn, {
      shares,
      random: rng(seed, "masks", step),
      firstPredicted: student.firstPredicted,
    });
    const { tokens, batch, positions } = maskedBatch(drawn.windows, { masks, maskId: student.maskId });
    const goal = hiddenWeight > 0 ? memoryTape() : undefined;
    const wanted = goal
      ? await forward(teacher.engine, { x: await teacher.embed(tokens, batch), weights: teacher.weights, tape: goal })
      : await teacher.lastStates(tokens, batch);
    const tape = memoryTape();
    const last = await forward(engine, { x: await student.embed(tokens, batch), weights: moving, tape });
    const { kl, dX, dNorm } = await klHead.run(last, {
      rows: student.rowsBehind(positions, last.time),
      weights: new Float32Array(positions.length).fill(1 / positions.length),
      teacher: (rows) => teacher.forward.head(wanted, rows),
      norm: moving.finalNorm,
      head,
    });
    if (!Number.isFinite(kl)) {
      throw new NumericalError(`Cannot tune ${student.name}: the divergence is ${kl} at step ${step}; lower the rates`);
    }
    const at = { factor: scheduled(step, steps), count: step + 1 };
    if (klWeight !== 1) [dX, dNorm].forEach((gradient) => gradient.forEach((x, i) => gradient[i] = klWeight * x));
    moving.updateFinalNorm(dNorm, at);
    // One error for each half of a block, on the states that leave it: those of the last half are in no tape.
    const halves = 2 * engine.architecture.layers;
    const share = { weight: hiddenWeight / halves };
    let error = goal ? addRelativeError(last, { ...share, wanted, gradient: dX }) : 0;
    await backward(vjp, {
      weights: moving,
      tape,
      dOut: dX,
      onBlock: (layer, gradients) => moving.update(layer, gradients, at),
      async onStates(place, x, gradient) {
        if (!goal || place === 0) return; // before the first half stands the embedding, which does not move
        error += addRelativeError(x, { ...share, wanted: await goal.take(place), gradient });
      },
    });
    const changed = moving.settle();
    const progress: TuneProgress = { step: step + 1, steps, kl, changed, ...(goal && { hidden: error / halves }) };
    if (heldOut && (step + 1 === steps || (step + 1) % (heldOut.every ?? steps) === 0)) {
      const held = await divergence(teacher, moving.result(provenance), { text: heldOut.text, seed });
      onProgress?.({ ...progress, heldOut: held });
    } else onProgress?.(progress);
  }
  return moving.result(provenance);
}

/** What a method is called whose linears are then tuned. */
export function tunedName(method: string, { what, steps, norms = true, loss = {} }: TuneOptions): string {
  const { kl = 1, hidden = 0 } = loss;
  const terms = kl === 1 && hidden === 0 ? "" : `-kl${kl}-hidden${hidden}`;
  return `${method}+tuned:${what}-${steps}${terms}${norms ? "" : "-no-norms"}`;
}

/** The factor on all rates: ten steps of warm-up (half of the steps where there are few), then half a cosine down to zero. */
export function scheduled(step: number, steps: number): number {
  const warm = Math.min(WARMUP, Math.floor(steps / 2));
  if (step < warm) return (step + 1) / warm;
  return 0.5 * (1 + Math.cos(Math.PI * (step - warm) / (steps - warm)));
}
