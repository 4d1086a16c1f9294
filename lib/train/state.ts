/** Between training and checkpoints: a config for a model of our own, its state on disk, and the model that the state stands for. */
import { encodeSafetensors, openSafetensors, type TensorBytes } from "../format/safetensors.ts";
import { blockWeights } from "../model/architecture.ts";
import type { Engine } from "../model/engine.ts";
import type { Config } from "../model/config.ts";
import { familyOf } from "../model/families/families.ts";
import { fileSource, ifThere, writeFileAtomic } from "../checkpoint/files/file_source.ts";
import { Model } from "../model/model.ts";
import { HeldWeights } from "../model/weights.ts";
import { stateOf } from "./graph.ts";
import type { TrainingPlan, TrainingState } from "./train.ts";

export interface NanoShape {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly hidden: number;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly maskId: number;
  readonly eosId: number;
}

/**
 * The config.json of a LLaDA model of this shape, with the field names of the published checkpoints.
 *
 * @example
 * ```ts
 * import { createWorld, familyOf, lladaConfig, WORLD_SEED } from "quant-dllm/testbed";
 *
 * const { vocabulary, maskId, eosId } = createWorld({ seed: WORLD_SEED });
 * const shape = { layers: 4, width: 128, heads: 4, hidden: 256, vocabSize: vocabulary.length, maxLength: 128 };
 * const config = lladaConfig({ ...shape, maskId, eosId });
 * const architecture = familyOf(config, "config").architecture(config, "config"); // what a TrainingPlan wants
 * ```
 */
export function lladaConfig(s: NanoShape): Config {
  return {
    architectures: ["LLaDAModelLM"],
    model_type: "llada",
    d_model: s.width,
    n_layers: s.layers,
    n_heads: s.heads,
    n_kv_heads: s.heads,
    mlp_hidden_size: s.hidden,
    vocab_size: s.vocabSize,
    embedding_size: s.vocabSize,
    max_sequence_length: s.maxLength,
    mask_token_id: s.maskId,
    eos_token_id: s.eosId,
    pad_token_id: s.eosId,
    block_type: "llama",
    block_group_size: 1,
    activation_type: "silu",
    layer_norm_type: "rms",
    layer_norm_with_affine: true,
    rms_norm_eps: 1e-5,
    rope: true,
    rope_theta: 10000,
    rope_full_precision: true,
    include_bias: false,
    include_qkv_bias: false,
    bias_for_layer_norm: false,
    attention_layer_norm: false,
    weight_tying: false,
    scale_logits: false,
    input_emb_norm: false,
    alibi: false,
    torch_dtype: "bfloat16",
  };
}

/**
 * The model at a state of its training; it runs on `engine`, which the caller frees.
 *
 * @example
 * ```ts
 * import { saveModel } from "quant-dllm";
 * import { Engine, initialState, lladaConfig, modelFromTraining } from "quant-dllm/testbed";
 *
 * type Trained = { config: ReturnType<typeof lladaConfig>; state: ReturnType<typeof initialState> };
 * const publish = (engine: Engine, { config, state }: Trained) =>
 *   saveModel(modelFromTraining(engine, config, state), "results/trained");
 * ```
 */
export function modelFromTraining(engine: Engine, config: Config, { tensors }: TrainingState): Model {
  const get = (name: string) => tensors.get(name)!;
  const blocks = Array.from({ length: engine.architecture.layers }, (_, layer) => {
    return Object.fromEntries(blockWeights(engine.architecture).map((w) => [w, get(`${layer}.${w}`)]));
  });
  const weights = new HeldWeights({ embed: get("embed"), finalNorm: get("finalNorm"), head: get("head"), blocks });
  return new Model({ name: "training", family: familyOf(config, "config"), config, engine, weights });
}

/**
 * Saves the state of a training with its plan, atomically.
 *
 * @example
 * ```ts
 * import { type initialState, type TrainingPlan, writeTrainingState } from "quant-dllm/testbed";
 *
 * const save = (plan: TrainingPlan, state: ReturnType<typeof initialState>) =>
 *   writeTrainingState("results/train-nano/state.safetensors", { plan, state });
 * ```
 */
export async function writeTrainingState(
  path: string,
  { plan, state }: { readonly plan: TrainingPlan; readonly state: TrainingState },
): Promise<void> {
  const shapes = new Map(stateOf(plan.architecture).map((t) => [t.name, t.shape]));
  const entries = [...state.tensors].map(([name, data]): [string, TensorBytes] => [name, {
    dtype: "F32",
    shape: shapes.get(name)!,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }]);
  await writeFileAtomic(path, encodeSafetensors(entries, { step: String(state.step), plan: JSON.stringify(plan) }));
}

/**
 * The saved state of a training, or undefined when there is none. Throws `RangeError` when it belongs to another plan.
 *
 * @example
 * ```ts
 * import { readTrainingState, type TrainingPlan } from "quant-dllm/testbed";
 *
 * async function stepsLeft(plan: TrainingPlan): Promise<number> {
 *   const state = await readTrainingState("results/train-nano/state.safetensors", plan);
 *   return plan.steps - (state?.step ?? 0);
 * }
 * ```
 */
export async function readTrainingState(path: string, plan: TrainingPlan): Promise<TrainingState | undefined> {
  const source = await ifThere(fileSource(path));
  if (!source) return undefined;
  const file = await openSafetensors(source);
  if (file.metadata.plan !== JSON.stringify(plan)) {
    throw new RangeError(
      `Cannot resume from ${path}: it was trained with other options; remove it or choose another --work folder`,
    );
  }
  const tensors = new Map<string, Float32Array>();
  for (const name of file.names) tensors.set(name, await file.readFloat(name));
  return { step: Number(file.metadata.step), tensors };
}
