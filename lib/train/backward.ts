/** Forward and backward over the blocks of a model with never more than one block's weights and gradients at hand. */
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import type { Weights } from "../model/weights.ts";
import type { BlockVjp } from "./vjp.ts";

/**
 * Where the forward pass leaves its states until the backward pass takes them, last first: those that enter block l at the place 2 l, those between its
 * halves at 2 l + 1. In memory, or on disk.
 */
export interface Tape {
  write(place: number, x: Hidden): Promise<void>;
  /** What was written; it is not read again. */
  take(place: number): Promise<Hidden>;
}

/** A tape in memory. */
export function memoryTape(): Tape {
  const states = new Map<number, Hidden>();
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

/** Runs the blocks on the states x that enter the first; gives those that leave the last. With a tape, a backward pass may follow. */
export async function forward(
  engine: Engine,
  { x, weights, tape }: { readonly x: Hidden; readonly weights: Blocks; readonly tape?: Tape },
): Promise<Hidden> {
  for (let layer = 0; layer < engine.architecture.layers; layer++) {
    const w = await weights.block(layer);
    await tape?.write(2 * layer, x);
    x = await engine.attend(x, w);
    await tape?.write(2 * layer + 1, x);
    x = await engine.feedForward(x, w);
  }
  return x;
}

export interface BackwardOptions {
  /** The blocks as the forward pass saw them. */
  readonly weights: Blocks;
  /** What the forward pass wrote. */
  readonly tape: Tape;
  /** The gradient with respect to the states that left the last block, `[batch, time, width]`. */
  readonly dOut: Float32Array;
  /** Takes the gradients of a block, which hold until it returns. It may change the weights of that block: nothing reads them any more. */
  readonly onBlock: (layer: number, gradients: BlockTensors) => Promise<void> | void;
  /** May add to the gradient with respect to the states x at a place of the tape: what a loss on hidden states gives. */
  readonly onStates?: (place: number, x: Hidden, gradient: Float32Array) => Promise<void> | void;
}

/** Goes back through the blocks, last to first. Gives the gradient with respect to the states that entered the first, which holds until the next call. */
export async function backward(
  vjp: BlockVjp,
  { weights, tape, dOut, onBlock, onStates }: BackwardOptions,
): Promise<Float32Array> {
  for (let layer = vjp.engine.architecture.layers - 1; layer >= 0; layer--) {
    const w = await weights.block(layer);
    const gradients: Record<string, Float32Array> = {};
    for (const half of ["feedForward", "attention"] as const) {
      const place = 2 * layer + (half === "attention" ? 0 : 1);
      const x = await tape.take(place);
      const back = await vjp.run(x, { half, dOut, weights: w });
      Object.assign(gradients, back.weights);
      await onStates?.(place, x, back.dX);
      dOut = back.dX;
    }
    await onBlock(layer, gradients);
  }
  return dOut;
}
