/** Checkpoints with the tensor names of transformers: iLLaDA, Dream (Qwen2.5 made bidirectional) and the Qwen2 and Qwen3 diffusion models of dllm-hub. */
import type { Architecture, BlockWeight } from "../architecture.ts";
import { type Config, ConfigReader } from "../config.ts";
import type { Family, Names } from "./family.ts";

const weights: Record<BlockWeight, string> = {
  attnNorm: "input_layernorm.weight",
  q: "self_attn.q_proj.weight",
  k: "self_attn.k_proj.weight",
  v: "self_attn.v_proj.weight",
  o: "self_attn.o_proj.weight",
  qBias: "self_attn.q_proj.bias",
  kBias: "self_attn.k_proj.bias",
  vBias: "self_attn.v_proj.bias",
  qNorm: "self_attn.q_norm.weight",
  kNorm: "self_attn.k_norm.weight",
  ffNorm: "post_attention_layernorm.weight",
  gate: "mlp.gate_proj.weight",
  up: "mlp.up_proj.weight",
  down: "mlp.down_proj.weight",
  router: "mlp.gate.weight",
};

export const transformersNames: Names = {
  embed: "model.embed_tokens.weight",
  finalNorm: "model.norm.weight",
  head: "lm_head.weight",
  block(layer, weight) {
    const expert = /^(experts\.\d+)\.(gate|up|down)$/.exec(weight);
    const rest = expert ? `mlp.${expert[1]}.${expert[2]}_proj.weight` : weights[weight];
    return `model.layers.${layer}.${rest}`;
  },
};

const read = [
  ...["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"],
  ...["intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps", "rope_theta"],
  ...["tie_word_embeddings"],
];

const required = {
  hidden_act: "silu",
  use_sliding_window: false,
  use_mrope: false,
  is_causal: false,
  mlp_bias: false,
  partial_rotary_factor: 1,
};

const ignored = ["sliding_window", "mrope_section", "rope_theta"];

/** What the families with transformers' field names share: sizes of attention and vocabulary. */
export function attentionShape(reader: ConfigReader): Omit<Architecture, "hidden"> {
  const { config, file } = reader;
  const width = reader.integer("hidden_size");
  const heads = reader.integer("num_attention_heads");
  const kvHeads = config.num_key_value_heads == null ? heads : reader.integer("num_key_value_heads");
  const headSize = config.head_dim == null ? width / heads : reader.integer("head_dim");
  if (headSize % 2 !== 0 || heads % kvHeads !== 0) {
    throw new RangeError(
      `Cannot load ${file}: hidden_size ${width}, num_attention_heads ${heads}, num_key_value_heads ${kvHeads}, ` +
        `head size ${headSize} do not divide into heads of even size`,
    );
  }
  const vocabSize = reader.integer("vocab_size");
  return {
    layers: reader.integer("num_hidden_layers"),
    width,
    heads,
    kvHeads,
    headSize,
    vocabSize,
    maxLength: reader.integer("max_position_embeddings"),
    epsilon: reader.number("rms_norm_eps"),
    ropeTheta: ropeTheta(reader),
    maskId: reader.tokenId("mask_token_id", vocabSize),
    ...(config.tie_word_embeddings === true ? { tiedHead: true } : {}),
  };
}

/** rope_theta, which newer files keep in rope_parameters. */
export function ropeTheta({ config, file }: ConfigReader): number {
  const inner = config.rope_parameters as Config | undefined;
  return new ConfigReader({ rope_theta: config.rope_theta ?? inner?.rope_theta }, file).number("rope_theta");
}

function family(
  modelTypes: readonly string[],
  traits: Partial<Architecture>,
  more: { readonly required: Config; readonly ignored?: readonly string[] },
): Family {
  return {
    modelType: modelTypes.join(", "),
    matches: (config) => modelTypes.includes(String(config.model_type)),
    architecture(config, file) {
      const fields = {
        read,
        required: { ...required, ...more.required },
        ignored: [...ignored, ...more.ignored ?? []],
      };
      const reader = new ConfigReader(config, file);
      reader.check(fields);
      return { ...attentionShape(reader), hidden: reader.integer("intermediate_size"), ...traits };
    },
    names: transformersNames,
  };
}

/** Dream-7B, DiffuCoder, Dream-Coder. The raw logits at position i predict token i + 1. */
export const dream: Family = family(["Dream", "dream"], { qkvBias: true, logitShift: true }, {
  required: { attention_bias: true },
});

/** Qwen2 made bidirectional, no shift of the logits (masked diffusion training). */
export const qwen2: Family = family(["a2d-qwen2", "qwen2"], { qkvBias: true }, { required: { attention_bias: true } });

/** Qwen3 made bidirectional: RMSNorm on the heads of q and k instead of biases. */
export const qwen3: Family = family(["a2d-qwen3", "qwen3"], { qkNorm: true }, { required: { attention_bias: false } });

/** iLLaDA: LLaDA's training on a plain block of grouped queries, without biases or norms of heads. */
export const illada: Family = family(["illada"], {}, { required: { attention_bias: false, qk_layernorm: false } });
