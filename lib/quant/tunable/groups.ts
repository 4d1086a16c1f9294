/**
 * The stored forms `binary` and `levels` in motion. Both are w_ij = Σ_k u_k(q_ij) a_ik c_jk over the planes of a group, with u_k = ±1 for bit k of a code
 * of the form `binary`, and one plane with u = 2 q - (2^K - 1) for `levels`. So
 *
 *   dL/da_ik = Σ_j G_ij u_k(q_ij) c_jk,   dL/dc_jk = Σ_i G_ij u_k(q_ij) a_ik.
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { concat } from "../../tensor/concat.ts";
import type { QuantizedLinear } from "../method.ts";
import { blockOrders, groupOf } from "../forms/grouped.ts";
import { bytesOf, bytesTensor, halvesOf, halvesTensor } from "../tensors.ts";
import { rowScalesOf, rowScaleTensors } from "../forms/row_scales.ts";
import { addGradients, decode, follow, followLevels, type Group } from "./group_loops.ts";
import type { Scales, Tunable } from "./tunable.ts";

export function tunableGroups(given: QuantizedLinear): Tunable {
  let q = given;
  const [rows, cols] = q.shape, groups = groupsOf(q);
  const scales = { row_scale: rowScalesOf(q), col_scale: halvesOf(q, "col_scale") };
  let a: Float32Array = scales.row_scale.slice(), c: Float32Array = scales.col_scale.slice(), moved = false;

  return {
    scales,
    settle(W, moving) {
      // What did not move stays as it is: 8-bit scales that are stored again need not keep their range.
      if (!same(scales.row_scale, a) || !same(scales.col_scale, c)) {
        q = { ...q, tensors: { ...q.tensors, ...scaleTensors(q, scales) } };
        a = rowScalesOf(q);
        c = halvesOf(q, "col_scale");
      }
      let changed = 0;
      for (const group of groups) {
        const settled = { W, a, c, rows, cols };
        if (!moving) decode(group, settled);
        else if (group.planes === 1) changed += followLevels(group, { ...settled, ...moving });
        else {
          changed += follow(group, { ...settled, ...moving });
          decode(group, settled);
        }
      }
      moved ||= changed > 0;
      return changed;
    },
    gradients(G, into) {
      for (const group of groups) addGradients(group, { G, a, c, rows, cols, into });
    },
    halfCell() {
      let sum = 0;
      for (const { width, planes, row, column } of groups) {
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j < width; j++) {
            let least = Infinity;
            for (let k = 0; k < planes; k++) {
              least = Math.min(least, Math.abs(a[row + k * rows + i] * c[column + k * width + j]));
            }
            sum += least;
          }
        }
      }
      return sum / (rows * cols);
    },
    stored() {
      if (moved) {
        const codes = groups.map((group) => packBits(group.codes, group.order));
        q = { ...q, tensors: { ...q.tensors, codes: bytesTensor(concat(codes, Uint8Array)) } };
        moved = false;
      }
      return q;
    },
  };
}

function groupsOf(q: QuantizedLinear): Group[] {
  const [rows, cols] = q.shape, size = groupOf(q), codes = bytesOf(q, "codes");
  let byte = 0, row = 0, column = 0;
  return blockOrders(q).map((order, b): Group => {
    const start = b * size, width = Math.min(size, cols - start);
    const planes = q.format === "binary" ? order : 1;
    const units = Float64Array.from({ length: planes << order }, (_, at) => {
      const code = Math.floor(at / planes);
      return q.format === "binary" ? 2 * ((code >> (at % planes)) & 1) - 1 : 2 * code - (2 ** order - 1);
    });
    const own = unpackBits(codes.subarray(byte), order, rows * width);
    const group = { start, width, order, planes, units, codes: own, row, column };
    byte += packedBytes(rows * width, order);
    row += planes * rows;
    column += planes * width;
    return group;
  });
}

const same = (x: Float32Array, y: Float32Array): boolean => x.every((value, i) => value === y[i]);

function scaleTensors(q: QuantizedLinear, { row_scale, col_scale }: Scales): QuantizedLinear["tensors"] {
  for (const [name, values] of Object.entries({ row_scale, col_scale })) {
    const wrong = values.find((x) => !(Math.abs(x) < 65520)); // what fp16 rounds to a number
    if (wrong !== undefined) {
      throw new RangeError(`Cannot store ${name} of "${q.name}": ${wrong} is no number of fp16; lower the rate`);
    }
  }
  return { ...rowScaleTensors(q, row_scale), col_scale: halvesTensor(col_scale, q.tensors.col_scale.shape) };
}
