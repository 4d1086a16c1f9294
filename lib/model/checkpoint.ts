/** Checkpoint folders: config.json, model.safetensors and tokenizer.json, full precision or packed. */
import { Tokenizer } from "@huggingface/tokenizers";
import {
  decodeFloats,
  encodeSafetensors,
  openSafetensors,
  type SafetensorsFile,
  type TensorBytes,
} from "../format/safetensors.ts";
import { parseStrictJson } from "../format/json.ts";
import { floatToBfloat16, floatToHalf } from "../tensor/half.ts";
import { dequantize } from "../quant/stored.ts";
import type { QuantizedLinear, StoredTensor } from "../quant/method.ts";
import { type BlockWeight, blockWeights, weightShape } from "./block.ts";
import { type BlockTensors, Engine } from "./engine.ts";
import { type Config, familyOf } from "./families.ts";
import { fileSource, writeFileAtomic } from "./file_source.ts";
import { Model, type TextTokenizer } from "./model.ts";
import { type Device, openRuntime } from "./runtime.ts";

/** What a packed checkpoint says of itself in config.json. */
interface QuantizationConfig {
  readonly quant_method: "quant-dllm";
  readonly provenance: Record<string, string | number>;
  /** By checkpoint tensor name. */
  readonly linears: Record<string, Pick<QuantizedLinear, "format" | "shape" | "config" | "report">>;
}

/**
 * Opens the checkpoint in the folder `dir` on a device (`auto` takes a GPU when there is one). Packed checkpoints are recognised by their
 * quantization_config. Throws `SyntaxError` for malformed files, `RangeError` for a config that this kit does not compute.
 */
export async function loadModel(
  dir: string,
  { device = "auto", threads }: { device?: Device; threads?: number } = {},
): Promise<Model> {
  const configFile = `${dir}/config.json`;
  const config = await readJson(configFile);
  const family = familyOf(config, configFile);
  const architecture = family.architecture(config, configFile);
  const file = await openSafetensors(await fileSource(`${dir}/model.safetensors`));
  const quantized = await readQuantized(file, config, configFile);
  const shaped = async (name: string, shape: readonly number[]): Promise<Float32Array> => {
    const q = quantized.get(name);
    const found = q?.shape ?? file.info(name).shape;
    if (found.join() !== shape.join()) {
      throw new RangeError(`Cannot load ${file.name}: "${name}" is [${found}], ${configFile} asks for [${shape}]`);
    }
    return q ? decode(q, file.name) : await file.readFloat(name);
  };
  const { vocabSize, width, layers } = architecture;
  const blocks: BlockTensors[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const tensors: Partial<Record<BlockWeight, Float32Array>> = {};
    for (const weight of blockWeights) {
      tensors[weight] = await shaped(family.names.block(layer, weight), weightShape(architecture, weight));
    }
    blocks.push(tensors as BlockTensors);
  }
  const weights = {
    embed: await shaped(family.names.embed, [vocabSize, width]),
    finalNorm: await shaped(family.names.finalNorm, [width]),
    head: await shaped(family.names.head, [vocabSize, width]),
    blocks,
  };
  const tokenizer = await readTokenizer(dir);
  const runtime = await openRuntime({ device, threads });
  const engine = new Engine(runtime, architecture);
  const provenance = (config.quantization_config as QuantizationConfig | undefined)?.provenance;
  return new Model({ name: dir, family, config, engine, weights, tokenizer, quantized, provenance }, runtime);
}

/**
 * Writes a model as a checkpoint folder: quantised linears in their stored form, everything else in the `torch_dtype` of the config. A packed
 * checkpoint answers as the model does, bit for bit: what that type would round is written in float32. Each file appears whole or not at all.
 */
