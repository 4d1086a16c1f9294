/** A model: an engine, its weights, and what is known of where they come from. Immutable; a quantised model is a new one that shares the engine. */
import type { Denoiser, Logits } from "../diffusion/denoiser.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import type { Matrix } from "../tensor/matrix.ts";
import { matrix } from "../tensor/matrix.ts";
import { dequantize } from "../quant/stored.ts";
import { type Architecture, type Linear, linears, weightShape } from "./block.ts";
import type { BlockTensors, Engine, Hidden } from "./engine.ts";
import type { Config, Family } from "./families.ts";

/** All weights, float32, row-major, by their place in the model. */
export interface Weights {
  readonly embed: Float32Array;
  readonly finalNorm: Float32Array;
  readonly head: Float32Array;
  readonly blocks: readonly BlockTensors[];
}

/** Text to token ids and back. */
export interface TextTokenizer {
  encode(text: string): Int32Array;
  decode(tokens: ArrayLike<number>): string;
}

export interface ModelParts {
  /** What rows and messages call it. */
  readonly name: string;
  readonly family: Family;
  readonly config: Config;
  readonly engine: Engine;
  readonly weights: Weights;
  readonly tokenizer?: TextTokenizer;
  /** The stored form of each quantised linear, by checkpoint tensor name. */
  readonly quantized?: ReadonlyMap<string, QuantizedLinear>;
  /** How it was quantised: method, calibration, seed. */
  readonly provenance?: Readonly<Record<string, string | number>>;
}

export class Model implements Denoiser, AsyncDisposable {
  readonly name: string;
  readonly family: Family;
  readonly config: Config;
  readonly engine: Engine;
  readonly weights: Weights;
  readonly quantized: ReadonlyMap<string, QuantizedLinear>;
  readonly provenance: Readonly<Record<string, string | number>>;
  readonly #tokenizer?: TextTokenizer;
  readonly #resource?: AsyncDisposable;

  /** `resource` is freed with this model: the one that opened the runtime passes it, its quantised children do not. */
  constructor(parts: ModelParts, resource?: AsyncDisposable) {
    this.name = parts.name;
    this.family = parts.family;
    this.config = parts.config;
    this.engine = parts.engine;
    this.weights = parts.weights;
    this.quantized = parts.quantized ?? new Map();
    this.provenance = parts.provenance ?? {};
    this.#tokenizer = parts.tokenizer;
    this.#resource = resource;
  }

  get architecture(): Architecture {
    return this.engine.architecture;
  }

  get maskId(): number {
    return this.architecture.maskId;
  }

  get vocabSize(): number {
    return this.architecture.vocabSize;
  }

  /** The tokenizer of the checkpoint folder. Throws when it holds none. */
  get tokenizer(): TextTokenizer {
    if (this.#tokenizer) return this.#tokenizer;
    throw new Error(
      `Cannot tokenize for "${this.name}": its folder holds no tokenizer.json; add the one of the checkpoint`,
    );
  }

  async logits(
    tokens: Int32Array,
    { batch = 1, rows }: { readonly batch?: number; readonly rows?: Int32Array } = {},
  ): Promise<Logits> {
    const outside = rows?.find((row) => row < 0 || row >= tokens.length);
    if (outside !== undefined) {
      throw new RangeError(`Cannot give logits of row ${outside}: there are ${tokens.length} tokens`);
    }
    let x = await this.embed(tokens, batch);
    for (const weights of this.weights.blocks) x = await this.engine.block(x, weights);
    return this.engine.head(x, this.weights.finalNorm, this.weights.head, rows);
  }

  /** The hidden states that enter block 0. Throws `RangeError` for tokens outside the vocabulary. */
  embed(tokens: Int32Array, batch: number): Promise<Hidden> {
    if (tokens.length === 0 || !(Number.isInteger(batch) && batch > 0) || tokens.length % batch !== 0) {
      throw new RangeError(`Cannot run ${tokens.length} tokens as a batch of ${batch} equally long sequences`);
    }
    const wrong = tokens.find((t) => t < 0 || t >= this.vocabSize);
    if (wrong !== undefined) throw new RangeError(`Cannot run token ${wrong}: the vocabulary has ${this.vocabSize}`);
    return this.engine.embed(tokens, batch, this.weights.embed);
  }

  /** The weight of a linear, `[out, in]`. */
  weight(layer: number, linear: Linear): Matrix {
    const [rows, cols] = weightShape(this.architecture, linear);
    return matrix(rows, cols, this.weights.blocks[layer][linear]);
  }

  /** Checkpoint names of the linears that are quantised, in natural order. */
  linearNames(): { name: string; layer: number; linear: Linear }[] {
    return this.weights.blocks.flatMap((_, layer) =>
      linears.map((linear) => ({ name: this.family.names.block(layer, linear), layer, linear }))
    );
  }

  /** A new model whose linears named in `quantized` are what the stored forms decode to. It shares this model's engine, and must not outlive it. */
  with(quantized: ReadonlyMap<string, QuantizedLinear>, provenance: Readonly<Record<string, string | number>>): Model {
    const blocks = this.weights.blocks.map((tensors, layer) => {
      const replaced: Partial<Record<Linear, Float32Array>> = {};
      for (const linear of linears) {
        const q = quantized.get(this.family.names.block(layer, linear));
        if (q) replaced[linear] = dequantize(q).data;
      }
      return { ...tensors, ...replaced };
    });
    const tokenizer = this.#tokenizer;
    return new Model({
      ...this,
      engine: this.engine,
      tokenizer,
      weights: { ...this.weights, blocks },
      quantized,
      provenance,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resource?.[Symbol.asyncDispose]();
  }
}
