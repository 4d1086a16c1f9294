/** Opening a checkpoint: its config and headers are checked against each other before a weight is read. */
import { join } from "@std/path";
import type { QuantizedLinear } from "../quant/method.ts";
import type { TensorSource } from "../format/tensor_source.ts";
import { type Architecture, blockWeights, linears, weightShape } from "../model/architecture.ts";
import { Engine } from "../model/engine.ts";
import { type Config, ignoredFields } from "../model/config.ts";
import type { Family } from "../model/families/family.ts";
import { familyOf } from "../model/families/families.ts";
import { Model, type TextTokenizer } from "../model/model.ts";
import { PackedForward } from "../packed/forward.ts";
import type { AccuracyLevel } from "../packed/linear.ts";
import { quantizationConfig, StoredForms } from "./quantized_config.ts";
import { type Device, openRuntime } from "../runtime/runtime.ts";
import { SessionHost } from "../runtime/session_host.ts";
import type { HubOptions } from "./hub/hub.ts";
import { type CheckpointSource, openSource } from "./hub/source.ts";
import { readTokenizer } from "./tokenizer/tokenizer.ts";
import { hold, QuantizedSource, StreamedWeights, type Weights } from "../model/weights.ts";

/** Whether weights are in memory as float32, or read from the checkpoint block by block. `auto` holds up to 4 GiB. */
export type Residence = "auto" | "held" | "streamed";

const HELD_BY_DEFAULT = 2 ** 32;

/** What a config is read with beyond its file. */
export interface ConfigOptions {
  /** The id of the mask token; by default that of the config, else the one that the tokenizer declares, else a token with a mask's name. */
  readonly maskId?: number;
  /** Fields of config.json that count as if the file had these values; null is as good as absent. */
  readonly configOverrides?: Config;
  /** Told what was ignored, or mended, in one line each. */
  readonly onNotice?: (line: string) => void;
}

/** How a model is loaded: on what it runs, where its weights are, and where the Hub's files come from and go. */
export interface LoadOptions extends HubOptions, ConfigOptions {
  readonly device?: Device;
  readonly threads?: number;
  readonly weights?: Residence;
  /**
   * How it runs: from float32 weights (`dense`: bit for bit what the stored forms decode to), or from the stored codes (`packed`). `auto` runs packed
   * checkpoints that are too large to hold as float32 from their codes.
   */
  readonly run?: "auto" | "dense" | "packed";
  /** When it runs packed: 4 rounds the inputs of linears to int8 (default), 0 keeps them in float32. */
  readonly accuracyLevel?: AccuracyLevel;
  /** When it runs packed: blocks that are open, of all. */
  readonly onOpen?: (done: number, total: number) => void;
}

/** A checkpoint whose config and tensors fit together. */
export interface Checkpoint {
  readonly source: CheckpointSource;
  readonly config: Config;
  readonly family: Family;
  readonly architecture: Architecture;
  readonly stored: StoredForms;
  readonly weights: StreamedWeights;
  /** Behind `weights`: also gives the stored forms. */
  readonly quantizedSource: QuantizedSource;
  readonly tokenizer?: TextTokenizer;
}

/**
 * Opens a checkpoint, a folder or a Hub id: config, tensor headers and tokenizer, but no weights. Throws `SyntaxError` for malformed files and
 * `RangeError` for a config that this kit does not compute, or that the tensors contradict.
 *
 * @example
 * ```ts
 * import { openCheckpoint } from "quant-dllm";
 *
 * // What a checkpoint is, before gigabytes of it are read.
 * const { family, architecture, tokenizer } = await openCheckpoint("data/nano-llada");
 * console.log(family.modelType, architecture.layers, architecture.width, tokenizer !== undefined);
 * ```
 */
