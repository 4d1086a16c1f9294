/** Writing a checkpoint folder in the layout of the Hugging Face Hub. */
import { join } from "@std/path";
import { decodeFloats, encodeSafetensors, type TensorBytes } from "../format/safetensors.ts";
import { floatToBfloat16, floatToHalf } from "../tensor/half.ts";
import { blockWeights } from "../model/architecture.ts";
import { tensorShapes } from "./open.ts";
import { writeFileAtomic } from "./files/file_source.ts";
import type { Model } from "../model/model.ts";
import { entriesOf, partName, type QuantizationConfig } from "./quantized_config.ts";
import { HeldWeights } from "../model/weights.ts";

/**
 * Writes a model that is held in memory as a checkpoint folder: quantised matrices in their stored form, everything else in the `torch_dtype` of the
 * config. A packed checkpoint answers as the model does, bit for bit: what that type would round is written in float32. Each file appears whole or not
 * at all. Models that do not fit in memory are quantised on disk: `openQuantization`.
 *
 * @example
 * ```ts
 * import { loadModel, quantize, rtn, saveModel } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const quantized = await quantize(model, rtn({ bits: 4, group: 32 }));
 * await saveModel(quantized, "results/nano-llada-4bit");
 * await using again = await loadModel("results/nano-llada-4bit"); // answers as `quantized` does
 * ```
 */
export async function saveModel(model: Model, dir: string): Promise<void> {
  const { family: { names }, architecture: a, weights, quantized } = model;
  if (!(weights instanceof HeldWeights)) {
    throw new TypeError(`Cannot save "${model.name}": its weights are streamed; open it with { weights: "held" }`);
  }
  const { arrays } = weights;
  const dtype = savedTypes[String(model.config.torch_dtype)] ?? "F32";
  const data = new Map([[names.embed, arrays.embed], [names.finalNorm, arrays.finalNorm], [names.head, arrays.head]]);
  arrays.blocks.forEach((block, layer) => {
    for (const weight of blockWeights(a)) data.set(names.block(layer, weight), block[weight]);
  });
  const tensors: Record<string, TensorBytes> = {};
  for (const [name, shape] of tensorShapes(model.family, a)) {
    const q = quantized.get(name);
    if (!q) tensors[name] = encodeFloat(data.get(name)!, { dtype, shape, exact: quantized.size > 0 });
    else for (const [part, tensor] of Object.entries(q.tensors)) tensors[partName(name, part)] = tensor;
  }
  const config: Record<string, unknown> = { ...model.config };
  delete config.quantization_config;
  if (quantized.size > 0) {
    config.quantization_config = {
      quant_method: "quant-dllm",
      provenance: model.provenance,
      linears: entriesOf(quantized.values()),
    } satisfies QuantizationConfig;
  }
  await Deno.mkdir(dir, { recursive: true });
  await writeFileAtomic(join(dir, "model.safetensors"), encodeSafetensors(tensors, { format: "pt" }));
  // The config goes last: a folder with a config.json is complete.
  await writeFileAtomic(join(dir, "config.json"), [new TextEncoder().encode(JSON.stringify(config, null, 2) + "\n")]);
}

export const savedTypes: Readonly<Record<string, "BF16" | "F16">> = { bfloat16: "BF16", float16: "F16" };

/** A float tensor in `dtype`; with `exact`, in float32 where that type would round. */
export function encodeFloat(
  data: Float32Array,
  { dtype, shape, exact = false }: {
    readonly dtype: "F32" | "F16" | "BF16";
    readonly shape: readonly number[];
    readonly exact?: boolean;
  },
): TensorBytes {
  const bytes = encodeFloats(dtype, data);
  if (!exact || decodeFloats(dtype, bytes).every((x, i) => x === data[i])) return { dtype, shape, bytes };
  return { dtype: "F32", shape, bytes: encodeFloats("F32", data) };
}

export function encodeFloats(dtype: "F32" | "F16" | "BF16", data: Float32Array): Uint8Array {
  const words = dtype === "F32" ? data : dtype === "F16" ? floatToHalf(data) : floatToBfloat16(data);
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
