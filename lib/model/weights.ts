/** Where a model's weights come from: held in memory, or read from the checkpoint one block at a time. Always float32, row-major. */
import type { Matrix } from "../tensor/matrix.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import { rowsOf } from "../quant/forms/rows_of.ts";
import { dequantize } from "../quant/forms/decode.ts";
import { type Architecture, blockWeights, linears } from "./architecture.ts";
import type { BlockTensors } from "./engine.ts";
import type { Names } from "./families/family.ts";

export interface Weights {
  /** Rows of the embedding at `tokens`, `[n, width]`. */
  embed(tokens: Int32Array): Promise<Float32Array>;
  /** `[width]` */
  finalNorm(): Promise<Float32Array>;
  /** All rows of the embedding or the head `[vocab, width]` in order, in one or more chunks. */
  rows(part: "embed" | "head"): AsyncIterable<Float32Array>;
  /** The weights of one block; quantised linears as they decode. */
  block(layer: number): Promise<BlockTensors>;
}

/** All weights of a model as arrays. */
export interface WeightArrays {
  readonly embed: Float32Array;
  readonly finalNorm: Float32Array;
  readonly head: Float32Array;
  readonly blocks: readonly BlockTensors[];
}

/** Weights in memory. */
export class HeldWeights implements Weights {
  constructor(readonly arrays: WeightArrays) {}

  embed(tokens: Int32Array): Promise<Float32Array> {
    const { embed, finalNorm: { length: width } } = this.arrays;
    const out = new Float32Array(tokens.length * width);
    tokens.forEach((token, i) => out.set(embed.subarray(token * width, (token + 1) * width), i * width));
    return Promise.resolve(out);
  }

  finalNorm(): Promise<Float32Array> {
    return Promise.resolve(this.arrays.finalNorm);
  }

  async *rows(part: "embed" | "head"): AsyncIterable<Float32Array> {
    yield this.arrays[part];
  }

  block(layer: number): Promise<BlockTensors> {
    return Promise.resolve(this.arrays.blocks[layer]);
  }
}

/** What streamed weights read from: the tensors of a checkpoint by name, as float32. */
export interface FloatSource {
  /** What messages call it: a file, or the index of shards. */
  readonly name?: string;
  readFloat(name: string): Promise<Float32Array>;
  /** Rows from..to - 1 of a matrix. */
  readRows(name: string, from: number, to: number): Promise<Float32Array>;
}

/** Rows of the embedding or the head that are in memory at once. */
const CHUNK = 8192;

/** Weights that stay in the checkpoint: a block, a few rows of the embedding or a chunk of the head are read when they are asked for. */
export class StreamedWeights implements Weights {
  readonly names: Names;
  readonly architecture: Architecture;

  constructor(
    readonly source: FloatSource,
    { names, architecture }: { readonly names: Names; readonly architecture: Architecture },
  ) {
    this.names = names;
    this.architecture = architecture;
  }

  async embed(tokens: Int32Array): Promise<Float32Array> {
    const { width } = this.architecture;
    const out = new Float32Array(tokens.length * width);
    const places = Map.groupBy(tokens.keys(), (i) => tokens[i]);
    for (const [token, at] of places) {
      const row = await this.source.readRows(this.names.embed, token, token + 1);
      for (const i of at) out.set(row, i * width);
    }
    return finite(out, this.names.embed);
  }

  async finalNorm(): Promise<Float32Array> {
    return finite(await this.source.readFloat(this.names.finalNorm), this.names.finalNorm);
  }

  async *rows(part: "embed" | "head"): AsyncIterable<Float32Array> {
    const { vocabSize, tiedHead } = this.architecture;
    const name = tiedHead ? this.names.embed : this.names[part];
    for (let from = 0; from < vocabSize; from += CHUNK) {
      yield finite(await this.source.readRows(name, from, Math.min(from + CHUNK, vocabSize)), name);
    }
  }

  async block(layer: number): Promise<BlockTensors> {
    const tensors: Record<string, Float32Array> = {};
    for (const weight of blockWeights(this.architecture)) {
      const name = this.names.block(layer, weight);
      tensors[weight] = finite(await this.source.readFloat(name), name);
    }
    return tensors;
  }
}

