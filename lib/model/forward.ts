/** How a model runs: the seam between what answers (`Model`) and where its weights are (in memory, in a file, or packed in sessions). */
import type { Engine } from "./engine.ts";
import type { Hidden, Window, Windowed } from "./hidden.ts";
import type { Weights } from "./weights.ts";

export interface RawLogits {
  readonly shape: readonly [number, number];
  readonly data: Float32Array;
}

export interface Forward extends AsyncDisposable {
  /** The states that enter block 0, of `tokens` as `batch` equally long sequences. */
  embed(tokens: Int32Array, batch: number): Promise<Hidden>;
  /** The output of a block. */
  block(layer: number, x: Hidden): Promise<Hidden>;
  /** The output of a block for a part of one sequence, whose positions attend to one another and to the past. */
  window(layer: number, x: Hidden, window: Window): Promise<Windowed>;
  /** Final norm and head at flat positions `rows` (all by default). */
  head(x: Hidden, rows?: Int32Array): Promise<RawLogits>;
}

/** Runs from float32 weights. */
export class DenseForward implements Forward {
  constructor(readonly engine: Engine, readonly weights: Weights) {}

  async embed(tokens: Int32Array, batch: number): Promise<Hidden> {
    return { batch, time: tokens.length / batch, data: await this.weights.embed(tokens) };
  }

  async block(layer: number, x: Hidden): Promise<Hidden> {
    return await this.engine.block(x, await this.weights.block(layer));
  }

  async window(layer: number, x: Hidden, window: Window): Promise<Windowed> {
    return await this.engine.window(x, await this.weights.block(layer), window);
  }

  async head(x: Hidden, rows?: Int32Array): Promise<RawLogits> {
    const [norm, head] = [await this.weights.finalNorm(), this.weights.rows("head")];
    return await this.engine.head(x, { norm, head, rows });
  }

  /** Nothing of its own: the engine's runtime is the model's to free. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
