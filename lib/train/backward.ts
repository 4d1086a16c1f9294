/** Forward and backward over the blocks of a model with never more than one block's weights and gradients at hand. */
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import type { Weights } from "../model/weights.ts";
import type { BlockVjp, Kept } from "./vjp.ts";

/** States, and what the half that they enter computed of them. */
export interface Taped extends Hidden {
  readonly kept?: Kept;
}

/**
 * Where the forward pass leaves its states until the backward pass takes them, last first: those that enter block l at the place 2 l, those between its
 * halves at 2 l + 1. In memory, or on disk. A tape may drop what is kept beside the states: the way back then computes it again.
 */
export interface Tape {
  write(place: number, x: Taped): Promise<void>;
  /** What was written; it is not read again. */
  take(place: number): Promise<Taped>;
}

/** A tape in memory. */
export function memoryTape(): Tape {
  const states = new Map<number, Taped>();
  return {
    write(place, x) {
      states.set(place, x);
      return Promise.resolve();
    },
    take(place) {
      const x = states.get(place);
      if (!x) return Promise.reject(new RangeError(`Cannot go back to place ${place}: no forward pass came by`));
      states.delete(place);
      return Promise.resolve(x);
    },
  };
}

/** Where blocks come from. */
type Blocks = Pick<Weights, "block">;

export interface ForwardOptions {
  /** The states that enter the first block. */
  readonly x: Hidden;
  readonly weights: Blocks;
  /** With a tape, a backward pass may follow; with the gradients too, it finds on the tape all that it needs of the forward pass. */
  readonly tape?: Tape;
  readonly vjp?: BlockVjp;
  /**
   * The rows of the last states that are wanted, flat and ascending; all by default. They come as a batch of single tokens. What comes after attention in
   * the last block is computed of them alone.
   */
  readonly rows?: Int32Array;
}

/** Runs the blocks; gives the states that leave the last. */
export async function forward(engine: Engine, { x, weights, tape, vjp, rows }: ForwardOptions): Promise<Hidden> {
  checkRows(x, rows);
  const { layers } = engine.architecture;
  for (let layer = 0; layer < layers; layer++) {
    const w = await weights.block(layer);
    for (const half of ["attention", "feedForward"] as const) {
      const own = { half, weights: w, rows: half === "attention" && layer === layers - 1 ? rows : undefined };
      const place = 2 * layer + (half === "attention" ? 0 : 1);
      if (tape && vjp) {
        const { y, kept } = await vjp.forward(x, own);
        await tape.write(place, { ...x, kept });
        x = y;
      } else {
        await tape?.write(place, x);
        x = half === "attention" ? await engine.attend(x, w, own) : await engine.feedForward(x, w);
      }
    }
  }
  return x;
}

function checkRows({ batch, time }: Hidden, rows?: Int32Array): void {
  const wrong = rows?.findIndex((row, i) => row < (i === 0 ? 0 : rows[i - 1] + 1) || row >= batch * time) ?? -1;
  if (wrong >= 0) {
    throw new RangeError(
      `Cannot run to rows whose ${wrong}-th is ${rows![wrong]}: wanted ascending ones below ${batch * time}`,
    );
  }
}

export interface BackwardOptions {
  /** The blocks as the forward pass saw them. */
  readonly weights: Blocks;
  /** What the forward pass wrote. */
  readonly tape: Tape;
  /** The gradient with respect to the states that left the last block: of its `rows` where the forward pass ran to those. */
  readonly dOut: Float32Array;
  readonly rows?: Int32Array;
  /** Whether the gradient of the states that entered the first block is wanted; it is by default. */
  readonly states?: boolean;
  /** Takes the gradients of a block, which hold until it returns. It may change the weights of that block: nothing reads them any more. */
  readonly onBlock: (layer: number, gradients: BlockTensors) => Promise<void> | void;
  /** May add to the gradient with respect to the states x at a place of the tape: what a loss on hidden states gives. */
  readonly onStates?: (place: number, x: Hidden, gradient: Float32Array) => Promise<void> | void;
}

/** Goes back through the blocks, last to first. Gives the gradient with respect to the states that entered the first, which holds until the next call; without `states` it is empty. */
export async function backward(
  vjp: BlockVjp,
  { weights, tape, dOut, rows, states = true, onBlock, onStates }: BackwardOptions,
): Promise<Float32Array> {
  const { layers } = vjp.engine.architecture;
  for (let layer = layers - 1; layer >= 0; layer--) {
    const w = await weights.block(layer);
    const gradients: Record<string, Float32Array> = {};
    for (const half of ["feedForward", "attention"] as const) {
      const place = 2 * layer + (half === "attention" ? 0 : 1);
      const x = await tape.take(place);
      const own = { half, weights: w, rows: half === "attention" && layer === layers - 1 ? rows : undefined };
      const back = await vjp.run(x, { ...own, dOut, kept: x.kept, states: states || place > 0 });
      Object.assign(gradients, back.weights);
      if (states || place > 0) await onStates?.(place, x, back.dX);
      dOut = back.dX;
    }
    await onBlock(layer, gradients);
  }
  return dOut;
}
