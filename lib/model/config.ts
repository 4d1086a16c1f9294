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
]);

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
      if (Object.hasOwn(required, field)) {
        const wanted = required[field];
        if ((value ?? wanted) !== wanted) {
          throw new RangeError(`Cannot load ${file}: ${field} is ${shown(value)}, this kit computes ${shown(wanted)}`);
        }
      } else if (!known.has(field) && !harmless.has(field) && !isOff(value)) {
        throw new RangeError(
          `Cannot load ${file}: the field ${field}, ${shown(value)}, is not known and may change the mathematics; ` +
            `remove it if it does not`,
        );
      }
    }
  }

  #fail(field: string, wanted: string): never {
    throw new RangeError(`Cannot load ${this.file}: ${field} is ${shown(this.config[field])}, wanted ${wanted}`);
  }
}

const isOff = (value: unknown): boolean =>
  value == null || value === false || value === 0 || value === "" || (Array.isArray(value) && value.length === 0);

/** A value as an error message shows it. */
export const shown = (value: unknown): string => (JSON.stringify(value) ?? "missing").slice(0, 80);
