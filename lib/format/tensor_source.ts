/** Named tensors to read one at a time: what a model's weights come from, whether one file or many shards. */
import type { Dtype } from "./safetensors_header.ts";

/** What the header says of one tensor. */
export interface TensorInfo {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Length of its data in bytes. */
  readonly bytes: number;
}

/** Tensors behind headers that are in memory already; data is read when asked for. */
export interface TensorSource {
  /** What messages call it: the file, or the index of the shards. */
  readonly name: string;
  /** In the order of the data: reading them in turn is one pass over the files. */
  readonly names: readonly string[];
  has(name: string): boolean;
  /** Throws `RangeError` when there is no such tensor. */
  info(name: string): TensorInfo;
  /**
   * The little-endian bytes of one tensor, in an array of their own. Rejects with `RangeError` (no such tensor) or
   * `SyntaxError` (the file ended early).
   */
  read(name: string): Promise<Uint8Array>;
  /**
   * One F32, F16 or BF16 tensor as float32, row-major, in `into` when it is given: fresh memory costs more than the
   * conversion, so that a caller who streams should lend its own. Rejects also with `TypeError` on another dtype or an
   * `into` of another length.
   */
  readFloat(name: string, into?: Float32Array): Promise<Float32Array>;
  /**
   * Rows [from, to) of a 2-D tensor as float32 [to - from, columns]; reads only these bytes. Rejects like `readFloat`,
   * and with `RangeError` on rows that the tensor does not have.
   */
  readRows(name: string, from: number, to: number): Promise<Float32Array>;
}
