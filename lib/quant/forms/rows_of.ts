/** A few rows of a stored matrix, still in stored form: how one row of a packed embedding is read without decoding the rest. */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { concat } from "../../tensor/concat.ts";
import type { QuantizedLinear, StoredTensor } from "../method.ts";
import { blockOrders, groupOf } from "./grouped.ts";
import { bytesOf, bytesTensor } from "../tensors.ts";
import { readMixed, storeMixed } from "./mixed.ts";
import { rowScaleBits } from "./row_scales.ts";

/**
 * Rows [from, to) of a stored matrix, which decode to those rows of it. Bytes are copied only where rows do not begin or end on one.
 *
 * @throws RangeError for rows that it does not have, TypeError when a tensor is missing.
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
  const cut = Object.hasOwn(cuts, q.format) ? cuts[q.format] : undefined;
  if (!cut) throw new TypeError(`Cannot take rows of "${q.name}": its format "${q.format}" is for linears of blocks`);
  return { ...q, shape: [to - from, cols], tensors: { ...q.tensors, ...cut(q, from, to) } };
}

/** By form. */
const cuts: Readonly<Partial<Record<QuantizedLinear["format"], typeof uniformRows>>> = {
  uniform: uniformRows,
  binary: blockRows,
  levels: blockRows,
  mixed: mixedRows,
};

function mixedRows(q: QuantizedLinear, from: number, to: number): Record<string, StoredTensor> {
  const groups = readMixed(q).map((g) => ({
    ...g,
    codes: g.codes.subarray(from * g.width, to * g.width),
    scales: g.scales.subarray(from, to),
    zeros: g.zeros.subarray(from, to),
    ...(g.means ? { means: g.means.subarray(from, to) } : {}),
  }));
  return storeMixed(q.name, { rows: to - from, cols: q.shape[1], group: groupOf(q), groups }, {}).tensors;
}

/** A group map is of columns, so that it stays as it is. */
function uniformRows(q: QuantizedLinear, from: number, to: number): Record<string, StoredTensor> {
  const cols = q.shape[1], bits = Number(q.config.bits), groups = Math.ceil(cols / groupOf(q));
  const scales = bytesOf(q, "scales").subarray(2 * from * groups, 2 * to * groups);
  const tensors: Record<string, StoredTensor> = {
    codes: bytesTensor(codesOf(bytesOf(q, "codes"), bits, from * cols, to * cols)),
    scales: { dtype: "F16", shape: [to - from, groups], bytes: scales },
  };
  if (q.tensors.zeros) tensors.zeros = bytesTensor(codesOf(q.tensors.zeros.bytes, bits, from * groups, to * groups));
  return tensors;
}

/** Column scales, orders and ranges of row scales stay as they are. */
function blockRows(q: QuantizedLinear, from: number, to: number): Record<string, StoredTensor> {
  const [rows, cols] = q.shape, group = groupOf(q);
  const codes = bytesOf(q, "codes"), scales = bytesOf(q, "row_scale");
  let at = 0;
  const parts = blockOrders(q).map((order, b) => {
    const width = Math.min(group, cols - b * group), start = at;
    at += packedBytes(rows * width, order);
    return codesOf(codes.subarray(start, at), order, from * width, to * width);
  });
  const size = rowScaleBits(q) / 8, planes = scales.length / (rows * size);
  const ofPlane = (p: number) => scales.subarray((p * rows + from) * size, (p * rows + to) * size);
  return {
    codes: bytesTensor(concat(parts, Uint8Array)),
    row_scale: {
      dtype: q.tensors.row_scale.dtype,
      shape: [planes, to - from],
      bytes: concat(Array.from({ length: planes }, (_, p) => ofPlane(p)), Uint8Array),
    },
  };
}

/** Codes from..to - 1 of a stream, as a stream of their own. */
function codesOf(stream: Uint8Array, bits: number, from: number, to: number): Uint8Array {
  if (from * bits % 8 === 0 && to * bits % 8 === 0) return stream.subarray(from * bits / 8, to * bits / 8);
  const start = from - from % 8; // the last code before them that begins a byte, whatever the bits
  return packBits(unpackBits(stream.subarray(start * bits / 8), bits, to - start).subarray(from - start), bits);
}
