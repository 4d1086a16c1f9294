/** Every architecture is one row of this table: how its config is read and what its tensors are called. */
import type { Architecture, BlockWeight } from "./block.ts";

export type Config = Readonly<Record<string, unknown>>;

export interface Family {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Reads the architecture; throws `RangeError` for a field that would change the mathematics. */
  architecture(config: Config, file: string): Architecture;
  /** Tensor names in the checkpoint. */
  readonly names: {
    readonly embed: string;
    readonly finalNorm: string;
    readonly head: string;
    block(layer: number, weight: BlockWeight): string;
  };
}

/** LLaDA-8B and its kin. Name trap: `ff_proj` is the gate, a block's `ff_out` is down, the top `ff_out` is the head. */
const lladaWeights: Record<BlockWeight, string> = {
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

/** Fields of a LLaDA config that change the forward pass, each with the only value that this kit computes. */
const lladaRequired: Config = {
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
  weight_tying: false,
  scale_logits: false,
  input_emb_norm: false,
  clip_qkv: null,
};

const llada: Family = {
  modelType: "llada",
  architecture(config, file) {
    for (const [field, wanted] of Object.entries(lladaRequired)) {
      const found = config[field] ?? wanted;
      if (found !== wanted) {
        throw new RangeError(`Cannot load ${file}: ${field} is ${JSON.stringify(found)}, this kit computes ${wanted}`);
      }
    }
    if (config.num_experts !== undefined) {
      throw new RangeError(`Cannot load ${file}: num_experts is set, mixture-of-experts LLaDA is not supported`);
    }
    const width = integer(config, "d_model", file);
    const heads = integer(config, "n_heads", file);
    const kvHeads = config.multi_query_attention === true
      ? 1
      : config.n_kv_heads == null
      ? heads
      : integer(config, "n_kv_heads", file);
    if (width % (2 * heads) !== 0 || heads % kvHeads !== 0) {
      throw new RangeError(
        `Cannot load ${file}: d_model ${width}, n_heads ${heads}, n_kv_heads ${kvHeads} do not divide into heads of even size`,
      );
    }
    const vocabSize = integer(config, config.embedding_size == null ? "vocab_size" : "embedding_size", file);
    const maskId = integer(config, "mask_token_id", file);
    if (maskId >= vocabSize) {
      throw new RangeError(`Cannot load ${file}: mask_token_id is ${maskId}, the vocabulary has ${vocabSize}`);
    }
    return {
      layers: integer(config, "n_layers", file),
      width,
      heads,
      kvHeads,
      headSize: width / heads,
      hidden: config.mlp_hidden_size == null
        ? integer(config, "mlp_ratio", file) * width
        : integer(config, "mlp_hidden_size", file),
      vocabSize,
      maxLength: integer(config, "max_sequence_length", file),
      epsilon: number(config, "rms_norm_eps", file),
      ropeTheta: number(config, "rope_theta", file),
      maskId,
    };
  },
  names: {
    embed: "model.transformer.wte.weight",
    finalNorm: "model.transformer.ln_f.weight",
    head: "model.transformer.ff_out.weight",
    block: (layer, weight) => `model.transformer.blocks.${layer}.${lladaWeights[weight]}.weight`,
  },
};

/** The linears of a LLaDA model and the number of its other weights, for counting bytes before any are read. */
export function lladaShapes(
  { layers, width, hidden, vocabSize }: Pick<Architecture, "layers" | "width" | "hidden" | "vocabSize">,
): { readonly linears: readonly { readonly rows: number; readonly cols: number }[]; readonly otherWeights: number } {
  const square = { rows: width, cols: width };
  const block = [square, square, square, square, { rows: hidden, cols: width }, { rows: hidden, cols: width }, {
    rows: width,
    cols: hidden,
  }];
  return {
    linears: Array.from({ length: layers }, () => block).flat(),
    otherWeights: 2 * vocabSize * width + (2 * layers + 1) * width,
  };
}

export const families: readonly Family[] = [llada];

/** The row for a config; throws `RangeError` for a model type that is not in the table. */
export function familyOf(config: Config, file: string): Family {
  const family = families.find((f) => f.modelType === config.model_type);
  if (family) return family;
  const known = families.map((f) => f.modelType).join(", ");
  throw new RangeError(`Cannot load ${file}: model_type is ${JSON.stringify(config.model_type)}, known are ${known}`);
}

function number(config: Config, field: string, file: string): number {
  const value = config[field];
  if (typeof value !== "number" || !(value > 0 || (value === 0 && field === "mask_token_id"))) {
    throw new RangeError(`Cannot load ${file}: ${field} is ${JSON.stringify(value)}, wanted a positive number`);
  }
  return value;
}

function integer(config: Config, field: string, file: string): number {
  const value = number(config, field, file);
  if (Number.isInteger(value)) return value;
  throw new RangeError(`Cannot load ${file}: ${field} is ${value}, wanted an integer`);
}
