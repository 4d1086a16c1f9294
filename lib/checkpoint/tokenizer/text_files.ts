/** The small files beside the weights, as the tokenizer reads them. */

/** The small files of a checkpoint, by name. `CheckpointSource` is one. */
export interface TextFiles {
  /** What messages call the checkpoint. */
  readonly name: string;
  has(file: string): Promise<boolean>;
  /** A JSON object; rejects with `SyntaxError` otherwise. */
  readJson(file: string): Promise<Record<string, unknown>>;
  readText(file: string): Promise<string>;
}
