/** A whole model as one ONNX graph, from any checkpoint: tokens to logits, weights beside the graph, quantised linears as packed nodes. */
import { join } from "@std/path";
import { type Architecture, blockWeights, weightShape } from "../model/architecture.ts";
import { block, ropeTables } from "../model/block.ts";
import type { BlockParts } from "../model/parts.ts";
import type { Checkpoint } from "../checkpoint/open.ts";
import { DataFiles } from "./data.ts";
import { packedEmbedding } from "./embedding.ts";
import { ExportGraph } from "./graph.ts";
import { type FloatType, tensorBytes } from "./weights.ts";
import type { Value } from "../onnx/graph.ts";
import { gather, linear, matmul, rmsNorm } from "../onnx/ops.ts";
import { runsFromCodes } from "../packed/route.ts";
import { type AccuracyLevel, type PackedLinear, packedLinear, packLinear } from "../packed/linear.ts";
import { writeFile } from "../checkpoint/files/shard_writer.ts";

export interface OnnxOptions {
  /** How full-precision matrices are stored; they compute in float32. Norms and biases are float32 always. */
  readonly dtype?: "float16" | "float32";
  /** Longest sequence that the graph takes; the model's own by default. */
  readonly maxLength?: number;
  /** Largest data file; one file by default. */
  readonly maxDataBytes?: number;
  /** Run quantised matrices from their stored codes (default), or from what they decode to. */
  readonly packed?: boolean;
  /** Of packed nodes: 4 rounds activations to int8, 0 does not. */
  readonly accuracyLevel?: AccuracyLevel;
  readonly signal?: AbortSignal;
  readonly onProgress?: (layers: number, total: number) => void;
}

export interface OnnxExport {
  /** The data files, then model.onnx. */
  readonly files: readonly string[];
  /** Names of the matrices that are packed nodes. */
  readonly packed: readonly string[];
  /** Quantised matrices that are stored as they decode, with the reason. */
  readonly decoded: Readonly<Record<string, string>>;
}

const MODEL = "model.onnx";

/**
 * Writes model.onnx and model.onnx.data to a folder: input `tokens` int64 [batch, time], output `logits` float32 [batch, time, vocab], whose row i
 * predicts token i also for models with shifted logits. Attention is over the whole sequence. One block's weights are in memory at a time. model.onnx is
 * written last.
 *
 * @throws RangeError for a `maxLength` beyond the model's, a weight beyond `dtype` or larger than a data file; Error that names a file that cannot be
 * written.
 */
export async function exportOnnx(checkpoint: Checkpoint, dir: string, options: OnnxOptions = {}): Promise<OnnxExport> {
  const { architecture: a, family: { names } } = checkpoint;
  const { maxLength = a.maxLength, maxDataBytes, signal, onProgress } = options;
  if (!(Number.isSafeInteger(maxLength) && maxLength > 0 && maxLength <= a.maxLength)) {
    throw new RangeError(`Cannot export for sequences of ${maxLength}: wanted 1 to ${a.maxLength}, the model's own`);
  }
  await Deno.mkdir(dir, { recursive: true });
  await using files = new DataFiles(dir, `${MODEL}.data`, { maxBytes: maxDataBytes, signal });
  const g = new ExportGraph(files);
  const make = new Maker(g, checkpoint, options);
  const tokens = g.input("tokens", "int64", ["batch", "time"]);
  const embedding = await make.embedding();
  let x = embedding.rows(tokens);
  const tables = ropeTables(a, maxLength);
  g.scope = "rope";
  const table = (data: Float32Array) => g.weight(data, [maxLength, a.headSize / 2]);
  const rotation = { cos: table(tables.cos), sin: table(tables.sin) };
  for (let layer = 0; layer < a.layers; layer++) {
    x = block(g, a, x, await make.parts(layer), rotation, { fused: true });
    await g.flush();
    onProgress?.(layer + 1, a.layers);
  }
  const norm = await make.vector(names.finalNorm, [a.width]);
  const states = rmsNorm(g, a.logitShift ? shifted(g, x) : x, norm, a.epsilon);
  g.output("logits", await make.head(states, embedding.matrix));
  await g.flush();
  const data = await files.finish();
  await writeFile(join(dir, MODEL), [g.encode()], { signal });
  return { files: [...data, MODEL], packed: make.packed, decoded: make.decoded };
}

/** Row i - 1 of each sequence in place of row i; nothing predicts the first token, which keeps its own (see `Model.logits`). */
function shifted(g: ExportGraph, x: Value): Value {
  const slice = (from: number, to: number) =>
    g.append("Slice", [x, g.ints(from), g.ints(to), g.ints(1)], [{ shape: x.shape }])[0];
  return g.append("Concat", [slice(0, 1), slice(0, -1)], [{ shape: x.shape }], { axis: 1 })[0];
}

