import { assertEquals, assertThrows } from "@std/assert";
import { familyOf, lladaShapes } from "../../../lib/model/families/families.ts";
import { architectureOf, tinyConfig } from "../tiny.ts";

Deno.test("a config of the published kind is read field by field", () => {
  const config = tinyConfig({ vocab_size: 21, embedding_size: 23, n_kv_heads: 2, mlp_hidden_size: 40 });
  assertEquals(architectureOf(config), {
    layers: 2,
    width: 16,
    heads: 4,
    kvHeads: 2,
    headSize: 4,
    hidden: 40,
    vocabSize: 23,
    maxLength: 24,
    epsilon: 1e-5,
    ropeTheta: 100,
    maskId: 22,
  });
  assertEquals(architectureOf(tinyConfig({ vocab_size: 24, embedding_size: null })).vocabSize, 24);
  assertEquals(architectureOf(tinyConfig({ mlp_hidden_size: null, mlp_ratio: 3 })).hidden, 48);
  assertEquals(architectureOf(tinyConfig({ n_kv_heads: undefined })).kvHeads, 4);
  assertEquals(architectureOf(tinyConfig({ mask_token_id: 0 })).maskId, 0);
});

Deno.test("tensor names are those of the published checkpoints", () => {
  const { names } = familyOf(tinyConfig(), "config.json");
  assertEquals(names.block(3, "gate"), "model.transformer.blocks.3.ff_proj.weight");
  assertEquals(names.block(3, "up"), "model.transformer.blocks.3.up_proj.weight");
  assertEquals(names.block(3, "down"), "model.transformer.blocks.3.ff_out.weight");
  assertEquals(names.head, "model.transformer.ff_out.weight");
});

Deno.test("a model that is not in the table is refused", () => {
  for (const type of ["llama", "mdlm", undefined, 3]) {
    const call = () => familyOf(tinyConfig({ model_type: type }), "folder/config.json");
    assertThrows(call, RangeError, "folder/config.json: model_type is");
  }
});

Deno.test("every field that changes the mathematics is refused by name, with the file", () => {
  const wrong: Record<string, unknown> = {
    alibi: true,
    block_type: "sequential",
    activation_type: "swiglu",
    layer_norm_type: "default",
    layer_norm_with_affine: false,
    block_group_size: 2,
    rope: false,
    include_bias: true,
    include_qkv_bias: true,
    bias_for_layer_norm: true,
    attention_layer_norm: true,
    scale_logits: true,
    input_emb_norm: true,
    clip_qkv: 8,
    d_model: 18,
    n_kv_heads: 3,
    n_layers: 1.5,
    n_heads: "4",
    max_sequence_length: undefined,
    mask_token_id: -1,
    rms_norm_eps: NaN,
    rope_theta: 0,
  };
  for (const [field, value] of Object.entries(wrong)) {
    const error = assertThrows(() => architectureOf(tinyConfig({ [field]: value })), RangeError, field);
    assertThrows(
      () => {
        throw error;
      },
      RangeError,
      "config.json",
    );
  }
  assertThrows(() => architectureOf(tinyConfig({ d_model: 12 })), RangeError, "even size");
  // A mask outside the vocabulary could never be embedded.
  assertThrows(() => architectureOf(tinyConfig({ mask_token_id: 23 })), RangeError, "mask_token_id");
});

Deno.test("weights are counted as they are stored", () => {
  const a = architectureOf(tinyConfig());
  const { linears, otherWeights } = lladaShapes(a);
  assertEquals(linears.length, 14);
  assertEquals(linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0), 2 * (4 * 16 * 16 + 3 * 16 * 32));
  assertEquals(otherWeights, 2 * 23 * 16 + 2 * 2 * 16 + 16);
});
