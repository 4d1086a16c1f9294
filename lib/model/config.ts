/** Reading config.json: fields that the graphs need, fields that must have one value, fields that do not matter, and errors for all others. */

export type Config = Readonly<Record<string, unknown>>;

/** A positive number. Throws `RangeError` that names the file and the field. */
export function number(config: Config, field: string, file: string): number {
  const value = config[field];
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw new RangeError(`Cannot load ${file}: ${field} is ${shown(value)}, wanted a positive number`);
}

/** A positive integer. */
export function integer(config: Config, field: string, file: string): number {
  const value = number(config, field, file);
  if (Number.isSafeInteger(value)) return value;
  throw new RangeError(`Cannot load ${file}: ${field} is ${value}, wanted an integer`);
}

/** A token id below `vocabSize`. */
export function tokenId(config: Config, field: string, vocabSize: number, file: string): number {
  const value = config[field];
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < vocabSize) return value;
  throw new RangeError(`Cannot load ${file}: ${field} is ${shown(value)}, wanted one of the ${vocabSize} token ids`);
}

/** Fields that every family may carry and that never change the forward pass. */
const harmless = new Set([
  ...["_name_or_path", "_attn_implementation", "architectures", "attn_implementation", "auto_map", "model_type"],
  ...["torch_dtype", "dtype", "transformers_version", "use_cache", "initializer_range", "quantization_config"],
  ...["bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id"],
  ...["decoder_start_token_id", "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop"],
  ...["gradient_checkpointing", "id2label", "label2id", "num_labels", "problem_type", "return_dict"],
  ...["output_attentions", "output_hidden_states", "pretraining_tp", "keys_to_ignore_at_inference", "license"],
]);

/**
 * Checks every field of a config. `read` are the fields that the family reads, `required` fields that change the forward pass, with the only value that
 * this kit computes (also the default where the field is missing), `ignored` those that do not change it. A field that is none of these must be off:
 * null, false, zero, or empty. Throws `RangeError` that names the file and the field.
 */
export function checkFields(
  config: Config,
  { read, required, ignored }: {
    readonly read: readonly string[];
    readonly required: Config;
    readonly ignored: readonly string[];
  },
  file: string,
): void {
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

const isOff = (value: unknown): boolean =>
  value == null || value === false || value === 0 || value === "" || (Array.isArray(value) && value.length === 0);

/** A value as an error message shows it. */
export const shown = (value: unknown): string => (JSON.stringify(value) ?? "missing").slice(0, 80);
