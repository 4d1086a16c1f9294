/** Tuning a model as a whole: every step moves all blocks towards the teacher's masked predictions. */
import { divergence, maskedBatch } from "../diffusion/divergence.ts";
import { drawMasks } from "../diffusion/masks.ts";
import type { Model } from "../model/model.ts";
import { concat } from "../tensor/concat.ts";
import { NumericalError } from "../tensor/errors.ts";
import { rng } from "../tensor/rng.ts";
import { backward, forward, memoryTape } from "../train/backward.ts";
import { addRelativeError } from "../train/hidden_loss.ts";
import { KlHead } from "../train/kl_head.ts";
import { BlockVjp } from "../train/vjp.ts";
import { type Moved, withMoved } from "./moved.ts";
import { defaultRates, evenShares, scheduled, type TuneOptions } from "./options.ts";
import { Student, type StudentOptions, type StudentState } from "./student.ts";

/** Where a run leaves what it needs to go on, and finds it. */
export interface Keeping {
  /** Steps between two states. */
  readonly every: number;
  load(): Promise<(StudentState & { readonly step: number }) | undefined>;
  save(step: number, state: StudentState): Promise<void>;
}

export interface MoveOptions extends TuneOptions, Pick<StudentOptions, "typeOf"> {
  readonly seed: number;
}

/** Moves what `student` stores; see `tune`. With `keeping`, a run that was stopped goes on and ends with the same bytes. */
export async function moveModel(
  teacher: Model,
  student: Model,
  options: MoveOptions,
  keeping?: Keeping,
): Promise<Moved> {
  const { what, text, steps, seed, masks: shares = evenShares, norms = true, typeOf, heldOut, onProgress, signal } =
    options;
  const { kl: klWeight = 1, hidden: hiddenWeight = 0 } = options.loss ?? {};
  const moving = await Student.open(student, { what, norms, typeOf, rates: { ...defaultRates, ...options.rates } });
  const before = await keeping?.load();
  if (before) moving.restore(before);
  const { engine } = student, halves = 2 * engine.architecture.layers;
  const head = concat(await Array.fromAsync(student.weights.rows("head")), Float32Array);
  await using vjp = new BlockVjp(engine);
  await using klHead = new KlHead(engine);
  for (let step = before?.step ?? 0; step < steps; step++) {
    signal?.throwIfAborted();
    const drawn = await text.draw(seed, step);
    const random = rng(seed, "masks", step);
    const masks = drawMasks(drawn, { shares, random, firstPredicted: student.firstPredicted });
    const { tokens, batch, positions } = maskedBatch(drawn.windows, { masks, maskId: student.maskId });
    const goal = hiddenWeight > 0 ? memoryTape() : undefined;
    const behind = student.rowsBehind(positions, tokens.length / batch);
    // A loss on hidden states asks for all of them; else the last block ends with those that predict.
    const rows = goal ? undefined : behind;
    const wanted = await forward(teacher.engine, {
      ...{ x: await teacher.embed(tokens, batch), weights: teacher.weights, tape: goal, rows },
    });
    const tape = memoryTape();
    const last = await forward(engine, { x: await student.embed(tokens, batch), weights: moving, tape, vjp, rows });
    const { kl, dX, dNorm } = await klHead.run(last, {
      rows: rows ? Int32Array.from(rows.keys()) : behind,
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
    const share = { weight: hiddenWeight / halves };
    let error = goal ? addRelativeError(last, { ...share, wanted, gradient: dX }) : 0;
    await backward(vjp, {
      weights: moving,
      tape,
      rows,
      dOut: dX,
      states: false,
      onBlock: (layer, gradients) => moving.blocks[layer].update(gradients, at),
      async onStates(place, x, gradient) {
        if (!goal || place === 0) return; // before the first half stands the embedding, which does not move
        error += addRelativeError(x, { ...share, wanted: await goal.take(place), gradient });
      },
    });
    const changed = moving.settle(), done = step + 1;
    const progress = { step: done, steps, kl, changed, ...(goal && { hidden: error / halves }) };
    if (heldOut && (done === steps || done % (heldOut.every ?? steps) === 0)) {
      const now = withMoved(student, moving.moved(), student.provenance);
      onProgress?.({ ...progress, heldOut: await divergence(teacher, now, { text: heldOut.text, seed }) });
    } else onProgress?.(progress);
    if (keeping && (done === steps || done % keeping.every === 0)) await keeping.save(done, moving.state());
  }
  return moving.moved();
}
