/**
 * Tuning what a quantised model stores towards the full-precision model: neither its form nor its bytes change in number.
 *
 *   L = mean over masked positions of KL(p || p_θ) + λ · mean over all tokens and halves of blocks of ‖x_θ - x‖² / ‖x‖²
 *
 * with λ zero by default and x the states that leave a half. That term keeps what the text does not ask for. Block by block, it is all there is.
 *
 * Scales follow their gradients, which those of the decoded weights give (`quant/tunable/tunable.ts`). Codes follow latents, one a weight, that start at the
 * decoded weight and take the gradient of the decoded weight as their own (straight-through). What the forward pass sees in every step is what would be stored.
 */
import type { Model } from "../model/model.ts";
import { HeldWeights } from "../model/weights.ts";
import { drawPool, heldPlaces, moveBlocks } from "./by_block.ts";
import { moveModel } from "./by_model.ts";
import { withMoved } from "./moved.ts";
import { checkTuning, tunedName, type TuneOptions, tuningText } from "./options.ts";

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
 * const text = corpusText(corpus, { name: "calibration.jsonl", batch: 32 });
 * const better = await tune(model, small, { what: "scales", text, steps: 300, seed: 1 });
 * ```
 *
 * @throws TypeError when the student's weights are not held in memory, none of its linears is quantised, the models do not speak of the same tokens, or an
 *   option belongs to the other kind of tuning; RangeError when `steps` is no positive integer, or windows cannot be masked; NumericalError when the loss is
 *   no number.
 */
export async function tune(
  teacher: Model,
  student: Model,
  options: TuneOptions & {
    /** What rows call the result; the student's method and what moved by default. */
    readonly method?: string;
  },
): Promise<Model> {
  checkTuning(options);
  checkPair(teacher, student);
  if (!(student.weights instanceof HeldWeights)) {
    throw new TypeError(
      `Cannot tune ${student.name}: its weights are not held in memory; open it with { weights: "held" }`,
    );
  }
  const { by = "model", seed = 1 } = options, own = { ...options, seed };
  const moved = by === "model"
    ? await moveModel(teacher, student, own)
    : await moveBlocks(teacher, student, own, await heldPlaces(teacher, student, await drawPool(student, own)));
  const { method, tuned } = student.provenance;
  return withMoved(student, moved, {
    ...student.provenance,
    method: options.method ?? tunedName(String(method ?? student.name), options),
    tuned: [tuned, tuningText(options, seed)].filter(Boolean).join("; then "),
  });
}

/** Throws `TypeError` where student and teacher do not speak of the same tokens. */
export function checkPair(teacher: Model, student: Model): void {
  for (const key of ["vocabSize", "maskId", "firstPredicted"] as const) {
    if (teacher[key] === student[key]) continue;
    throw new TypeError(
      `Cannot tune ${student.name} towards ${teacher.name}: its ${key} is ${student[key]}, wanted ${teacher[key]}`,
    );
  }
}
