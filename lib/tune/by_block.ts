/**
 * Tuning block by block, for models that do not fit in memory: each block is moved so that, on what the tuned blocks before it give, it gives what the
 * teacher's gives. The loss is the mean over tokens of ‖x - h‖² / ‖h‖² for the states x that leave the block and h of the teacher: a plain squared error is
 * spent on the few tokens whose states are huge.
 */
import { divergence, maskedBatch } from "../diffusion/divergence.ts";
import { drawMasks } from "../diffusion/masks.ts";
import type { Half } from "../model/architecture.ts";
import type { BlockTensors, Hidden } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import { NumericalError } from "../tensor/errors.ts";
import { rng } from "../tensor/rng.ts";
import { addRelativeError } from "../train/hidden_loss.ts";
import { BlockVjp } from "../train/vjp.ts";
import type { MoveOptions } from "./by_model.ts";
import { type Moved, withMoved } from "./moved.ts";
import type { MovingBlock } from "./moving.ts";
import { defaultPool, defaultRates, evenShares, scheduled, type TuneOptions } from "./options.ts";
import { checkStudent, movedBlock, movingBlock } from "./student.ts";

/** Masked text that is gone through again and again. */
export interface Pool {
  /** Token ids with masks of each batch, `[count · length]`. */
  readonly parts: readonly { readonly tokens: Int32Array; readonly count: number }[];
}

/** States of a pool at one place of a model: see `HiddenStates` of the pipeline, which serves as such. */
export interface PoolStates {
  /** The half blocks that they went through. */
  readonly passed: number;
  get(part: number): Promise<Hidden>;
  advance(step: (x: Hidden, into?: Float32Array) => Promise<Hidden>): Promise<void>;
}

/** Where the states are, and where finished blocks are kept. */
export interface BlockPlaces {
  readonly pool: Pool;
  readonly teacher: PoolStates;
  readonly student: PoolStates;
  kept(layer: number): Promise<Moved | undefined>;
  keep(layer: number, moved: Moved): Promise<void>;
}

/** Draws the pool of a tuning. */
export async function drawPool(
  { firstPredicted, maskId }: Model,
  { text, pool = defaultPool, masks: shares = evenShares, seed }: TuneOptions & { readonly seed: number },
): Promise<Pool> {
  const parts: Pool["parts"][number][] = [];
  for (let part = 0; part < pool; part++) {
    const drawn = await text.draw(seed, part);
    const masks = drawMasks(drawn, { shares, random: rng(seed, "masks", part), firstPredicted });
    const { tokens, batch: count } = maskedBatch(drawn.windows, { masks, maskId });
    parts.push({ tokens, count });
  }
  return { parts };
}

/** States in memory, and blocks that are kept there. */
export async function heldPlaces(teacher: Model, student: Model, pool: Pool): Promise<BlockPlaces> {
  const blocks = new Map<number, Moved>();
  return {
    pool,
    teacher: await heldPool(teacher, pool),
    student: await heldPool(student, pool),
    kept: (layer) => Promise.resolve(blocks.get(layer)),
    keep: (layer, moved) => Promise.resolve(void blocks.set(layer, moved)),
  };
}

