/** A block in motion: what it stores, the weights that this decodes to, and what moves it. */
import type { BlockWeight } from "../model/architecture.ts";
import type { BlockTensors } from "../model/engine.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import type { Scales, Tunable } from "../quant/tunable/tunable.ts";
import { tunable } from "../quant/tunable/forms.ts";
import { bfloat16ToFloat, floatToBfloat16, floatToHalf, halfToFloat } from "../tensor/half.ts";
import { Adam, meanSize } from "./adam.ts";
import type { Rates } from "./options.ts";

/** Types in which norms and biases are stored. */
export type FloatType = "F32" | "F16" | "BF16";

export interface MovingOptions {
  /** Scales alone, or codes with them. */
  readonly what: "scales" | "codes";
  readonly rates: Rates;
}

/** Where a schedule stands. */
export interface At {
  readonly factor: number;
  readonly count: number;
}

/** Latents are kept within so many times the outermost level. */
const REACH = 1.25;
const scaleBetas = { beta1: 0.9, beta2: 0.95 }, latentBetas = { beta1: 0.9, beta2: 0.99 };

/** A linear, the weight it decodes to, and what moves it. */
interface MovingLinear {
  readonly form: Tunable;
  readonly W: Float32Array;
  readonly scales: readonly { readonly name: string; readonly adam: Adam }[];
  readonly gradients: Scales;
  readonly latents?: Adam;
}

/** A norm or bias: float32 in motion, and rounded to the type of the checkpoint where it is used. */
export class MovingVector {
  readonly adam: Adam;
  readonly #round: (x: Float32Array) => Float32Array;

  constructor(readonly used: Float32Array, type: FloatType, rates: Rates) {
    this.adam = new Adam(used.slice(), { rate: rates.norms * meanSize(used), ...scaleBetas });
    this.#round = rounding[type];
  }

  settle(): void {
    this.used.set(this.#round(this.adam.x));
  }
}

export class MovingBlock {
  /** What the block decodes to now. */
  readonly tensors: BlockTensors;
  readonly #linears = new Map<BlockWeight, MovingLinear>();
  readonly #vectors = new Map<BlockWeight, MovingVector>();

  /** `given` are the block's weights, left as they are; `forms` its stored linears, and `vectors` the types of its norms and biases that move. */
  constructor(
    given: BlockTensors,
    { forms, vectors, ...options }: MovingOptions & {
      readonly forms: ReadonlyMap<BlockWeight, QuantizedLinear>;
      readonly vectors: ReadonlyMap<BlockWeight, FloatType>;
    },
  ) {
    const own: Record<BlockWeight, Float32Array> = { ...given };
    for (const [name, q] of forms) this.#linears.set(name, movingLinear(q, own[name] = given[name].slice(), options));
    for (const [name, type] of vectors) {
      this.#vectors.set(name, new MovingVector(own[name] = given[name].slice(), type, options.rates));
    }
    this.tensors = own;
  }

  /** Moves what is stored against the gradients of the weights. */
  update(gradients: BlockTensors, at: At): void {
    for (const [name, { form, scales, gradients: own, latents }] of this.#linears) {
      form.gradients(gradients[name], own);
      for (const { name, adam } of scales) adam.step(own[name], at);
      latents?.step(gradients[name], at);
    }
    for (const [name, { adam }] of this.#vectors) adam.step(gradients[name], at);
  }

  /** Makes the weights those that what is stored decodes to. Gives how many codes changed. */
  settle(): number {
    let changed = 0;
    for (const { form, W, latents } of this.#linears.values()) {
      changed += form.settle(W, latents && { latents: latents.x, reach: REACH });
    }
    for (const vector of this.#vectors.values()) vector.settle();
    return changed;
  }

  /** The stored linears as they were settled last. */
  forms(): Map<BlockWeight, QuantizedLinear> {
    return new Map([...this.#linears].map(([name, { form }]) => [name, form.stored()]));
  }

  /** The norms and biases that move, as they were settled last. */
  vectors(): Map<BlockWeight, Float32Array> {
    return new Map([...this.#vectors].map(([name, { used }]) => [name, used.slice()]));
  }

  /** Goes on where a run stopped that had these `forms` and `arrays`; rates stay those of the start. `settle` comes next. */
  restore(forms: ReadonlyMap<BlockWeight, QuantizedLinear>, arrays: ReadonlyMap<string, Float32Array>): void {
    for (const [name, linear] of this.#linears) {
      const form = tunable(forms.get(name)!);
      const scales = linear.scales.map(({ name, adam }) => ({ name, adam: new Adam(form.scales[name], adam.options) }));
      this.#linears.set(name, { ...linear, form, scales });
    }
    for (const [name, array] of this.arrays()) array.set(arrays.get(name)!);
  }

  /** What a run that stops needs to go on, beside the stored forms: numbers in motion and their moments, live. */
  *arrays(): Iterable<[name: string, array: Float32Array]> {
    for (const [name, { scales, latents }] of this.#linears) {
      for (const { name: part, adam } of scales) yield* adam.arrays(`${name}.${part}`);
      if (latents) yield* latents.arrays(`${name}.latents`);
    }
    for (const [name, { adam }] of this.#vectors) yield* adam.arrays(name);
  }
}

function movingLinear(q: QuantizedLinear, W: Float32Array, { what, rates }: MovingOptions): MovingLinear {
  const form = tunable(q);
  form.settle(W);
  const scales = Object.entries(form.scales).map(([name, x]) => ({
    name,
    adam: new Adam(x, { rate: rates.scales * meanSize(x), ...scaleBetas }),
  }));
  const gradients = Object.fromEntries(scales.map(({ name, adam: { x } }) => [name, new Float32Array(x.length)]));
  // Latents start at the centres of their cells: near a threshold they would flip on noise.
  const latents = what === "codes"
    ? new Adam(W.slice(), { rate: rates.latents * form.halfCell(), ...latentBetas })
    : undefined;
  return { form, W, scales, gradients, latents };
}

const rounding: Readonly<Record<FloatType, (x: Float32Array) => Float32Array>> = {
  BF16: (x) => bfloat16ToFloat(floatToBfloat16(x)),
  F16: (x) => halfToFloat(floatToHalf(x)),
  F32: (x) => x,
};