export async function saveModel(model: Model, dir: string): Promise<void> {
  const { family, architecture: a, weights, quantized } = model;
  const dtype = savedTypes[String(model.config.torch_dtype)] ?? "F32";
  const float = (data: Float32Array, shape: readonly number[]): TensorBytes => {
    const bytes = encodeFloats(dtype, data);
    const exact = quantized.size === 0 || decodeFloats(dtype, bytes).every((x, i) => x === data[i]);
    return exact ? { dtype, shape, bytes } : { dtype: "F32", shape, bytes: encodeFloats("F32", data) };
  };
  const tensors: Record<string, TensorBytes> = {
    [family.names.embed]: float(weights.embed, [a.vocabSize, a.width]),
    [family.names.finalNorm]: float(weights.finalNorm, [a.width]),
    [family.names.head]: float(weights.head, [a.vocabSize, a.width]),
  };
  weights.blocks.forEach((block, layer) => {
    for (const weight of blockWeights) {
      const name = family.names.block(layer, weight);
      const q = quantized.get(name);
      if (!q) tensors[name] = float(block[weight], weightShape(a, weight));
      else for (const [part, tensor] of Object.entries(q.tensors)) tensors[partName(name, part)] = tensor;
    }
  });
  const config: Record<string, unknown> = { ...model.config };
  delete config.quantization_config;
  if (quantized.size > 0) {
    const entries = [...quantized].map(([name, { format, shape, config, report }]) => [
      name,
      { format, shape, config, report },
    ]);
    config.quantization_config = {
      quant_method: "quant-dllm",
      provenance: model.provenance,
      linears: Object.fromEntries(entries),
    } satisfies QuantizationConfig;
  }
  await Deno.mkdir(dir, { recursive: true });
  const metadata = { format: "pt" };
  await writeFileAtomic(`${dir}/model.safetensors`, encodeSafetensors(tensors, metadata));
  // The config goes last: a folder with a config.json is complete.
  await writeFileAtomic(`${dir}/config.json`, [new TextEncoder().encode(JSON.stringify(config, null, 2) + "\n")]);
}

const savedTypes: Readonly<Record<string, "BF16" | "F16">> = { bfloat16: "BF16", float16: "F16" };

function encodeFloats(dtype: "F32" | "F16" | "BF16", data: Float32Array): Uint8Array {
  const words = dtype === "F32" ? data : dtype === "F16" ? floatToHalf(data) : floatToBfloat16(data);
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

/** Reads a JSON object. Throws `SyntaxError` naming the file. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  const text = await Deno.readTextFile(path);
  try {
    const value = parseStrictJson(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    throw new SyntaxError(`Cannot read ${path}: ${error instanceof Error ? error.message : error}`);
  }
  throw new SyntaxError(`Cannot read ${path}: wanted a JSON object`);
}

/** `X.weight` stored in parts: `X.codes`, `X.scales`, ... */
const partName = (name: string, part: string): string => name.replace(/weight$/, part);

async function readQuantized(
  file: SafetensorsFile,
  config: Config,
  path: string,
): Promise<Map<string, QuantizedLinear>> {
  const quantized = new Map<string, QuantizedLinear>();
  const section = config.quantization_config as QuantizationConfig | undefined;
  if (section === undefined) return quantized;
  if (section.quant_method !== "quant-dllm" || typeof section.linears !== "object") {
    const found = JSON.stringify(section.quant_method);
    throw new RangeError(
      `Cannot load ${path}: quantization_config.quant_method is ${found}, this kit reads "quant-dllm"`,
    );
  }
  for (const [name, entry] of Object.entries(section.linears)) {
    const prefix = partName(name, "");
    const tensors: Record<string, StoredTensor> = {};
    for (const part of file.names.filter((n) => n.startsWith(prefix) && !n.slice(prefix.length).includes("."))) {
      const { dtype, shape } = file.info(part);
      tensors[part.slice(prefix.length)] = {
        dtype: dtype as StoredTensor["dtype"],
        shape,
        bytes: await file.read(part),
      };
    }
    quantized.set(name, { name, ...entry, tensors });
  }
  return quantized;
}

/** The weight behind a stored linear that was read from a file, which may be damaged. */
function decode(q: QuantizedLinear, file: string): Float32Array {
  const fail = (what: string): never => {
    throw new SyntaxError(`Cannot load ${file}: the stored form of "${q.name}" does not decode: ${what}`);
  };
  let data: Float32Array;
  try {
    data = dequantize(q).data;
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
  return data.every(Number.isFinite) ? data : fail("it gives weights that are not finite");
}

async function readTokenizer(dir: string): Promise<TextTokenizer | undefined> {
  const exists = async (path: string) => {
    try {
      return (await Deno.stat(path)).isFile;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  };
  if (!await exists(`${dir}/tokenizer.json`)) return undefined;
  const settings = `${dir}/tokenizer_config.json`;
  const inner = new Tokenizer(
    await readJson(`${dir}/tokenizer.json`),
    await exists(settings) ? await readJson(settings) : {},
  );
  return {
    encode: (text) => Int32Array.from(inner.encode(text, { add_special_tokens: false }).ids),
    decode: (tokens) => inner.decode(Array.from(tokens)),
  };
}
