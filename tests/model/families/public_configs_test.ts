/** The fields of public configs, as their authors publish them: which load, and which are refused by name with the reason. */
import { assertEquals, assertThrows } from "@std/assert";
import { ignoredFields } from "../../../lib/model/config.ts";
import { familyOf } from "../../../lib/model/families/families.ts";

type Fields = Record<string, unknown>;

const llada: Fields = {
  ...{
    activation_type: "silu",
    alibi: false,
    alibi_bias_max: 8,
    architectures: ["LLaDAModelLM"],
    attention_dropout: 0,
  },
  ...{ attention_layer_norm: false, attention_layer_norm_with_affine: true, auto_map: { AutoConfig: "x.Y" } },
  ...{ bias_for_layer_norm: false, block_group_size: 1, block_type: "llama", d_model: 4096, embedding_dropout: 0 },
  ...{ embedding_size: 126464, eos_token_id: 126081, flash_attention: false, include_bias: false },
  ...{ include_qkv_bias: false, init_cutoff_factor: null, init_device: "meta", init_fn: "mitchell", init_std: 0.02 },
  ...{ input_emb_norm: false, layer_norm_type: "rms", layer_norm_with_affine: true, mask_token_id: 126336 },
  ...{ max_sequence_length: 4096, mlp_hidden_size: 12288, mlp_ratio: 4, model_type: "llada", n_heads: 32 },
  ...{ multi_query_attention: null, n_kv_heads: 32, n_layers: 32, pad_token_id: 126081, precision: "amp_bf16" },
  ...{ residual_dropout: 0, rms_norm_eps: 1e-5, rope: true, rope_full_precision: true, rope_theta: 5e5 },
  ...{ scale_logits: false, transformers_version: "4.46.3", use_cache: false, vocab_size: 126464, weight_tying: false },
};
const mixture: Fields = {
  ...{ architectures: ["LLaDAMoEModelLM"], attention_bias: false, attention_dropout: 0, clip_qkv: null },
  ...{ dense_intermediate_size: 8192, eos_token_id: 156892, expert_intermediate_size: 1024, hidden_act: "silu" },
  ...{ hidden_size: 2048, initializer_range: 0.02, max_position_embeddings: 8192, model_type: "llada" },
  ...{ moe_layer_freq: Array(16).fill(1), moe_router_enable_expert_bias: false, moe_router_score_function: "softmax" },
  ...{ norm_topk_prob: null, num_attention_heads: 16, num_experts: 64, num_experts_per_tok: 8, num_hidden_layers: 16 },
  ...{ num_key_value_heads: 16, output_router_logits: false, pad_token_id: 156892, partial_rotary_factor: 1 },
  ...{ qk_layernorm: true, rms_norm_eps: 1e-5, rope_scaling: null, rope_theta: 5e4, routed_scaling_factor: 1 },
  ...{ router_aux_loss_coef: 0.01, router_num_group: null, router_topk_group: null, tie_word_embeddings: false },
  ...{ shared_expert_intermediate_size: null, torch_dtype: "bfloat16", use_cache: false, vocab_size: 157184 },
};
const illada: Fields = {
  ...{ architectures: ["ILLaDAForCausalLM"], attention_bias: false, attention_dropout: 0, hidden_act: "silu" },
  ...{ hidden_size: 4096, initializer_range: 0.02, intermediate_size: 14336, layer_norm_eps: null, mlp_bias: false },
  ...{ max_position_embeddings: 8192, model_type: "illada", num_attention_heads: 32, num_hidden_layers: 32 },
  ...{ num_key_value_heads: 8, pad_token_id: 0, resid_pdrop: 0, rms_norm_eps: 1e-6, rope_scaling: null },
  ...{ rope_theta: 1e4, tie_word_embeddings: true, torch_dtype: "bfloat16", vocab_size: 151936 },
};
const qwenFields = (fields: Fields): Fields => ({
  ...{ attention_dropout: 0, bos_token_id: 151643, eos_token_id: 151643, hidden_act: "silu", hidden_size: 3584 },
  ...{ initializer_range: 0.02, intermediate_size: 18944, max_position_embeddings: 131072, max_window_layers: 28 },
  ...{ num_attention_heads: 28, num_hidden_layers: 28, num_key_value_heads: 4, rms_norm_eps: 1e-6, rope_scaling: null },
  ...{ rope_theta: 1e6, sliding_window: null, tie_word_embeddings: false, torch_dtype: "bfloat16", use_cache: true },
  ...{ use_sliding_window: false, vocab_size: 152064 },
  ...fields,
});