/** Weights that are numbers. Throws `RangeError` that names the tensor otherwise. */
function finite(data: Float32Array, name: string): Float32Array {
  for (let i = 0; i < data.length; i++) {
    // x - x is zero for every number that is finite.
    if (data[i] - data[i] !== 0) {
      throw new RangeError(
        `Cannot load "${name}": weight ${i} of what was read is ${data[i]}; fetch the checkpoint again`,
      );
    }
  }
  return data;
}

/** Everything read once: what a model of moderate size runs fastest from. */
export async function hold(streamed: StreamedWeights): Promise<HeldWeights> {
  const { source, names, architecture: a } = streamed;
  const blocks: BlockTensors[] = [];
  for (let layer = 0; layer < a.layers; layer++) blocks.push(await streamed.block(layer));
  const embed = finite(await source.readFloat(names.embed), names.embed);
  const head = a.tiedHead ? embed : finite(await source.readFloat(names.head), names.head);
  return new HeldWeights({ embed, finalNorm: await streamed.finalNorm(), head, blocks });
}

/** A source some of whose matrices are quantised: it gives what they decode to. */
export class QuantizedSource implements FloatSource {
  #last?: { readonly name: string; readonly q: Promise<QuantizedLinear | undefined> };

  /** `lookup` gives the stored form of a matrix, or undefined where `base` holds it in full precision. */
  constructor(
    readonly base: FloatSource,
    readonly lookup: (name: string) => Promise<QuantizedLinear | undefined> | QuantizedLinear | undefined,
  ) {}

  async readFloat(name: string): Promise<Float32Array> {
    const q = await this.lookup(name);
    return q ? decodeStored(q, this.base.name).data : await this.base.readFloat(name);
  }

  async readRows(name: string, from: number, to: number): Promise<Float32Array> {
    // Rows come in chunks of one matrix after another, and looking up may read all of its stored form.
    if (this.#last?.name !== name) this.#last = { name, q: Promise.resolve(this.lookup(name)) };
    const q = await this.#last.q;
    return q ? decodeStored(q, this.base.name, { from, to }).data : await this.base.readRows(name, from, to);
  }
}

/** `base` with what is quantised in its place. Held weights decode once, streamed ones when they are read. */
export function overlay(
  base: Weights,
  quantized: ReadonlyMap<string, QuantizedLinear>,
  { names, architecture: a }: { readonly names: Names; readonly architecture: Architecture },
): Weights {
  if (base instanceof StreamedWeights) {
    return new StreamedWeights(new QuantizedSource(base.source, (name) => quantized.get(name)), {
      names,
      architecture: a,
    });
  }
  if (!(base instanceof HeldWeights)) {
    throw new TypeError("Cannot quantize this model: it does not run from its weights");
  }
  const { arrays } = base;
  const decoded = (name: string) => quantized.has(name) ? dequantize(quantized.get(name)!).data : undefined;
  const embed = decoded(names.embed) ?? arrays.embed;
  const head = a.tiedHead ? embed : decoded(names.head) ?? arrays.head;
  const blocks = arrays.blocks.map((tensors, layer) => {
    const out: Record<string, Float32Array> = { ...tensors };
    for (const linear of linears(a)) out[linear] = decoded(names.block(layer, linear)) ?? out[linear];
    return out;
  });
  return new HeldWeights({ ...arrays, embed, head, blocks });
}

/** The weight, or rows of it, behind a stored matrix that may have been read from a damaged file. Throws `SyntaxError` when it does not decode to finite numbers. */
export function decodeStored(q: QuantizedLinear, file?: string, rows = { from: 0, to: q.shape[0] }): Matrix {
  return readStored(q, file, () => {
    const W = dequantize(rowsOf(q, rows));
    if (W.data.every(Number.isFinite)) return W;
    throw new RangeError("it gives weights that are not finite");
  });
}

/** What `read` makes of a stored matrix; where that fails, a `SyntaxError` that names the matrix and its file. */
export function readStored<T>({ name }: QuantizedLinear, file: string | undefined, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error), where = file ? ` of ${file}` : "";
    throw new SyntaxError(
      `Cannot load "${name}"${where}: its stored form does not decode: ${what}; fetch or quantise it again`,
    );
  }
}
