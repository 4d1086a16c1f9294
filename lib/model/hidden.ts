/** States on their way through a model, whole or a part of a sequence at a time. */

/** Hidden states of a batch: `[batch, time, width]` float32. */
export interface Hidden {
  readonly batch: number;
  readonly time: number;
  readonly data: Float32Array;
}

/** Keys and values of some positions of one sequence, each `[positions, kvHeads · headSize]` float32; keys are normed and turned already. */
export interface KeptStates {
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** A part of one sequence: its first position, and the keys and values of what stands outside of it. */
export interface Window {
  readonly from: number;
  readonly past: KeptStates;
}

/** What a block gives for a part of a sequence: its states, and its own keys and values. */
export interface Windowed extends KeptStates {
  readonly x: Hidden;
}