/** Fields, then the mask id where the config leaves it to the tokenizer, and what is ignored with a word. */
const loading: Record<string, readonly [fields: Fields, maskId?: number, ignored?: readonly string[]]> = {
  "LLaDA-8B-Base": [llada],
  "LLaDA-8B-Instruct": [{ ...llada, transformers_version: "4.38.2" }],
  "LLaDA-1.5": [llada],
  "LLaDA-8B, saved again by a tool": [
    {
      ...llada,
      _attn_implementation_autoset: true,
      unsloth_version: "2026.4.7",
      head_dim: 128,
      model_max_length: 4096,
    },
    undefined,
    ["_attn_implementation_autoset", "unsloth_version", "model_max_length"],
  ],
  "LLaDA-MoE-7B-A1B": [mixture, 156895],
  iLLaDA: [illada, 5],
  "Dream-v0-7B": [qwenFields({ model_type: "Dream", mask_token_id: 151666, pad_token_id: 151643 })],
  DiffuCoder: [qwenFields({ model_type: "Dream", mask_token_id: 151666, full_attn_mask: null })],
  "a2d-qwen2": [qwenFields({ model_type: "a2d-qwen2" }), 151665],
  "a2d-qwen3": [
    qwenFields({
      ...{ model_type: "a2d-qwen3", attention_bias: false, head_dim: 128, num_attention_heads: 16, hidden_size: 1024 },
      ...{ num_key_value_heads: 8, rope_parameters: { rope_theta: 1e6, rope_type: "default" }, rope_theta: undefined },
      layer_types: Array(28).fill("full_attention"),
    }),
    151669,
  ],
};
for (const [name, [fields, maskId, ignored = []]] of Object.entries(loading)) {
  Deno.test(`public configs: ${name} loads`, () => {
    const config = maskId === undefined ? fields : { ...fields, mask_token_id: maskId };
    const a = familyOf(config, "config.json").architecture(config, "config.json");
    assertEquals(a.maskId, config.mask_token_id);
    assertEquals(ignoredFields(config), ignored);
  });
}

const block = "block-diffusion model";
const refused: Record<string, readonly [fields: Fields, reason: string]> = {
  "LLaDA2.0-mini": [{ model_type: "llada2_moe", hidden_size: 2048, mask_token_id: 156895 }, "LLaDA2"],
  "SDAR": [qwenFields({ model_type: "sdar", block_size: 4, mask_token_id: 151669 }), "SDAR"],
  "SDAR-30B": [qwenFields({ model_type: "sdar_moe" }), "SDAR"],
  "Fast-dLLM v2": [qwenFields({ model_type: "Fast_dLLM_Qwen", bd_size: 32 }), "Fast-dLLM v2"],
  "Nemotron-Labs-Diffusion": [{ model_type: "nemotron_labs_diffusion", block_size: 32 }, "Nemotron"],
  "BD3LM under a shared model type": [qwenFields({ model_type: "a2d-qwen3", block_size: 32 }), "block_size is 32"],
  "BD3LM by its class": [qwenFields({ model_type: "a2d-qwen3", architectures: ["A2DQwen3BD3LM"] }), "BD3LM"],
};
for (const [name, [fields, reason]] of Object.entries(refused)) {
  Deno.test(`public configs: ${name} is refused by name, with the reason`, () => {
    const error = assertThrows(() => familyOf(fields, "config.json"), RangeError, reason);
    assertEquals(error.message.includes(block), true, error.message);
  });
}

Deno.test("fields that say again what others say must agree; rotary parameters must be the plain ones", () => {
  const read = (fields: Fields) => () => familyOf(fields, "c").architecture(fields, "c");
  assertThrows(read({ ...llada, head_dim: 64 }), RangeError, "head_dim is 64, but the other fields say 128");
  assertThrows(read({ ...llada, num_key_value_heads: 8 }), RangeError, "--config-override num_key_value_heads=32");
  for (
    const rope of [{ rope_type: "yarn", factor: 4 }, { rope_type: "default", rope_theta: 1e4 }, { type: "linear" }]
  ) {
    assertThrows(read({ ...llada, rope_parameters: rope }), RangeError, "rope_parameters");
    assertThrows(read({ ...llada, rope_scaling: rope }), RangeError, "rope_scaling");
  }
  assertThrows(
    read(
      qwenFields({ model_type: "a2d-qwen2", mask_token_id: 1, rope_theta: 1e6, rope_parameters: { rope_theta: 1e4 } }),
    ),
    RangeError,
    "rope_parameters.rope_theta is 10000, but rope_theta is 1000000",
  );
  assertThrows(read({ ...llada, tie_word_embeddings: true }), RangeError, "but the other fields say false");
  assertThrows(read({ ...llada, hidden_act: "gelu" }), RangeError, 'hidden_act is "gelu", this kit computes "silu"');
  assertThrows(read({ ...llada, layer_types: ["sliding_attention"] }), RangeError, "layer_types");
  const same = { hidden_act: "silu", layer_types: ["full_attention"], num_experts: 0, max_window_layers: 28 };
  read({ ...llada, ...same, partial_rotary_factor: 1, rope_scaling: { type: "linear", factor: 1 } })();
  const inner = read({ ...llada, rope_theta: undefined, rope_parameters: { rope_theta: 5e5 } })();
  assertEquals(inner.ropeTheta, 5e5);
  read({ ...llada, rope_scaling: { type: "default" }, rope_parameters: { rope_type: "default", rope_theta: 5e5 } })();
  assertThrows(read({ ...llada, sparse_attention: true }), RangeError, "--config-override sparse_attention=null");
});
