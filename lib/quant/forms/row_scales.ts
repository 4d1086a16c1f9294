/**
 * Row scales of the stored forms with groups of columns: as fp16, or in 8 bits with one fp16 pair per group and plane. At two bits and groups of 128 the row
 * scales are most of what is stored beside the codes, and 8 bits for each are enough.
 *
 * Eight bits hold the signed root t of a scale, a = t·|t|, on a linear grid: t = t0 + (t1 - t0) · code / 255. Steps are finer for small scales than on
 * a linear grid of the scales themselves, which rows of very different size need, and decoding takes no function that machines disagree on, as an
 * exponential would.
 */
import { roundToHalf } from "../../tensor/half.ts";
import { roundHalfEven } from "../../tensor/rounding.ts";
import { bytesOf, halvesOf, halvesTensor } from "../tensors.ts";
import type { Method, QuantizedLinear, StoredTensor } from "../method.ts";

const STEPS = 255;

/**
 * The row scales of a linear of the form `binary` or `levels`, `[planes, rows]` float32, whatever they are stored in: F16 `row_scale`, or U8
 * `row_scale` with F16 `row_range` `[planes, 2]` of t0 and t1.
 *
 * @throws TypeError when a tensor is missing, RangeError when `row_range` does not fit.
 */
export function rowScalesOf(q: QuantizedLinear): Float32Array {
  if (!storesRowScales8(q)) return halvesOf(q, "row_scale");
  const codes = bytesOf(q, "row_scale"), range = halvesOf(q, "row_range");
  const rows = q.shape[0], planes = Math.ceil(codes.length / rows);
  if (range.length !== 2 * planes) {
    throw new RangeError(
      `Cannot decode "${q.name}": row_range has ${range.length} numbers, wanted ${2 * planes} for ${planes} planes`,
    );
  }
  const out = new Float32Array(codes.length), table = new Float32Array(STEPS + 1);
  for (let p = 0; p < planes; p++) {
    for (let code = 0; code <= STEPS; code++) table[code] = scaleAt(code, range[2 * p], range[2 * p + 1]);
    for (let at = p * rows; at < Math.min((p + 1) * rows, codes.length); at++) out[at] = table[codes[at]];
  }
  return out;
}

/** Bits of a stored row scale: 8 or 16. */
export function rowScaleBits(q: QuantizedLinear): 8 | 16 {
  return storesRowScales8(q) ? 8 : 16;
}

/**
 * The same linear with its row scales in 8 bits: 2.13 instead of 2.26 bits per weight for two planes in groups of 128. Codes and column scales stay as
 * they are. A linear that has 8-bit row scales already is returned as it is.
 *
 * @throws RangeError for other numbers of bits; TypeError for stored forms without row scales per group.
 */
export function withRowScaleBits(q: QuantizedLinear, bits: 8): QuantizedLinear {
  if (bits !== 8) throw new RangeError(`Cannot store the row scales of "${q.name}" in ${bits} bits: wanted 8`);
  if (q.format !== "binary" && q.format !== "levels") {
    throw new TypeError(
      `Cannot store the row scales of "${q.name}" in 8 bits: its format is "${q.format}", wanted binary or levels`,
    );
  }
  if (storesRowScales8(q)) return q;
  const scales = rowScalesOf(q);
  return {
    ...q,
    config: { ...q.config, rowScaleBits: 8 },
    tensors: { ...q.tensors, ...storeRowScales8(scales, q.shape[0]) },
  };
}

/**
 * A method whose linears have their row scales in 8 bits; `-rows8` is added to its name, before what it excepts (`except.ts`).
 *
 * @example
 * ```ts
 * import { daq, scaled8 } from "quant-dllm";
 *
 * // Row scales in one byte pay for groups of half the width: two methods of about the same size.
 * const methods = [daq({ bits: 2, group: 128 }), scaled8(daq({ bits: 2, group: 64 }))];
 * ```
 */
export function scaled8<M extends Method>(method: M): M {
  const { across, typical } = method;
  return {
    ...method,
    name: method.name.replace(/(?=\+|$)/, "-rows8"),
    quantize: async (linear) => withRowScaleBits(await method.quantize(linear), 8),
    across: across && { score: across.score, bind: (scores) => scaled8(across.bind(scores)) },
    typical: typical && scaled8(typical),
  };
}

function storesRowScales8(q: QuantizedLinear): boolean {
  return q.config.rowScaleBits === 8;
}

/** The tensors that hold row scales `[planes, rows]` as those of `q` are held: F16 `row_scale`, or U8 `row_scale` with its `row_range`. */
export function rowScaleTensors(q: QuantizedLinear, scales: Float32Array): Record<string, StoredTensor> {
  if (storesRowScales8(q)) return storeRowScales8(scales, q.shape[0]);
  return { row_scale: halvesTensor(scales, q.tensors.row_scale.shape) };
}

function scaleAt(code: number, t0: number, t1: number): number {
  const t = t0 + (t1 - t0) * code / STEPS;
  return t * Math.abs(t);
}

function storeRowScales8(scales: Float32Array, rows: number): Record<string, StoredTensor> {
  const planes = scales.length / rows;
  const codes = new Uint8Array(scales.length), range = new Float16Array(2 * planes);
  const root = (a: number) => Math.sign(a) * Math.sqrt(Math.abs(a));
  for (let p = 0; p < planes; p++) {
    const plane = scales.subarray(p * rows, (p + 1) * rows);
    let low = Infinity, high = -Infinity;
    for (const a of plane) {
      low = Math.min(low, a);
      high = Math.max(high, a);
    }
    const t0 = roundToHalf(root(low)), t1 = roundToHalf(root(high));
    range.set([t0, t1], 2 * p);
    const perStep = t1 > t0 ? STEPS / (t1 - t0) : 0;
    for (let i = 0; i < rows; i++) {
      const code = roundHalfEven((root(plane[i]) - t0) * perStep);
      codes[p * rows + i] = Math.min(STEPS, Math.max(0, code));
    }
  }
  return {
    row_scale: { dtype: "U8", shape: [planes, rows], bytes: codes },
    row_range: { dtype: "F16", shape: [planes, 2], bytes: new Uint8Array(range.buffer) },
  };
}
