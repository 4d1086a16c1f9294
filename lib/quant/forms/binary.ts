/** The stored form `binary`: per group of columns, K sign planes, fp16 row scales and fp16 column scales (Eq. 3 of Quant-dLLM). */
import { packedBytes, unpackBits } from "../../format/bits.ts";
import { type Matrix, matrix } from "../../tensor/matrix.ts";
import { blockOrders, groupOf } from "./grouped.ts";
import { bytesOf, halvesOf } from "../tensors.ts";
import type { Decoder } from "../method.ts";
import { rowScalesOf } from "./row_scales.ts";

export { blockOrders } from "./grouped.ts";

/**
 * Decodes the stored form `binary`.
 *
 * Tensors: `orders` U8, K_b - 1 in 2 bits per group; `codes` U8, per group `[rows, width]` codes of K_b bits (bit k set where B_k = +1), least
 * significant bit first, each group starting on a byte; `row_scale` F16 `[sum K_b, rows]`, or 8 bits (`row_scales.ts`); `col_scale` F16
 * `[sum K_b · width_b]`, planes of a group one after another. `config.group` is the width of a group; the last one may be narrower.
 *
 * @throws RangeError when a tensor is shorter than the shape asks for; TypeError when one is missing.
 */
export const decodeBinary: Decoder = (q): Matrix => {
  const [rows, cols] = q.shape;
  const group = groupOf(q);
  const orders = blockOrders(q);
  const codes = bytesOf(q, "codes");
  const rowScale = rowScalesOf(q), colScale = halvesOf(q, "col_scale");
  const out = matrix(rows, cols);
  let byte = 0, row = 0, column = 0;
  orders.forEach((order, b) => {
    const start = b * group;
    const width = Math.min(group, cols - start);
    if (row + order * rows > rowScale.length || column + order * width > colScale.length) {
      throw new RangeError(`Cannot decode "${q.name}": its scales end before group ${b} of ${orders.length}`);
    }
    const signs = unpackBits(codes.subarray(byte), order, rows * width);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < width; j++) {
        const code = signs[i * width + j];
        let sum = 0;
        for (let k = 0; k < order; k++) {
          const value = rowScale[row + k * rows + i] * colScale[column + k * width + j];
          sum += (code >> k) & 1 ? value : -value;
        }
        out.data[i * cols + start + j] = sum;
      }
    }
    byte += packedBytes(rows * width, order);
    row += order * rows;
    column += order * width;
  });
  return out;
};
