/**
 * The stored forms `binary` and `levels` in motion. Both are w_ij = Σ_k u_k(q_ij) a_ik c_jk over the planes of a group, with u_k = ±1 for bit k of a code
 * of the form `binary`, and one plane with u = 2 q - (2^K - 1) for `levels`. So
 *
 *   dL/da_ik = Σ_j G_ij u_k(q_ij) c_jk,   dL/dc_jk = Σ_i G_ij u_k(q_ij) a_ik.
 */
import { packBits, packedBytes, unpackBits } from "../../format/bits.ts";
import { concat } from "../../tensor/concat.ts";
import type { QuantizedLinear } from "../method.ts";
import { blockOrders, bytesOf, bytesTensor, groupOf, halvesOf, halvesTensor } from "./grouped.ts";
import { rowScalesOf, rowScaleTensors } from "./row_scales.ts";
import type { Latents, Scales, Tunable } from "./tunable.ts";

/** A group of columns: where it lies, its codes, and where its scales begin. */
interface Group {
  readonly start: number;
  readonly width: number;
  readonly order: number;
  /** Planes with scales of their own. */
  readonly planes: number;
  /** u of each code and plane, `[2^order, planes]`. */
  readonly units: Float64Array;
  /** `[rows, width]`. */
  readonly codes: Uint8Array;
  /** Row scales of plane k begin at row + k · rows, column scales at column + k · width. */
  readonly row: number;
  readonly column: number;
}

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
        if (moving) changed += follow(group, { ...moving, a, c, rows, cols });
        decode(group, { W, a, c, rows, cols });
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

/** The scales of a linear, `[...]` float32, and its shape: what the loops read. */
interface Settled {
  readonly a: Float32Array;
  readonly c: Float32Array;
  readonly rows: number;
  readonly cols: number;
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

function decode(
  { start, width, planes, units, codes, row, column }: Group,
  { W, a, c, rows, cols }: Settled & { readonly W: Float32Array },
): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      const unit = codes[i * width + j] * planes;
      let sum = 0;
      for (let k = 0; k < planes; k++) sum += units[unit + k] * (a[row + k * rows + i] * c[column + k * width + j]);
      W[i * cols + start + j] = sum;
    }
  }
}

/** Moves the codes of a group to the levels nearest to their latents, which are kept in reach; gives how many changed. */
function follow(group: Group, { latents, reach, a, c, rows, cols }: Settled & Latents): number {
  const { start, width, planes, units, codes, row, column } = group;
  const count = units.length / planes;
  let changed = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      const at = i * cols + start + j, old = codes[i * width + j], w = latents[at];
      let low = Infinity, high = -Infinity, best = old, distance = Infinity;
      for (let code = 0; code < count; code++) {
        let level = 0;
        for (let k = 0; k < planes; k++) {
          level += units[code * planes + k] * (a[row + k * rows + i] * c[column + k * width + j]);
        }
        if (level < low) low = level;
        if (level > high) high = level;
        const off = Math.abs(w - level);
        if (off < distance || (off === distance && code === old)) {
          distance = off;
          best = code;
        }
      }
      latents[at] = Math.min(reach * high, Math.max(reach * low, w));
      if (best === old) continue;
      codes[i * width + j] = best;
      changed++;
    }
  }
  return changed;
}

/** Writes the gradients of the scales of a group; no other group shares them. */
function addGradients(
  { start, width, planes, units, codes, row, column }: Group,
  { G, a, c, rows, cols, into }: Settled & { readonly G: Float32Array; readonly into: Scales },
): void {
  const da = into.row_scale, dc = into.col_scale;
  for (let k = 0; k < planes; k++) {
    const columns = new Float64Array(width);
    for (let i = 0; i < rows; i++) {
      const scale = a[row + k * rows + i];
      let sum = 0;
      for (let j = 0; j < width; j++) {
        const g = G[i * cols + start + j] * units[codes[i * width + j] * planes + k];
        sum += g * c[column + k * width + j];
        columns[j] += g * scale;
      }
      da[row + k * rows + i] = sum;
    }
    dc.set(columns, column + k * width);
  }
}
