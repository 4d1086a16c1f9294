/** A quantised model in motion: its blocks, and the final norm. */
import { type BlockWeight, blockWeights, linears, weightShape } from "../model/architecture.ts";
import type { BlockTensors } from "../model/engine.ts";
import type { Model } from "../model/model.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import type { Moved } from "./moved.ts";
import { type At, type FloatType, MovingBlock, type MovingOptions, MovingVector } from "./moving.ts";

export interface StudentOptions extends MovingOptions {
  /** Whether norms and biases move too. */
  readonly norms: boolean;
  /** In which type a norm or bias is stored; that of the config by default. */
  readonly typeOf?: (name: string) => FloatType;
}

/** Where a run stands that may stop here. */
export interface StudentState {
  readonly forms: ReadonlyMap<string, QuantizedLinear>;
  readonly arrays: ReadonlyMap<string, Float32Array>;
}

/** A block of a quantised model, in motion. */
export async function movingBlock(model: Model, layer: number, options: StudentOptions): Promise<MovingBlock> {
  const { architecture: a, family: { names }, config } = model;
  const { norms, typeOf = () => typesOf[String(config.torch_dtype)] ?? "F32" } = options;
  const forms = new Map<BlockWeight, QuantizedLinear>(), vectors = new Map<BlockWeight, FloatType>();
  for (const name of linears(a)) {
    const q = model.quantized.get(names.block(layer, name));
    if (q) forms.set(name, q);
  }
  for (const name of norms ? blockWeights(a) : []) {
    if (weightShape(a, name).length === 1) vectors.set(name, typeOf(names.block(layer, name)));
  }
  return new MovingBlock(await model.weights.block(layer), { ...options, forms, vectors });
}

/** What moved in a block, by the names of its tensors. */
export function movedBlock({ family: { names } }: Model, layer: number, block: MovingBlock): Moved {
  const named = <T>(map: ReadonlyMap<BlockWeight, T>) =>
    new Map([...map].map(([name, value]) => [names.block(layer, name), value]));
  return { forms: named(block.forms()), vectors: named(block.vectors()) };
}

/** Throws `TypeError` for a model without stored linears. */
export function checkStudent({ name, quantized }: Model): void {
  if (quantized.size > 0) return;
  throw new TypeError(`Cannot tune ${name}: none of its linears is quantised; quantise it first`);
}

export class Student {
  private constructor(
    readonly model: Model,
    readonly blocks: readonly MovingBlock[],
    /** As it is used now. */
    readonly finalNorm: Float32Array,
    readonly norm: MovingVector | undefined,
  ) {}

  /** Throws `TypeError` for a model without stored linears. */
  static async open(model: Model, options: StudentOptions): Promise<Student> {
    checkStudent(model);
    const blocks: MovingBlock[] = [];
    for (let layer = 0; layer < model.architecture.layers; layer++) {
      blocks.push(await movingBlock(model, layer, options));
    }
    const norm = (await model.weights.finalNorm()).slice(), { norms, typeOf, rates } = options;
    const type = typeOf?.(model.family.names.finalNorm) ?? typesOf[String(model.config.torch_dtype)] ?? "F32";
    return new Student(model, blocks, norm, norms ? new MovingVector(norm, type, rates) : undefined);
  }

  /** A block as it is now. */
  block(layer: number): Promise<BlockTensors> {
    return Promise.resolve(this.blocks[layer].tensors);
  }

  /** Moves the final norm against its gradient. */
  updateFinalNorm(gradient: Float32Array, at: At): void {
    this.norm?.adam.step(gradient, at);
  }

  /** Makes the weights those that what is stored decodes to. Gives how many codes changed. */
  settle(): number {
    this.norm?.settle();
    return this.blocks.reduce((sum, block) => sum + block.settle(), 0);
  }

  /** What moved, as it was settled last. */
  moved(): Moved {
    const { model, blocks, norm, finalNorm } = this;
    const parts = blocks.map((block, layer) => movedBlock(model, layer, block));
    const vectors = new Map(parts.flatMap(({ vectors }) => [...vectors]));
    if (norm) vectors.set(model.family.names.finalNorm, finalNorm.slice());
    return { forms: new Map(parts.flatMap(({ forms }) => [...forms])), vectors };
  }

  /** Its arrays are live. */
  state(): StudentState {
    const arrays = new Map<string, Float32Array>(this.norm?.adam.arrays("final"));
    this.blocks.forEach((block, layer) => {
      for (const [key, x] of block.arrays()) arrays.set(`${layer}.${key}`, x);
    });
    return { forms: this.moved().forms, arrays };
  }

  /** Goes on where a run stopped. */
  restore({ forms, arrays }: StudentState): void {
    const { names } = this.model.family;
    this.blocks.forEach((block, layer) => {
      const own = linears(this.model.architecture).map((name) => [name, forms.get(names.block(layer, name))!] as const);
      const prefix = `${layer}.`;
      const inside = [...arrays].filter(([key]) => key.startsWith(prefix));
      block.restore(new Map(own), new Map(inside.map(([key, x]) => [key.slice(prefix.length), x])));
    });
    for (const [name, x] of this.norm?.adam.arrays("final") ?? []) x.set(arrays.get(name)!);
    this.settle();
  }
}

const typesOf: Readonly<Record<string, FloatType>> = { bfloat16: "BF16", float16: "F16" };
