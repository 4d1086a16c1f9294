/**
 * The stored form `levels`: per column block of `group` inputs one uniform code per weight, one fp16 row scale per row, and one fp16 column scale per
 * column of the linear,
 *
 *   w_ij = a_i,b c_j (2 q_ij - (2^K_b - 1)),   q_ij in 0..2^K_b - 1,
 *
 * which is Eq. 3 of Quant-dLLM with planes tied to each other: a^k = 2^k a^0 and one column scale for all. Kernels for uniform codes run it as it is,
 * with c folded into the inputs.
 */
import { packBits, packedBytes, unpackBits } from "../format/bits.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import {
  blockOrders,
  bytesOf,
  bytesTensor,
  concatBytes,
  groupOf,
  halvesOf,
  halvesTensor,
  storeOrders,
} from "./block_form.ts";
import type { LevelBlock } from "./levels_block.ts";
import type { Decoder, StoredTensor } from "./method.ts";
import { rowScalesOf } from "./row_scales.ts";

/** The tensors of the stored form, from its blocks in column order (all but the last of one width); scales must be numbers that fp16 holds. */
export function encodeLevels(blocks: readonly LevelBlock[]): Record<string, StoredTensor> {
  const { rows } = blocks[0];
  const cols = blocks.reduce((sum, b) => sum + b.width, 0);
  const rowScale = new Float64Array(blocks.length * rows), colScale = new Float64Array(cols);
  blocks.forEach((block, b) => rowScale.set(block.rowScale, b * rows));
  let column = 0;
  for (const { colScale: c, width } of blocks) {
    colScale.set(c, column);
    column += width;
  }
  return {
    codes: bytesTensor(concatBytes(blocks.map((b) => packBits(Uint8Array.from(b.codes), b.order)))),
    row_scale: halvesTensor(rowScale, [blocks.length, rows]),
    col_scale: halvesTensor(colScale, [cols]),
    orders: storeOrders(blocks.map((b) => b.order)),
  };
}

/**
 * Decodes the stored form `levels`.
 *
 * Tensors: `orders` U8, K_b - 1 in 2 bits per block; `codes` U8, per block `[rows, width]` codes of K_b bits, least significant bit first, each block
 * starting on a byte; `row_scale` F16 `[blocks, rows]`, or 8 bits (`row_scales.ts`); `col_scale` F16 `[columns]`. `config.group` is the width of a
 * block; the last one may be narrower.
 *
 * @throws RangeError when a tensor does not fit the shape; TypeError when one is missing.
 */
export const decodeLevels: Decoder = (q): Matrix => {
  const [rows, cols] = q.shape;
  const group = groupOf(q);
  const orders = blockOrders(q);
  const codes = bytesOf(q, "codes");
  const rowScale = rowScalesOf(q), colScale = halvesOf(q, "col_scale");
  if (rowScale.length !== orders.length * rows || colScale.length !== cols) {
    throw new RangeError(
      `Cannot decode "${q.name}": it has ${rowScale.length} row and ${colScale.length} column scales, wanted ` +
        `${orders.length * rows} and ${cols}`,
    );
  }
  const out = matrix(rows, cols);
  let byte = 0;
  orders.forEach((order, b) => {
    const start = b * group, width = Math.min(group, cols - start);
    const top = 2 ** order - 1;
    const block = unpackBits(codes.subarray(byte), order, rows * width);
    for (let i = 0; i < rows; i++) {
      const a = rowScale[b * rows + i], from = i * width, to = i * cols + start;
      for (let j = 0; j < width; j++) out.data[to + j] = a * colScale[start + j] * (2 * block[from + j] - top);
    }
    byte += packedBytes(rows * width, order);
  });
  return out;
};
