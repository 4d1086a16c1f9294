/** Keys and values of one sequence, kept so that a part of it can be run again without the rest. */
import type { Logits, SequenceCache } from "../diffusion/denoiser.ts";
import type { Architecture } from "./architecture.ts";
import type { Forward } from "./forward.ts";
import type { Hidden, KeptStates } from "./hidden.ts";

/** What a cache asks of a model. */
interface Cached {
  readonly architecture: Architecture;
  readonly firstPredicted: number;
  readonly forward: Forward;
  embed(tokens: Int32Array, batch: number): Promise<Hidden>;
}

/** Rows of keys and values per block, in memory that grows with the longest sequence so far. */
export class ModelCache implements SequenceCache {
  readonly #layers: { k: Float32Array; v: Float32Array }[];
  readonly #width: number;
  /** Memory for what stands on both sides of a part, one block after another. */
  #joined = { k: new Float32Array(0), v: new Float32Array(0) };
  #kept = 0;

  constructor(readonly model: Cached) {
    const { layers, kvHeads, headSize } = model.architecture;
    this.#layers = Array.from({ length: layers }, () => ({ k: new Float32Array(0), v: new Float32Array(0) }));
    this.#width = kvHeads * headSize;
  }

  get kept(): number {
    return this.#kept;
  }

  crop(length: number): void {
    if (!(Number.isInteger(length) && length >= 0 && length <= this.#kept)) {
      throw new RangeError(
        `Cannot keep ${length} positions: wanted an integer from 0 to the ${this.#kept} that are kept`,
      );
    }
    this.#kept = length;
  }

  async run(
    tokens: Int32Array,
    { from, to, rows }: { readonly from: number; readonly to: number; readonly rows: Int32Array },
  ): Promise<Logits> {
    const { model } = this, { firstPredicted } = model, last = Math.min(tokens.length, model.architecture.maxLength);
    if (!(Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from < to && to <= last)) {
      throw new RangeError(`Cannot run positions ${from} to ${to}: wanted a part of ${last}`);
    }
    if (from > this.#kept) {
      throw new RangeError(`Cannot run from position ${from}: ${this.#kept} are kept, and those between are not`);
    }
    const outside = rows.find((row) => row - firstPredicted < from || row >= to);
    if (outside !== undefined) {
      const before = firstPredicted > 0 ? "; this model predicts from the position before" : "";
      throw new RangeError(`Cannot give logits of position ${outside}: positions ${from} to ${to} are run${before}`);
    }
    let x = await model.embed(tokens.slice(from, to), 1);
    for (const layer of this.#layers.keys()) {
      const own = await model.forward.window(layer, x, { from, past: this.#outside(layer, from, to) });
      this.#put(layer, own, from, to);
      x = own.x;
    }
    this.#kept = Math.max(this.#kept, to);
    return await model.forward.head(x, rows.map((row) => row - firstPredicted - from));
  }

  /** Nothing of its own on a device. */
  async [Symbol.asyncDispose](): Promise<void> {}

  /** What is kept before `from` and from `to` on, one after another: attention does not ask for their order. Good until the next call. */
  #outside(layer: number, from: number, to: number): KeptStates {
    const { k, v } = this.#layers[layer], n = this.#width, before = from * n;
    if (to >= this.#kept) return { k: k.subarray(0, before), v: v.subarray(0, before) };
    const start = to * n, end = this.#kept * n, length = before + end - start;
    if (this.#joined.k.length < length) {
      this.#joined = { k: new Float32Array(k.length), v: new Float32Array(v.length) };
    }
    const join = (all: Float32Array, out: Float32Array) => {
      out.set(all.subarray(0, before));
      out.set(all.subarray(start, end), before);
      return out.subarray(0, length);
    };
    return { k: join(k, this.#joined.k), v: join(v, this.#joined.v) };
  }

  #put(layer: number, { k, v }: KeptStates, from: number, to: number): void {
    const held = this.#layers[layer], n = this.#width;
    if (held.k.length < to * n) {
      const grown = (all: Float32Array) => {
        const out = new Float32Array(to * n);
        out.set(all);
        return out;
      };
      Object.assign(held, { k: grown(held.k), v: grown(held.v) });
    }
    held.k.set(k, from * n);
    held.v.set(v, from * n);
  }
}
