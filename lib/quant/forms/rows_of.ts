/** A few rows of a stored matrix, still in stored form: how one row of a packed embedding is read without decoding the rest. */
import type { QuantizedLinear, StoredTensor } from "../method.ts";

/**
 * Rows [from, to) of a matrix in the form `uniform` with groups along its rows.
 *
 * @throws TypeError for another form, or when rows do not begin on a byte.
 */
export function rowsOf(
  q: QuantizedLinear,
  { from, to }: { readonly from: number; readonly to: number },
): QuantizedLinear {
  const [rows, cols] = q.shape;
  if (!(from >= 0 && from <= to && to <= rows)) {
    throw new RangeError(`Cannot take rows ${from} to ${to} of "${q.name}": it has ${rows}`);
  }
  if (from === 0 && to === rows) return q;
  const tensors: Record<string, StoredTensor> = {};
  for (const [name, tensor] of Object.entries(q.tensors)) {
    const bytesPerRow = tensor.bytes.length / rows;
    if (q.format !== "uniform" || q.tensors.g_idx || !Number.isInteger(bytesPerRow)) {
      throw new TypeError(
        `Cannot take rows of "${q.name}": its form is "${q.format}" with ${bytesPerRow} bytes of ${name} per row, ` +
          `wanted "uniform" with rows of whole bytes; quantise it with rtn and a group whose zero points fill bytes, or keep it in 16 bits`,
      );
    }
    const shape = tensor.shape.length > 1 ? [to - from, ...tensor.shape.slice(1)] : [(to - from) * bytesPerRow];
    tensors[name] = { ...tensor, shape, bytes: tensor.bytes.subarray(from * bytesPerRow, to * bytesPerRow) };
  }
  return { ...q, shape: [to - from, cols], tensors };
}
