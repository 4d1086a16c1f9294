/** What the stored forms with groups of columns share: writing their tensors, and reading them with errors that name the linear and the tensor. */
import { packBits, unpackBits } from "../../format/bits.ts";
import { concat } from "../../tensor/concat.ts";
import type { QuantizedLinear, StoredTensor } from "../method.ts";
import { bytesOf, bytesTensor, halvesTensor } from "../tensors.ts";

/** Columns per group. Throws `RangeError` when the configuration has no positive integer there. */
export function groupOf(q: QuantizedLinear): number {
  const group = q.config.group;
  if (typeof group !== "number" || !Number.isInteger(group) || group < 1) {
    throw new RangeError(`Cannot decode "${q.name}": group is ${group}, wanted a positive integer`);
  }
  return group;
}

/**
 * K_b of the groups of a stored linear, the blocks of ABMP, in column order: planes of the form `binary`, bits of a code of the form `levels`.
 *
 * @example
 * ```ts
 * import { abmp, blockOrders, daq, loadCorpus, loadModel, quantize, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const calibration = visible(await loadCorpus("data/nanoworld/calibration.jsonl", draw));
 * const method = daq({ bits: abmp({ ratio: 0.1, scope: "model" }), group: 32, profile: "official" });
 * const { quantized } = await quantize(model, method, { calibration });
 * for (const [name, q] of quantized) console.log(name, blockOrders(q));
 * ```
 */
export function blockOrders(q: QuantizedLinear): number[] {
  const group = groupOf(q);
  return Array.from(unpackBits(bytesOf(q, "orders"), 2, Math.ceil(q.shape[1] / group)), (code) => code + 1);
}

/** The tensor `orders`: K_b - 1 in 2 bits per group. */
export function storeOrders(orders: readonly number[]): StoredTensor {
  return bytesTensor(packBits(Uint8Array.from(orders, (k) => k - 1), 2));
}

/** A fitted group of columns as it is stored. */
export interface FittedGroup {
  readonly rows: number;
  /** K_b. */
  readonly order: number;
  /** `[rows, width]`, each below 2^K_b. */
  readonly codes: Uint8Array;
  readonly rowScale: Float64Array;
  readonly colScale: Float64Array;
}

/**
 * The tensors of a stored form, from its groups in column order (all but the last of one width): `codes`, `row_scale`, `col_scale` and `orders`. Scales
 * must be numbers that fp16 holds.
 */
export function encodeGroups(groups: readonly FittedGroup[]): Record<string, StoredTensor> {
  const { rows } = groups[0];
  const codes = groups.map((g) => packBits(Uint8Array.from(g.codes), g.order));
  const rowScale = concat(groups.map((g) => g.rowScale), Float64Array);
  const colScale = concat(groups.map((g) => g.colScale), Float64Array);
  return {
    codes: bytesTensor(concat(codes, Uint8Array)),
    row_scale: halvesTensor(rowScale, [rowScale.length / rows, rows]),
    col_scale: halvesTensor(colScale, [colScale.length]),
    orders: storeOrders(groups.map((g) => g.order)),
  };
}
