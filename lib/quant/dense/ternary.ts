/**
 * The stored form `ternary` of PT²-LLM: per row and block of columns w = μ + α t with t in -1, 0, 1.
 *
 * Tensors: `trits` U8, t + 1 of `[out, in]` in the stored order of columns, five a byte; `scales` F16 `[2, blocks, out]`: α, then μ; `order` U8, two bytes a column,
 * the column that stands in each place, absent where they stand in their own. `config`: `group`, the width of a block (the last one may be narrower);
 * `ordered`, true where there is an order.
 */
import { packedTritBytes, packTrits, unpackTrits } from "../../format/trits.ts";
import { ScaleOverflow } from "../../tensor/errors.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import type { Decoder, QuantizedLinear } from "../method.ts";
import { bytesOf, bytesTensor, checkTensors, halvesOf, halvesTensor, positiveOf } from "../tensors.ts";

export interface Ternary {
  readonly rows: number;
  readonly cols: number;
  /** Columns of a block. */
  readonly group: number;
  /** t + 1, `[rows, cols]` in stored order. */
  readonly trits: Uint8Array;
  /** α `[blocks, rows]`, then μ likewise. */
  readonly scales: Float32Array;
  /** The column in each place `[cols]`, below 65536. */
  readonly order?: Int32Array;
}

/** Packs a linear. Throws `ScaleOverflow` when a number is beyond fp16, `RangeError` for an order of more columns than two bytes tell apart. */
export function storeTernary(name: string, layer: Ternary, report: QuantizedLinear["report"]): QuantizedLinear {
  const { rows, cols, group, trits, scales, order } = layer;
  for (const x of scales) if (!Number.isFinite(Math.f16round(x))) throw new ScaleOverflow(x);
  if (order && cols > 65536) {
    throw new RangeError(`Cannot store the order of ${cols} columns of "${name}": wanted at most 65536; do without`);
  }
  return {
    ...{ name, format: "ternary", shape: [rows, cols], config: { group, ...(order ? { ordered: true } : {}) }, report },
    tensors: {
      trits: bytesTensor(packTrits(trits)),
      scales: halvesTensor(scales, [2, Math.ceil(cols / group), rows]),
      ...(order ? { order: bytesTensor(new Uint8Array(Uint16Array.from(order).buffer)) } : {}),
    },
  };
}

/** Unpacks a linear. Throws `RangeError` when a tensor does not fit the shape, TypeError when one is missing. */
export function readTernary(q: QuantizedLinear): Ternary {
  const [rows, cols] = q.shape, group = positiveOf(q, "group");
  checkTensors(q, {
    trits: ["U8", packedTritBytes(rows * cols)],
    scales: ["F16", 2, Math.ceil(cols / group), rows],
    ...(q.tensors.order || q.config.ordered === true ? { order: ["U8", 2 * cols] } : {}),
  });
  const scales = halvesOf(q, "scales");
  const trits = unpackTrits(bytesOf(q, "trits"), rows * cols);
  const order = q.tensors.order && Int32Array.from(new Uint16Array(bytesOf(q, "order").slice().buffer));
  if (order && new Set(order).size !== cols || order?.some((j) => j >= cols)) {
    throw new RangeError(`Cannot decode "${q.name}": its order is no permutation of ${cols} columns`);
  }
  return { rows, cols, group, trits, scales, order };
}

export const decodeTernary: Decoder = (q): Matrix => {
  const { rows, cols, group, trits, scales, order } = readTernary(q);
  const W = matrix(rows, cols), half = scales.length / 2;
  for (let i = 0, k = 0; i < rows; i++) {
    for (let p = 0; p < cols; p++, k++) {
      const at = Math.floor(p / group) * rows + i;
      W.data[i * cols + (order ? order[p] : p)] = scales[half + at] + scales[at] * (trits[k] - 1);
    }
  }
  return W;
};