/** Puts weights into the graph. */
class Maker {
  readonly packed: string[] = [];
  readonly decoded: Record<string, string> = {};
  readonly #architecture: Architecture;
  readonly #dtype: "F16" | "F32";

  constructor(readonly g: ExportGraph, readonly checkpoint: Checkpoint, readonly options: OnnxOptions) {
    this.#architecture = checkpoint.architecture;
    this.#dtype = options.dtype === "float32" ? "F32" : "F16";
  }

  /** The parts of one block. Dense weights are on disk by then; packed ones wait for `flush`. */
  async parts(layer: number): Promise<BlockParts> {
    const { names } = this.checkpoint.family;
    const values = new Map<string, Value>();
    const packed = new Map<string, PackedLinear>();
    for (const weight of blockWeights(this.#architecture)) {
      const name = names.block(layer, weight);
      const shape = weightShape(this.#architecture, weight);
      // A router is small, and rounding it would send tokens elsewhere.
      if (shape.length === 1 || weight === "router") values.set(weight, await this.vector(name, shape));
      else {
        const stored = await this.#pack(name);
        if (stored) packed.set(weight, stored);
        else values.set(weight, await this.#matrix(name, shape));
      }
    }
    return {
      vector: (weight) => values.get(weight)!,
      linear: (weight, x) => {
        const stored = packed.get(weight);
        if (stored) return this.#packedProduct(names.block(layer, weight), x, stored);
        return this.#product(x, values.get(weight)!);
      },
    };
  }

  /** A norm or bias. */
  vector(name: string, shape: readonly number[]): Promise<Value> {
    return this.#stream(name, shape, "F32");
  }

  /** The embedding as a function of tokens; `matrix` is its dense weight, where it has one. */
  async embedding(): Promise<{ rows(tokens: Value): Value; matrix?: Value }> {
    const { g, checkpoint: { family: { names: { embed } }, stored } } = this;
    const { vocabSize, width } = this.#architecture;
    const q = this.options.packed !== false ? await stored.read(embed) : undefined;
    if (q) {
      g.scope = embed;
      const rows = packedEmbedding(g, q);
      if (typeof rows !== "string") {
        await g.flush();
        this.packed.push(embed);
        return { rows };
      }
      this.decoded[embed] = rows;
    }
    const matrix = await this.#matrix(embed, [vocabSize, width]);
    return { rows: (tokens) => this.#float({ ...gather(g, matrix, tokens), type: matrix.type }), matrix };
  }

  /** Logits of normed states; `embedding` is the matrix of a tied head. */
  async head(states: Value, embedding?: Value): Promise<Value> {
    const { names } = this.checkpoint.family;
    const { vocabSize, width, tiedHead } = this.#architecture;
    if (tiedHead && embedding) return this.#product(states, embedding);
    const name = tiedHead ? names.embed : names.head;
    const stored = await this.#pack(name);
    if (stored) return this.#packedProduct(tiedHead ? `${name}.head` : name, states, stored);
    return this.#product(states, await this.#matrix(name, [vocabSize, width]));
  }

  async #pack(name: string): Promise<PackedLinear | undefined> {
    if (this.options.packed === false || !this.checkpoint.stored.has(name)) return undefined;
    const q = await this.checkpoint.stored.read(name);
    if (!runsFromCodes(q!)) {
      this.decoded[name] = `no kernel reads the form "${q!.format}"`;
      return undefined;
    }
    if (!this.packed.includes(name)) this.packed.push(name);
    return packLinear(q!, { accuracyLevel: this.options.accuracyLevel });
  }

  #packedProduct(name: string, x: Value, stored: PackedLinear): Value {
    this.g.scope = name;
    return packedLinear(this.g, x, stored);
  }

  #product(x: Value, weight: Value): Value {
    const W = this.#float(weight);
    return x.shape.length === 2 ? matmul(this.g, x, W, { transB: true }) : linear(this.g, x, W);
  }

  #matrix(name: string, shape: readonly number[]): Promise<Value> {
    return this.#stream(name, shape, this.#dtype);
  }

  async #stream(name: string, shape: readonly number[], dtype: FloatType): Promise<Value> {
    this.g.scope = name;
    const type = dtype === "F16" ? "float16" : "float32";
    return await this.g.stream(tensorBytes(this.checkpoint, name, { shape, dtype }), { type, shape });
  }

  /** The value in float32. */
  #float(value: Value): Value {
    if (value.type === "float32") return value;
    return this.g.append("Cast", [value], [{ shape: value.shape }], { to: 1 })[0];
  }
}
