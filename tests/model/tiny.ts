/** Tiny made-up LLaDA models, in memory and as checkpoint folders. */
import { encodeSafetensors, type TensorBytes } from "../../lib/format/safetensors.ts";
import { blockWeights, weightShape } from "../../lib/model/architecture.ts";
import { Engine } from "../../lib/model/engine.ts";
import type { Config } from "../../lib/model/config.ts";
import { familyOf } from "../../lib/model/families/families.ts";
import { writeFileAtomic } from "../../lib/checkpoint/files/file_source.ts";
import { Model, type TextTokenizer } from "../../lib/model/model.ts";
import { openRuntime } from "../../lib/runtime/runtime.ts";
import { HeldWeights, type WeightArrays } from "../../lib/model/weights.ts";
import { bfloat16ToFloat, floatToBfloat16, floatToHalf } from "../../lib/tensor/half.ts";
import { rng } from "../../lib/tensor/rng.ts";

/** The fields of a config that matter, for 2 blocks of width 16; fields of `changes` take their place. */
export function tinyConfig(changes: Config = {}): Config {
  return {
    model_type: "llada",
    block_type: "llama",
    activation_type: "silu",
    layer_norm_type: "rms",
    d_model: 16,
    n_layers: 2,
    n_heads: 4,
    n_kv_heads: 4,
    mlp_hidden_size: 32,
    vocab_size: 23,
    embedding_size: 23,
    max_sequence_length: 24,
    mask_token_id: 22,
    rms_norm_eps: 1e-5,
    rope: true,
    rope_theta: 100,
    weight_tying: false,
    ...changes,
  };
}

/** Configs of the other families with the field names of their published checkpoints, 2 blocks of width 16. */
export const familyConfigs: Readonly<Record<string, Config>> = {
  "LLaDA, grouped queries": tinyConfig({ n_kv_heads: 2 }),
  "LLaDA, tied": tinyConfig({ weight_tying: true }),
  Dream: transformersConfig({
    model_type: "Dream",
    architectures: ["DreamModel"],
    max_window_layers: 28,
    sliding_window: null,
    use_mrope: false,
    tie_word_embeddings: false,
  }),
  "Qwen2 diffusion": transformersConfig({ model_type: "a2d-qwen2", tie_word_embeddings: true }),
  "Qwen3 diffusion": transformersConfig({
    model_type: "a2d-qwen3",
    head_dim: 8,
    attention_bias: false,
    tie_word_embeddings: true,
    layer_types: ["full_attention", "full_attention"],
  }),
  "LLaDA-MoE": transformersConfig({
    model_type: "llada",
    architectures: ["LLaDAMoEModelLM"],
    num_key_value_heads: 4,
    intermediate_size: undefined,
    dense_intermediate_size: 64,
    expert_intermediate_size: 12,
    num_experts: 6,
    num_experts_per_tok: 2,
    norm_topk_prob: null,
    qk_layernorm: true,
    moe_layer_freq: [1, 1],
    router_aux_loss_coef: 0.01,
    partial_rotary_factor: 1,
    tie_word_embeddings: false,
  }),
};

function transformersConfig(fields: Config): Config {
  return {
    hidden_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 32,
    vocab_size: 23,
    max_position_embeddings: 24,
    mask_token_id: 22,
    hidden_act: "silu",
    rms_norm_eps: 1e-6,
    rope_theta: 100,
    rope_scaling: null,
    use_sliding_window: false,
    torch_dtype: "bfloat16",
    ...fields,
  };
}

export const architectureOf = (config: Config) => familyOf(config, "config.json").architecture(config, "config.json");

/** Random weights that bf16 holds exactly, large enough that every part of a block matters. */
export function tinyWeights(config: Config, seed = 1): WeightArrays {
  const a = architectureOf(config);
  const draw = (name: string, shape: readonly number[]) => {
    const r = rng(seed, name);
    const norm = shape.length === 1;
    const values = Float32Array.from(
      { length: shape.reduce((x, y) => x * y) },
      () => norm ? (name.endsWith("Bias") ? 0 : 1) + 0.3 * r.normal() : 1.2 * r.normal() / Math.sqrt(shape[1]),
    );
    return bfloat16ToFloat(floatToBfloat16(values));
  };
  const blocks = Array.from({ length: a.layers }, (_, layer) => {
    return Object.fromEntries(blockWeights(a).map((w) => [w, draw(`${layer}.${w}`, weightShape(a, w))]));
  });
  const embed = draw("embed", [a.vocabSize, a.width]);
  const head = a.tiedHead ? embed : draw("head", [a.vocabSize, a.width]);
  return { embed, finalNorm: draw("finalNorm", [a.width]), head, blocks };
}

/** A model on cpu that frees its runtime. */
export async function tinyModel(
  { config = tinyConfig(), seed = 1, tokenizer }: { config?: Config; seed?: number; tokenizer?: TextTokenizer } = {},
): Promise<Model> {
  const runtime = await openRuntime({ device: "cpu", threads: 1 });
  const engine = new Engine(runtime, architectureOf(config));
  const family = familyOf(config, "config.json");
  const weights = new HeldWeights(tinyWeights(config, seed));
  return new Model({ name: "tiny", family, config, engine, weights, tokenizer }, runtime);
}

/** Tokens below the mask id. */
export function randomTokens(count: number, seed: number, vocab = 22): Int32Array {
  const r = rng(seed, "tokens");
  return Int32Array.from({ length: count }, () => r.int(vocab));
}

/** `weights` under the names of the real checkpoints. */
export function checkpointTensors(config: Config, weights: WeightArrays, dtype: "F32" | "F16" | "BF16" = "F32") {
  const { names } = familyOf(config, "config.json");
  const a = architectureOf(config);
  const tensor = (data: Float32Array, shape: readonly number[]): TensorBytes => {
    const words = dtype === "F32" ? data.slice() : dtype === "F16" ? floatToHalf(data) : floatToBfloat16(data);
    return { dtype, shape, bytes: new Uint8Array(words.buffer) };
  };
  const tensors: Record<string, TensorBytes> = {
    [names.embed]: tensor(weights.embed, [a.vocabSize, a.width]),
    [names.finalNorm]: tensor(weights.finalNorm, [a.width]),
  };
  if (!a.tiedHead) tensors[names.head] = tensor(weights.head, [a.vocabSize, a.width]);
  weights.blocks.forEach((block, layer) => {
    for (const w of blockWeights(a)) tensors[names.block(layer, w)] = tensor(block[w], weightShape(a, w));
  });
  return tensors;
}

/** Writes a checkpoint folder. */
export async function writeCheckpoint(
  folder: string,
  config: Config,
  tensors: Readonly<Record<string, TensorBytes>>,
): Promise<void> {
  await writeFileAtomic(`${folder}/model.safetensors`, encodeSafetensors(tensors));
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
}

/** Runs `body` with a folder that is gone afterwards. */
export async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The weights of a model that holds them in memory. */
export function arraysOf({ weights }: Model): WeightArrays {
  if (weights instanceof HeldWeights) return weights.arrays;
  throw new TypeError("the weights are streamed");
}

/** A copy of every weight of a model, to hold it against later. */
export function snapshot(model: Model): Float32Array[] {
  const weights = arraysOf(model);
  const all = [weights.embed, weights.finalNorm, weights.head, ...weights.blocks.flatMap((b) => Object.values(b))];
  return all.map((array) => array.slice());
}