async function heldPool(model: Model, { parts }: Pool): Promise<PoolStates> {
  const states: Hidden[] = [];
  for (const { tokens, count } of parts) states.push(await model.embed(tokens, count));
  let passed = 0;
  return {
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

const halves: readonly Half[] = ["attention", "feedForward"];

/** Moves what `student` stores, block by block; see `tune`. A run that was stopped goes on behind the last block that is kept. */
export async function moveBlocks(
  teacher: Model,
  student: Model,
  options: MoveOptions,
  places: BlockPlaces,
): Promise<Moved> {
  checkStudent(student);
  const { what, steps, seed, norms = true, typeOf, heldOut, onProgress, signal } = options;
  const { engine } = student, { layers } = engine.architecture;
  await using vjp = new BlockVjp(engine);
  const all: Moved[] = [];
  /** Takes states to the end of a block. */
  const pass = async (states: PoolStates, layer: number, block: BlockTensors) => {
    while (states.passed < 2 * layer + 2) {
      const half = halves[states.passed % 2];
      await states.advance((x, into) =>
        half === "attention" ? engine.attend(x, block, { into }) : engine.feedForward(x, block, { into })
      );
    }
  };
  for (let layer = 0; layer < layers; layer++) {
    const before = await places.kept(layer);
    if (before) {
      all.push(before);
      if (layer + 1 === layers || places.student.passed >= 2 * layer + 2) continue;
      const now = withMoved(student, before, student.provenance);
      await pass(places.teacher, layer, await teacher.weights.block(layer));
      await pass(places.student, layer, await now.weights.block(layer));
      continue;
    }
    await pass(places.teacher, layer, await teacher.weights.block(layer));
    const block = await movingBlock(student, layer, {
      ...{ what, norms, typeOf, rates: { ...defaultRates, ...options.rates } },
    });
    for (let step = 0; step < steps; step++) {
      signal?.throwIfAborted();
      const { hidden, changed } = await moveBlock(vjp, block, { ...options, places, layer, step });
      if (!Number.isFinite(hidden)) {
        throw new NumericalError(
          `Cannot tune ${student.name}: the error of block ${layer} is ${hidden} at step ${step}; lower the rates`,
        );
      }
      const done = layer * steps + step + 1;
      if (done < layers * steps || !heldOut) onProgress?.({ step: done, steps: layers * steps, hidden, changed });
      else {
        const last = movedBlock(student, layer, block);
        const now = withMoved(student, joined([...all, last]), student.provenance);
        const told = { step: done, steps: done, hidden, changed };
        onProgress?.({ ...told, heldOut: await divergence(teacher, now, { text: heldOut.text, seed }) });
      }
    }
    const moved = movedBlock(student, layer, block);
    await places.keep(layer, moved);
    all.push(moved);
    if (layer + 1 < layers) await pass(places.student, layer, block.tensors);
  }
  return joined(all);
}

function joined(parts: readonly Moved[]): Moved {
  return {
    forms: new Map(parts.flatMap(({ forms }) => [...forms])),
    vectors: new Map(parts.flatMap(({ vectors }) => [...vectors])),
  };
}

/** One step of a block on one part of the pool: gives its error before, and how many codes changed. */
async function moveBlock(
  vjp: BlockVjp,
  block: MovingBlock,
  { places, layer, step, steps, seed, loss: { masked = 1 } = {} }: MoveOptions & {
    readonly places: BlockPlaces;
    readonly layer: number;
    readonly step: number;
  },
): Promise<{ readonly hidden: number; readonly changed: number }> {
  const { maskId } = vjp.engine.architecture, { parts } = places.pool;
  const round = Math.floor(step / parts.length);
  const order = rng(seed, "order", layer, round).shuffle(Array.from(parts.keys()));
  const part = order[step % parts.length];
  const x = await places.student.get(part), wanted = await places.teacher.get(part);
  const { tensors: weights } = block;
  const { y: between, kept } = await vjp.forward(x, { half: "attention", weights });
  const { y: out, kept: keptBetween } = await vjp.forward(between, { half: "feedForward", weights });
  const dOut = new Float32Array(out.data.length);
  const { tokens } = parts[part];
  const counts = masked === 1 ? undefined : Float32Array.from(tokens, (token) => token === maskId ? masked : 1);
  const hidden = addRelativeError(out, { wanted, weight: 1, gradient: dOut, counts });
  const back = await vjp.run(between, { half: "feedForward", dOut, weights, kept: keptBetween });
  const first = await vjp.run(x, { half: "attention", dOut: back.dX, weights, kept });
  block.update({ ...back.weights, ...first.weights }, { factor: scheduled(step, steps), count: step + 1 });
  return { hidden, changed: block.settle() };
}
