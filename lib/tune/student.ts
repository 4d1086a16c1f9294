/** A quantised model in motion: what it stores, and the weights that this decodes to, block by block. */
import { type BlockWeight, blockWeights, weightShape } from "../model/architecture.ts";
import type { BlockTensors } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import { HeldWeights } from "../model/weights.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import type { Scales, Tunable } from "../quant/forms/tunable.ts";
import { tunable } from "../quant/forms/tunable_forms.ts";
import { bfloat16ToFloat, floatToBfloat16, floatToHalf, halfToFloat } from "../tensor/half.ts";
import { Adam, meanSize } from "./adam.ts";

export interface StudentOptions {
  /** Scales alone, or codes with them. */
  readonly what: "scales" | "codes";
  /** Whether norms and biases move too. */
  readonly norms: boolean;
  readonly rates: Rates;
}

/** Step sizes of Adam at the height of the schedule. */
export interface Rates {
  /** Of each tensor of scales, times its mean absolute value. */
  readonly scales: number;
  /** Of each norm and bias, times its mean absolute value. */
  readonly norms: number;
  /** Of the latents of a linear, times its mean half cell. Twice the default is better for less than a thousand steps, and noisy beyond. */
  readonly latents: number;
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
interface MovingVector {
  readonly adam: Adam;
  readonly used: Float32Array;
}

export class Student {
  /** What the model now decodes to. */
  readonly blocks: readonly BlockTensors[];
  readonly finalNorm: Float32Array;
  readonly #linears: ReadonlyMap<BlockWeight, MovingLinear>[] = [];
  readonly #vectors: ReadonlyMap<BlockWeight, MovingVector>[] = [];
  readonly #finalNorm?: MovingVector;
  readonly #round: (x: Float32Array) => Float32Array;

  /** Throws `TypeError` for a model without stored linears, or whose weights are not held in memory. */
  constructor(readonly model: Model, options: StudentOptions) {
    const { weights, quantized, architecture: a, family: { names }, config } = model;
    if (!(weights instanceof HeldWeights)) {
      throw new TypeError(
        `Cannot tune ${model.name}: its weights are not held in memory; open it with { weights: "held" }`,
      );
    }
    this.#round = rounding[String(config.torch_dtype)] ?? ((x) => x);
    this.blocks = weights.arrays.blocks.map((tensors, layer) => {
      const own: Record<BlockWeight, Float32Array> = { ...tensors };
      const linears = new Map<BlockWeight, MovingLinear>(), vectors = new Map<BlockWeight, MovingVector>();
      for (const name of blockWeights(a)) {
        const q = quantized.get(names.block(layer, name));
        if (q) linears.set(name, movingLinear(q, own[name] = tensors[name].slice(), options));
        else if (options.norms && weightShape(a, name).length === 1) {
          vectors.set(name, movingVector(own[name] = tensors[name].slice(), options));
        }
      }
      this.#linears.push(linears);
      this.#vectors.push(vectors);
      return own;
    });
    if (this.#linears.every(({ size }) => size === 0)) {
      throw new TypeError(`Cannot tune ${model.name}: none of its linears is quantised; quantise it first`);
    }
    this.finalNorm = weights.arrays.finalNorm.slice();
    if (options.norms) this.#finalNorm = movingVector(this.finalNorm, options);
  }

  /** A block as it is now. */
  block(layer: number): Promise<BlockTensors> {
    return Promise.resolve(this.blocks[layer]);
  }

  /** Moves what a block stores against the gradients of its weights. */
  update(layer: number, gradients: BlockTensors, at: At): void {
    for (const [name, { form, scales, gradients: own, latents }] of this.#linears[layer]) {
      form.gradients(gradients[name], own);
      for (const { name, adam } of scales) adam.step(own[name], at);
      latents?.step(gradients[name], at);
    }
    for (const [name, { adam }] of this.#vectors[layer]) adam.step(gradients[name], at);
  }

  /** Moves the final norm against its gradient. */
  updateFinalNorm(gradient: Float32Array, at: At): void {
    this.#finalNorm?.adam.step(gradient, at);
  }

  /** Makes the weights those that what is stored decodes to. Gives how many codes changed. */
  settle(): number {
    let changed = 0;
    for (const { form, W, latents } of this.#linears.flatMap((block) => [...block.values()])) {
      changed += form.settle(W, latents && { latents: latents.x, reach: REACH });
    }
    const vectors = [...this.#vectors.flatMap((block) => [...block.values()]), this.#finalNorm];
    for (const vector of vectors) vector?.used.set(this.#round(vector.adam.x));
    return changed;
  }

  /** The model as it was settled last. Its arrays are its own. */
  result(provenance: Readonly<Record<string, string | number>>): Model {
    const { weights, quantized, family: { names } } = this.model;
    const moved = new Map<string, QuantizedLinear>(quantized);
    this.#linears.forEach((block, layer) =>
      block.forEach(({ form }, name) => moved.set(names.block(layer, name), form.stored()))
    );
    const blocks = this.blocks.map((block) =>
      Object.fromEntries(Object.entries(block).map(([name, x]) => [name, x.slice()]))
    );
    const arrays = { ...(weights as HeldWeights).arrays, finalNorm: this.finalNorm.slice(), blocks };
    return this.model.with(moved, provenance, { weights: new HeldWeights(arrays) });
  }
}

function movingLinear(q: QuantizedLinear, W: Float32Array, { what, rates }: StudentOptions): MovingLinear {
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

function movingVector(used: Float32Array, { rates }: StudentOptions): MovingVector {
  return { adam: new Adam(used.slice(), { rate: rates.norms * meanSize(used), ...scaleBetas }), used };
}

const rounding: Readonly<Record<string, (x: Float32Array) => Float32Array>> = {
  bfloat16: (x) => bfloat16ToFloat(floatToBfloat16(x)),
  float16: (x) => halfToFloat(floatToHalf(x)),
};
