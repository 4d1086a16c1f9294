/**
 * The stored form `levels`: per group of columns one uniform code per weight, one fp16 row scale per row, and one fp16 column scale per
 * column of the linear,
 *
 *   w_ij = a_i,b c_j (2 q_ij - (2^K_b - 1)),   q_ij in 0..2^K_b - 1,
 *
 * which is Eq. 3 of Quant-dLLM with planes tied to each other: a^k = 2^k a^0 and one column scale for all. Kernels for uniform codes run it as it is,
 * with c folded into the inputs.
 */
import { packedBytes, unpackBits } from "../../format/bits.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import { blockOrders, groupOf } from "./grouped.ts";
import { bytesOf, halvesOf } from "../tensors.ts";
import type { Decoder } from "../method.ts";
import { rowScalesOf } from "./row_scales.ts";

/**
 * Decodes the stored form `levels`.
 *
 * Tensors: `orders` U8, K_b - 1 in 2 bits per group; `codes` U8, per group `[rows, width]` codes of K_b bits, least significant bit first, each group
 * starting on a byte; `row_scale` F16 `[groups, rows]`, or 8 bits (`row_scales.ts`); `col_scale` F16 `[columns]`. `config.group` is the width of a
 * group; the last one may be narrower.
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
    const own = unpackBits(codes.subarray(byte), order, rows * width);
    for (let i = 0; i < rows; i++) {
      const a = rowScale[b * rows + i], from = i * width, to = i * cols + start;
      for (let j = 0; j < width; j++) out.data[to + j] = a * colScale[start + j] * (2 * own[from + j] - top);
    }
    byte += packedBytes(rows * width, order);
  });
  return out;
};
