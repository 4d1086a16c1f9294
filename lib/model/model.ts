/** A model, and the parts that it is made of. */
import type { CachingDenoiser, Logits, SequenceCache } from "../diffusion/denoiser.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import { storedBits } from "../quant/forms/decode.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import { ModelCache } from "./cache.ts";
import { type Architecture, type Linear, linears, linearShape } from "./architecture.ts";
import type { Engine, Hidden } from "./engine.ts";
import type { Config } from "./config.ts";
import type { Family } from "./families/family.ts";
import { DenseForward, type Forward } from "./forward.ts";
import { overlay, type Weights } from "./weights.ts";

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
  /** How it runs; from its weights by default. */
  readonly forward?: Forward;
  readonly tokenizer?: TextTokenizer;
  /** The stored form of each quantised linear, by checkpoint tensor name. */
  readonly quantized?: ReadonlyMap<string, QuantizedLinear>;
  /** Bytes of each quantised matrix, for a model that does not hold their stored forms. */
  readonly storedBytes?: ReadonlyMap<string, number>;
  /** How it was quantised: method, calibration, seed. */
  readonly provenance?: Readonly<Record<string, string | number>>;
}

/**
 * A model: an engine, its weights, and what is known of where they come from. Immutable; a quantised model is a new one that shares the engine.
 *
 * @example
 * ```ts
 * import { loadModel, type Model } from "quant-dllm";
 *
 * const model: Model = await loadModel("data/nano-llada");
 * const tokens = model.tokenizer.encode("vulric with ombric makes <mask> .");
 * const { data } = await model.logits(tokens, { rows: Int32Array.of(tokens.indexOf(model.maskId)) });
 * console.log(model.tokenizer.decode([data.indexOf(Math.max(...data))]));
 * ```
 */
export class Model implements CachingDenoiser, AsyncDisposable {
  readonly name: string;
  readonly family: Family;
  readonly config: Config;
  readonly engine: Engine;
  readonly weights: Weights;
  readonly forward: Forward;
  readonly quantized: ReadonlyMap<string, QuantizedLinear>;
  /** Bytes that each quantised matrix takes, by checkpoint tensor name. */
  readonly storedBytes: ReadonlyMap<string, number>;
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
    this.forward = parts.forward ?? new DenseForward(parts.engine, parts.weights);
    this.quantized = parts.quantized ?? new Map();
    this.storedBytes = parts.storedBytes ?? new Map([...this.quantized].map(([name, q]) => [name, storedBits(q) / 8]));
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

  /** 1 where logits are shifted: see `Denoiser`. */
  get firstPredicted(): number {
    return this.architecture.logitShift ? 1 : 0;
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
    const x = await this.lastStates(tokens, batch);
    if (!this.architecture.logitShift) return await this.forward.head(x, rows);
    const positions = rows ?? Int32Array.from(tokens.keys());
    return await this.forward.head(x, this.rowsBehind(positions, x.time));
  }

  /** Memory for the keys and values of one sequence, for samplers that run parts of it. */
  openCache(): SequenceCache {
    return new ModelCache(this);
  }

  /** The states that leave the last block, of `tokens` as `batch` equally long sequences. */
  async lastStates(tokens: Int32Array, batch: number): Promise<Hidden> {
    let x = await this.embed(tokens, batch);
    for (let layer = 0; layer < this.architecture.layers; layer++) x = await this.forward.block(layer, x);
    return x;
  }

  /**
   * The rows of the last states, flat, whose logits predict the tokens at flat `positions`. Where logits are shifted that is the row before: nothing
   * predicts the first token of a sequence then; like the official code of Dream, its row is the raw first one, so it must not be masked.
   */
  rowsBehind(positions: Int32Array, time: number): Int32Array {
    if (!this.architecture.logitShift) return positions;
    return positions.map((p) => p % time === 0 ? p : p - 1);
  }

  /** The hidden states that enter block 0. Throws `RangeError` for tokens outside the vocabulary. */
  embed(tokens: Int32Array, batch: number): Promise<Hidden> {
    if (tokens.length === 0 || !(Number.isInteger(batch) && batch > 0) || tokens.length % batch !== 0) {
      throw new RangeError(`Cannot run ${tokens.length} tokens as a batch of ${batch} equally long sequences`);
    }
    const wrong = tokens.find((t) => t < 0 || t >= this.vocabSize);
    if (wrong !== undefined) throw new RangeError(`Cannot run token ${wrong}: the vocabulary has ${this.vocabSize}`);
    return this.forward.embed(tokens, batch);
  }

  /** The weight of a linear, `[out, in]`. */
  async weight(layer: number, linear: Linear): Promise<Matrix> {
    const [rows, cols] = linearShape(this.architecture, linear);
    return matrix(rows, cols, (await this.weights.block(layer))[linear]);
  }

  /** Checkpoint names of the linears that are quantised, in natural order, with their shapes `[out, in]`. */
  linearNames(): { name: string; layer: number; linear: Linear; shape: readonly [number, number] }[] {
    const { architecture: a, family: { names } } = this;
    const all = linears(a);
    return Array.from({ length: a.layers }, (_, layer) => layer).flatMap((layer) =>
      all.map((linear) => ({ name: names.block(layer, linear), layer, linear, shape: linearShape(a, linear) }))
    );
  }

  /**
   * A new model whose linears named in `quantized` are what the stored forms decode to. It shares this model's engine, and must not outlive it. `weights`
   * are those that it then has, where the caller has them already or others changed too.
   */
  with(
    quantized: ReadonlyMap<string, QuantizedLinear>,
    provenance: Readonly<Record<string, string | number>>,
    { weights }: { readonly weights?: Weights } = {},
  ): Model {
    const { name, family, config, engine, architecture } = this;
    weights ??= overlay(this.weights, quantized, { names: family.names, architecture });
    return new Model({ name, family, config, engine, weights, tokenizer: this.#tokenizer, quantized, provenance });
  }

  /** This model run in another way. It shares the engine, and must not outlive this one. */
  run(forward: Forward, provenance: Readonly<Record<string, string | number>>): Model {
    const { name, family, config, engine, weights, quantized, storedBytes } = this, tokenizer = this.#tokenizer;
    return new Model({
      ...{ name, family, config, engine, weights, forward, tokenizer, quantized, storedBytes },
      provenance: { ...this.provenance, ...provenance },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.forward[Symbol.asyncDispose]();
    await this.#resource?.[Symbol.asyncDispose]();
  }
}