export async function openCheckpoint(
  location: string,
  options: HubOptions & ConfigOptions = {},
): Promise<Checkpoint> {
  const { maskId, configOverrides, onNotice } = options;
  const source = await openSource(location, options);
  const file = join(source.dir, "config.json");
  const tokenizer = await readTokenizer(source, onNotice);
  const config: Record<string, unknown> = { ...source.config, ...configOverrides };
  if (maskId !== undefined) config.mask_token_id = maskId;
  // Checkpoints made from autoregressive ones name their mask in the tokenizer only.
  else if (config.mask_token_id == null && tokenizer?.maskId !== undefined) config.mask_token_id = tokenizer.maskId;
  const ignored = ignoredFields(config);
  if (ignored.length > 0) onNotice?.(`${file}: ignored ${ignored.join(", ")}`);
  const family = familyOf(config, file);
  if (config.mask_token_id == null) {
    throw new RangeError(
      `Cannot load ${file}: mask_token_id is missing, and no token of the tokenizer is named as a mask; say which with --mask-id`,
    );
  }
  const architecture = family.architecture(config, file);
  const { tensors } = source;
  const stored = new StoredForms(tensors, quantizationConfig(config, file));
  checkTensors(tensors, stored, { family, architecture, file });
  // The embedding is read row by row: its stored form is kept, all others are read when they are asked for.
  let embedding: Promise<QuantizedLinear | undefined> | undefined;
  const lookup = (name: string) => name === family.names.embed ? embedding ??= stored.read(name) : stored.read(name);
  const quantizedSource = new QuantizedSource(tensors, lookup);
  const weights = new StreamedWeights(quantizedSource, { names: family.names, architecture });
  return { source, config, family, architecture, stored, weights, quantizedSource, tokenizer };
}

/**
 * Opens a checkpoint on a device (`auto` takes a GPU when there is one). Packed checkpoints are recognised by their quantization_config.
 *
 * @example
 * ```ts
 * import { generate, loadModel } from "quant-dllm";
 *
 * await using model = await loadModel("data/nano-llada", { device: "cpu" }); // or "org/name" of the Hub
 * const { text } = await generate(model, "2 7 months after august :", { length: 2, seed: 1 });
 * ```
 */
export async function loadModel(location: string, options: LoadOptions = {}): Promise<Model> {
  const { device = "auto", threads, weights: residence = "auto", run = "auto", accuracyLevel } = options;
  const checkpoint = await openCheckpoint(location, options);
  const { source, config, family, architecture, stored, tokenizer } = checkpoint;
  if (run === "packed" && !stored.section) {
    throw new RangeError(`Cannot run ${source.name} packed: it is in full precision; quantise it first`);
  }
  const small = float32Bytes(architecture) <= HELD_BY_DEFAULT;
  const packed = run === "packed" || (run === "auto" && stored.section !== undefined && !small);
  const held = !packed && (residence === "held" || (residence === "auto" && small));
  const weights: Weights = held ? await hold(checkpoint.weights) : checkpoint.weights;
  const names = Object.keys(stored.section?.linears ?? {});
  const quantized = new Map<string, QuantizedLinear>();
  for (const name of held ? names : []) quantized.set(name, (await stored.read(name))!);
  const runtime = await openRuntime({ device, threads });
  const engine = new Engine(runtime, architecture);
  const hosts: SessionHost[] = [];
  const resource: AsyncDisposable = {
    async [Symbol.asyncDispose]() {
      for (const host of hosts) await host[Symbol.asyncDispose]();
      await runtime[Symbol.asyncDispose]();
    },
  };
  let forward: PackedForward | undefined;
  if (packed) {
    // A large model opens on two more threads: onnxruntime packs weights on the thread that asks.
    if (!small && runtime.device === "cpu") hosts.push(new SessionHost({ threads }), new SessionHost({ threads }));
    const where = hosts.length > 0 ? { hosts } : {};
    forward = new PackedForward(engine, checkpoint.quantizedSource, family.names, { accuracyLevel, ...where });
    try {
      await forward.open(options.onOpen);
    } catch (error) {
      await forward[Symbol.asyncDispose]().catch(() => {}); // the first error is the one to report
      await resource[Symbol.asyncDispose]();
      throw error;
    }
  }
  const { provenance } = stored.section ?? {};
  const storedBytes = new Map(names.map((name) => [name, stored.bytes(name)]));
  const parts = { name: source.name, family, config, engine, weights, forward, tokenizer, quantized, storedBytes };
  return new Model({ ...parts, provenance }, resource);
}

