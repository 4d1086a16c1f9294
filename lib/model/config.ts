/** Reading config.json: fields that the graphs need, fields that must have one value, fields that do not matter, and errors for all others. */

export type Config = Readonly<Record<string, unknown>>;

/** Fields that every family may carry and that never change the forward pass. */
const harmless = new Set([
  ...["_name_or_path", "_attn_implementation", "architectures", "attn_implementation", "auto_map", "model_type"],
  ...["torch_dtype", "dtype", "transformers_version", "use_cache", "initializer_range", "quantization_config"],
  ...["bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id"],
  ...["decoder_start_token_id", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop"],
  ...["gradient_checkpointing", "id2label", "label2id", "num_labels", "problem_type", "return_dict"],
  ...["output_attentions", "output_hidden_states", "pretraining_tp", "keys_to_ignore_at_inference", "license"],
  "max_window_layers",
]);

/** Fields that tools and generation leave behind: ignored too, and told, since nobody should wonder whether they count. */
const bookkeeping = new Set([
  ...["tokenizer_class", "processor_class", "model_max_length", "padding_side", "truncation_side", "prefix", "suffix"],
  ...[
    "pad_token",
    "bos_token",
    "eos_token",
    "unk_token",
    "mask_token",
    "eot_token_id",
    "eod_token_id",
    "suppress_tokens",
  ],
  ...[
    "max_length",
    "min_length",
    "max_new_tokens",
    "min_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "typical_p",
    "alg",
  ],
  ...[
    "do_sample",
    "num_beams",
    "num_beam_groups",
    "num_return_sequences",
    "early_stopping",
    "length_penalty",
    "alg_temp",
  ],
  ...[
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "diversity_penalty",
    "bad_words_ids",
  ],
  ...["forced_bos_token_id", "forced_eos_token_id", "begin_suppress_tokens", "exponential_decay_length_penalty"],
  ...["remove_invalid_values", "output_scores", "return_dict_in_generate", "task_specific_params", "finetuning_task"],
  ...["is_encoder_decoder", "is_decoder", "add_cross_attention", "cross_attention_hidden_size", "tie_encoder_decoder"],
  ...[
    "chunk_size_feed_forward",
    "pruned_heads",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "use_flash_attention",
  ],
  ...["unsloth_version", "unsloth_fixed", "model_name", "model_id", "base_model", "library_name", "tags", "datasets"],
  ...["language", "pipeline_tag", "author", "comment", "version", "commit", "timestamp", "date", "seed", "loss_type"],
  ...[
    "transformers.js_config",
    "max_window_layers",
    "dllm_version",
    "training_args",
    "generation_config",
    "steps",
    "gen_length",
    "block_length",
    "remasking",
  ],
]);

/**
 * Fields of a config that this kit ignores and no public checkpoint needs: names with an underscore in front, and what tools and generation leave behind.
 */
export function ignoredFields(config: Config): string[] {
  return Object.keys(config).filter((field) => !harmless.has(field) && isBookkeeping(field));
}

const isBookkeeping = (field: string): boolean => field.startsWith("_") || bookkeeping.has(field);

/** What a family says of the fields of its configs. */
export interface KnownFields {
  /** Those that it reads. */
  readonly read: readonly string[];
  /** Those that change the forward pass, with the only value that this kit computes: also the default where the field is missing. */
  readonly required: Config;
  /** Those that do not change it. */
  readonly ignored: readonly string[];
}

/** Reads the fields of the config in `file`. Throws `RangeError` that names the file and the field. */
export class ConfigReader {
  constructor(readonly config: Config, readonly file: string) {}

  /** A positive number. */
  number(field: string): number {
    const value = this.config[field];
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    return this.#fail(field, "a positive number");
  }

  /** A positive integer. */
  integer(field: string): number {
    const value = this.number(field);
    return Number.isSafeInteger(value) ? value : this.#fail(field, "an integer");
  }

  /** A token id below `vocabSize`. */
  tokenId(field: string, vocabSize: number): number {
    const value = this.config[field];
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < vocabSize) return value;
    return this.#fail(field, `one of the ${vocabSize} token ids`);
  }

  /** Checks every field. One that is not known must be off: null, false, zero, or empty. */
  check({ read, required, ignored }: KnownFields): void {
    const { config, file } = this;
    const known = new Set([...read, ...ignored]);
    for (const [field, value] of Object.entries(config)) {
      if (ropeFields.has(field) && !isOff(value)) this.#checkRope(field, value);
      else if (field === "layer_types") this.#checkAttention(value);
      else if (Object.hasOwn(required, field)) {
        const wanted = required[field];
        if ((value ?? wanted) !== wanted) {
          throw new RangeError(`Cannot load ${file}: ${field} is ${shown(value)}, this kit computes ${shown(wanted)}`);
        }
      } else if (!known.has(field) && !harmless.has(field) && !isBookkeeping(field) && !isOff(value)) {
        throw new RangeError(
          `Cannot load ${file}: the field ${field}, ${
            shown(value)
          }, is not known and may change the mathematics; if it ` +
            `does not, say so with --config-override ${field}=null`,
        );
      }
    }
  }

  /** Fields that say again what others have said: those that are there must agree. */
  agree(wanted: Readonly<Record<string, number | boolean>>): void {
    for (const [field, value] of Object.entries(wanted)) {
      const found = this.config[field];
      if (found == null || found === value) continue;
      throw new RangeError(
        `Cannot load ${this.file}: ${field} is ${
          shown(found)
        }, but the other fields say ${value}; correct the file, or ` +
          `say which is right with --config-override ${field}=${value}`,
      );
    }
  }

  /** Rotary parameters must ask for nothing beyond the plain kind, with the base of the config. */
  #checkRope(field: string, value: unknown): void {
    const { rope_type, type = rope_type, rope_theta, partial_rotary_factor = 1, factor, ...rest } = value as Config;
    const outer = this.config.rope_theta;
    if (rope_theta != null && outer != null && rope_theta !== outer) {
      throw new RangeError(
        `Cannot load ${this.file}: ${field}.rope_theta is ${shown(rope_theta)}, but rope_theta is ${shown(outer)}; ` +
          `correct the file, or say which is right with --config-override rope_theta=null or ${field}=null`,
      );
    }
    // Positions divided by one are positions.
    const plain = (kind: unknown) => kind == null || kind === "default" || (kind === "linear" && factor === 1);
    if (
      typeof value === "object" && plain(type) && plain(rope_type) && partial_rotary_factor === 1 &&
      (factor ?? 1) === 1 &&
      Object.values(rest).every(isOff)
    ) return;
    throw new RangeError(
      `Cannot load ${this.file}: ${field} is ${
        shown(value)
      }, this kit computes rotary embeddings of the kind "default"; ` +
        `if that is what is meant, say so with --config-override ${field}=null`,
    );
  }

  #checkAttention(types: unknown): void {
    if (types == null || (Array.isArray(types) && types.every((type) => type === "full_attention"))) return;
    throw new RangeError(
      `Cannot load ${this.file}: layer_types is ${shown(types)}, this kit computes full attention in all`,
    );
  }

  #fail(field: string, wanted: string): never {
    throw new RangeError(`Cannot load ${this.file}: ${field} is ${shown(this.config[field])}, wanted ${wanted}`);
  }
}

const ropeFields = new Set(["rope_scaling", "rope_parameters"]);

const isOff = (value: unknown): boolean =>
  value == null || value === false || value === 0 || value === "" || (Array.isArray(value) && value.length === 0);

/** A value as an error message shows it. */
export const shown = (value: unknown): string => (JSON.stringify(value) ?? "missing").slice(0, 80);
