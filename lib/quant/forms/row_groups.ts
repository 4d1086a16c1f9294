/** A linear whose groups of rows, equal runs of them, are quantised each on a second moment of its own, and stored as one. */
import { packBits } from "../../format/bits.ts";
import { concat } from "../../tensor/concat.ts";
import { asMatrix, type Matrix, matrix } from "../../tensor/matrix.ts";
import type { LinearInput, Method, QuantizedLinear } from "../method.ts";
import { readUniform } from "./uniform.ts";

/** Rows of group k of `groups`, which share memory with W. Throws `RangeError` when the rows do not divide. */
export function rowGroup(W: Matrix, k: number, groups: number): Matrix {
  const rows = W.rows / groups, size = rows * W.cols;
  if (!Number.isInteger(rows)) {
    throw new RangeError(`Cannot cut ${W.rows} rows into ${groups} equal groups: choose a divisor of their number`);
  }
  return matrix(rows, W.cols, W.data.subarray(k * size, (k + 1) * size));
}

/** Quantises group k of the rows on moments[k]. */
export async function quantizeRowGroups(
  method: Method,
  linear: LinearInput,
  moments: readonly Matrix[],
): Promise<QuantizedLinear> {
  const W = asMatrix(linear.W), parts: QuantizedLinear[] = [];
  for (const [k, H] of moments.entries()) {
    // No factor is kept: no other linear shares this H.
    const own = { ...linear, W: rowGroup(W, k, moments.length), H, factors: undefined };
    parts.push(await method.quantize(own));
  }
  return joinRows(parts);
}

/**
 * Stored matrices one below the other as one, which decodes to their rows. What they report is kept of each, under `rows.0.` and so on.
 *
 * @throws TypeError unless all are uniform grids of one kind without a map of columns: other forms store what rows share.
 */
export function joinRows(parts: readonly QuantizedLinear[]): QuantizedLinear {
  const [first] = parts, { name, format, config, shape: [, cols] } = first;
  for (const q of parts) {
    const alike = q.format === format && q.shape[1] === cols && JSON.stringify(q.config) === JSON.stringify(config);
    if (q.format !== "uniform" || q.tensors.g_idx || q.tensors.in_scale || !alike) {
      throw new TypeError(
        `Cannot join the rows of "${name}": a part has the form "${q.format}" ${JSON.stringify(q.config)}; ` +
          "wanted uniform grids of one kind, their groups of neighbouring columns",
      );
    }
  }
  const rows = parts.reduce((sum, { shape }) => sum + shape[0], 0), bits = Number(config.bits);
  const layers = parts.map(readUniform);
  const stream = (codes: readonly Uint8Array[]) => {
    const bytes = packBits(concat(codes, Uint8Array), bits);
    return { dtype: "U8", shape: [bytes.length], bytes } as const;
  };
  const scales = concat(parts.map(({ tensors }) => tensors.scales.bytes), Uint8Array);
  return {
    name,
    format,
    shape: [rows, cols],
    config,
    tensors: {
      codes: stream(layers.map(({ codes }) => codes)),
      scales: { dtype: "F16", shape: [rows, first.tensors.scales.shape[1]], bytes: scales },
      ...layers[0].symmetric ? {} : { zeros: stream(layers.map(({ zeros }) => zeros)) },
    },
    report: Object.fromEntries(
      parts.flatMap(({ report }, k) => Object.entries(report).map(([key, value]) => [`rows.${k}.${key}`, value])),
    ),
  };
}