/** A model that reads its weights from the checkpoint when they are wanted; it runs on `engine`, which the caller frees. */
export function streamedModel(
  { source: { name }, family, config, weights, tokenizer }: Checkpoint,
  engine: Engine,
): Model {
  return new Model({ name, family, config, engine, weights, tokenizer });
}

/** Names and shapes of all tensors that a model has, in the order of their use. */
export function tensorShapes({ names }: Family, a: Architecture): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>([[names.embed, [a.vocabSize, a.width]]]);
  for (let layer = 0; layer < a.layers; layer++) {
    for (const weight of blockWeights(a)) shapes.set(names.block(layer, weight), weightShape(a, weight));
  }
  shapes.set(names.finalNorm, [a.width]);
  if (!a.tiedHead) shapes.set(names.head, [a.vocabSize, a.width]);
  return shapes;
}

/** Bytes of all weights as float32. */
export function float32Bytes(a: Architecture): number {
  const size = (shape: readonly number[]) => shape.reduce((x, y) => x * y, 4);
  const block = blockWeights(a).reduce((sum, weight) => sum + size(weightShape(a, weight)), 0);
  return a.layers * block + (a.tiedHead ? 1 : 2) * size([a.vocabSize, a.width]) + size([a.width]);
}

/** Buffers that some checkpoints carry and that follow from the config. */
const redundant = /rotary_emb\.inv_freq$/;

function checkTensors(
  tensors: TensorSource,
  stored: StoredForms,
  { family, architecture: a, file }: {
    readonly family: Family;
    readonly architecture: Architecture;
    readonly file: string;
  },
): void {
  const fail = (what: string): never => {
    throw new RangeError(
      `Cannot load ${tensors.name}: ${what}; fetch the checkpoint again, or the config that belongs to it`,
    );
  };
  // Before any list is made: a number that went wrong may ask for a thousand million of them.
  for (const [what, count] of [["blocks", a.layers], ["experts", a.experts?.count ?? 0]] as const) {
    if (count > tensors.names.length) {
      fail(`${file} asks for ${count} ${what}, and it holds ${tensors.names.length} tensors`);
    }
  }
  const wanted = tensorShapes(family, a);
  const quantisable = new Set([family.names.embed, family.names.head]);
  for (let layer = 0; layer < a.layers; layer++) {
    for (const linear of linears(a)) quantisable.add(family.names.block(layer, linear));
  }
  for (const [name, shape] of wanted) {
    const packed = stored.has(name) && quantisable.has(name);
    if (!packed && !tensors.has(name)) fail(`the tensor "${name}" is missing, ${file} asks for [${shape}]`);
    const found = packed ? stored.shape(name) : tensors.info(name).shape;
    if (found.join() !== shape.join()) fail(`"${name}" is [${found}], ${file} asks for [${shape}]`);
    const dtype = packed ? "F32" : tensors.info(name).dtype;
    if (!["F32", "F16", "BF16"].includes(dtype)) {
      throw new TypeError(`Cannot load ${tensors.name}: "${name}" is ${dtype}, wanted BF16, F16 or F32`);
    }
  }
  const parts = stored.parts();
  for (const name of tensors.names) {
    // A tied head may be stored a second time.
    if (wanted.has(name) && !stored.has(name) || parts.has(name) || redundant.test(name)) continue;
    if (a.tiedHead && name === family.names.head) continue;
    fail(`the tensor "${name}" does not belong to the model that ${file} describes`);
  }
  for (const name of Object.keys(stored.section?.linears ?? {})) {
    if (!quantisable.has(name)) fail(`quantization_config names "${name}", which the model does not have`);
  }
}
