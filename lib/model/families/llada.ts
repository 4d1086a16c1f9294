/** LLaDA-8B (Base, Instruct) and LLaDA-1.5; and LLaDA-MoE, which shares their model type but not their block. */
import type { BlockWeight } from "../architecture.ts";
import { type Config, ConfigReader, type KnownFields, shown } from "../config.ts";
import type { Family } from "./family.ts";
import { attentionShape, ropeTheta, transformersNames } from "./qwen.ts";

/** Name trap: `ff_proj` is the gate, a block's `ff_out` is down, the top `ff_out` is the head. */
const weights: Record<BlockWeight, string> = {
  attnNorm: "attn_norm",
  q: "q_proj",
  k: "k_proj",
  v: "v_proj",
  o: "attn_out",
  ffNorm: "ff_norm",
  gate: "ff_proj",
  up: "up_proj",
  down: "ff_out",
};

const fields = {
  read: [
    ...["d_model", "n_layers", "n_heads", "n_kv_heads", "multi_query_attention", "mlp_hidden_size", "mlp_ratio"],
    ...["vocab_size", "embedding_size", "max_sequence_length", "rms_norm_eps", "rope_theta", "weight_tying"],
    ...["head_dim", "num_key_value_heads", "intermediate_size", "hidden_size", "num_hidden_layers"],
    ...["num_attention_heads", "tie_word_embeddings"],
  ],
  required: {
    block_type: "llama",
    activation_type: "silu",
    layer_norm_type: "rms",
    layer_norm_with_affine: true,
    block_group_size: 1,
    rope: true,
    alibi: false,
    include_bias: false,
    include_qkv_bias: false,
    bias_for_layer_norm: false,
    attention_layer_norm: false,
    scale_logits: false,
    input_emb_norm: false,
    clip_qkv: null,
    // What transformers' names for the same things say.
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    partial_rotary_factor: 1,
    use_sliding_window: false,
  },
  ignored: [
    ...["alibi_bias_max", "attention_layer_norm_with_affine", "embedding_dropout", "residual_dropout"],
    ...["flash_attention", "init_cutoff_factor", "init_device", "init_fn", "init_std", "precision"],
    ...["rope_full_precision", "max_position_embeddings"],
  ],
} satisfies KnownFields;

export const llada: Family = {
  modelType: "llada",
  matches: (config) => config.model_type === "llada" && !isMixture(config),
  architecture(config, file) {
    const reader = new ConfigReader(config, file);
    reader.check(fields);
    const width = reader.integer("d_model");
    const heads = reader.integer("n_heads");
    const kvHeads = config.multi_query_attention === true
      ? 1
      : config.n_kv_heads == null
      ? heads
      : reader.integer("n_kv_heads");
    if (width % (2 * heads) !== 0 || heads % kvHeads !== 0) {
      throw new RangeError(
        `Cannot load ${file}: d_model ${width}, n_heads ${heads}, n_kv_heads ${kvHeads} do not divide into heads of even size`,
      );
    }
    const vocabSize = reader.integer(config.embedding_size == null ? "vocab_size" : "embedding_size");
    const layers = reader.integer("n_layers"), headSize = width / heads;
    const hidden = config.mlp_hidden_size == null
      ? reader.integer("mlp_ratio") * width
      : reader.integer("mlp_hidden_size");
    reader.agree({ hidden_size: width, num_hidden_layers: layers, num_attention_heads: heads });
    reader.agree({ num_key_value_heads: kvHeads, head_dim: headSize, intermediate_size: hidden });
    const tiedHead = config.weight_tying === true;
    reader.agree({ tie_word_embeddings: tiedHead });
    return {
      layers,
      width,
      heads,
      kvHeads,
      headSize,
      hidden,
      vocabSize,
      maxLength: reader.integer("max_sequence_length"),
      epsilon: reader.number("rms_norm_eps"),
      ropeTheta: ropeTheta(reader),
      maskId: reader.tokenId("mask_token_id", vocabSize),
      ...(tiedHead ? { tiedHead } : {}),
    };
  },
  names: {
    embed: "model.transformer.wte.weight",
    finalNorm: "model.transformer.ln_f.weight",
    head: "model.transformer.ff_out.weight",
    block: (layer, weight) => `model.transformer.blocks.${layer}.${weights[weight]}.weight`,
  },
};

const isMixture = (config: Config): boolean => config.num_experts != null && config.num_experts !== 0;

const mixtureFields = {
  read: [
    ...["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "num_experts"],
    ...["num_experts_per_tok", "expert_intermediate_size", "norm_topk_prob", "vocab_size", "max_position_embeddings"],
    ...["rms_norm_eps", "rope_theta", "qk_layernorm", "moe_layer_freq", "tie_word_embeddings"],
  ],
  required: {
    hidden_act: "silu",
    attention_bias: false,
    clip_qkv: null,
    partial_rotary_factor: 1,
    shared_expert_intermediate_size: null,
    moe_router_enable_expert_bias: false,
    moe_router_score_function: "softmax",
    routed_scaling_factor: 1,
    router_num_group: null,
    router_topk_group: null,
  },
  ignored: ["dense_intermediate_size", "output_router_logits", "router_aux_loss_coef"],
} satisfies KnownFields;

/** Full softmax over all experts; the weights of the chosen ones are not renormalised. */
export const lladaMoe: Family = {
  modelType: "llada with num_experts",
  matches: (config) => config.model_type === "llada" && isMixture(config),
  architecture(config, file) {
    const reader = new ConfigReader(config, file);
    reader.check(mixtureFields);
    const dense = config.moe_layer_freq;
    if (dense != null && dense !== 1 && !(Array.isArray(dense) && dense.every((f) => f === 1))) {
      throw new RangeError(
        `Cannot load ${file}: moe_layer_freq is ${shown(dense)}, this kit computes experts everywhere`,
      );
    }
    const count = reader.integer("num_experts");
    const active = reader.integer("num_experts_per_tok");
    if (active > count) {
      throw new RangeError(`Cannot load ${file}: num_experts_per_tok is ${active}, num_experts only ${count}`);
    }
    return {
      ...attentionShape(reader),
      hidden: reader.integer("expert_intermediate_size"),
      ...(config.qk_layernorm === true ? { qkNorm: true } : {}),
      experts: { count, active, renormalise: config.norm_topk_prob === true },
    };
  },
  names: transformersNames,
};
