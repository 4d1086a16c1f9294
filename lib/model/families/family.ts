/** A row of the table of architectures: how its config is read and what its tensors are called. */
import type { Architecture, BlockWeight } from "../architecture.ts";
import type { Config } from "../config.ts";

/** Tensor names in a checkpoint. */
export interface Names {
  readonly embed: string;
  readonly finalNorm: string;
  readonly head: string;
  block(layer: number, weight: BlockWeight): string;
}

export interface Family {
  /** What `model_type` of config.json is, for messages. */
  readonly modelType: string;
  /** Whether a config is of this family. */
  matches(config: Config): boolean;
  /** Reads the architecture; throws `RangeError` for a field that would change the mathematics. */
  architecture(config: Config, file: string): Architecture;
  readonly names: Names;
}
