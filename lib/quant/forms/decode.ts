/** Stored layers: decoding them to weights, and counting what they take. */
import type { Matrix } from "../../tensor/matrix.ts";
import { decodeBinary } from "./binary.ts";
import { decodeLevels } from "./levels.ts";
import { decodeAdditive } from "../dense/additive.ts";
import { decodeSigmaDelta } from "../dense/sigma_delta.ts";
import { decodeSubsetSum } from "../dense/subset_sum.ts";
import { decodeTernary } from "../dense/ternary.ts";
import { decodeTwoGroups } from "../dense/two_groups.ts";
import { decodeMixed } from "./mixed.ts";
import type { Decoder, QuantizedLinear } from "../method.ts";
import { decodeUniform } from "./uniform.ts";

/** The decoder of each stored form. */
export const formats: Readonly<Record<QuantizedLinear["format"], Decoder>> = {
  uniform: decodeUniform,
  binary: decodeBinary,
  levels: decodeLevels,
  mixed: decodeMixed,
  "two-groups": decodeTwoGroups,
  ternary: decodeTernary,
  additive: decodeAdditive,
  "sigma-delta": decodeSigmaDelta,
  "subset-sum": decodeSubsetSum,
};

/**
 * The weight `[out, in]` float32 that a stored layer stands for. Throws `TypeError` for an unknown format.
 *
 * @example
 * ```ts
 * import { dequantize, loadModel, rtn } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const W = await model.weight(0, "gate");
 * const Q = dequantize(await rtn({ bits: 2, group: 32 }).quantize({ name: "gate", W }));
 * console.log(Math.max(...W.data.map((w, i) => Math.abs(w - Q.data[i])))); // the largest change of a weight
 * ```
 */
export function dequantize(q: QuantizedLinear): Matrix {
  if (!Object.hasOwn(formats, q.format)) {
    throw new TypeError(
      `Cannot decode "${q.name}": its format is "${q.format}", wanted one of ${Object.keys(formats).join(", ")}`,
    );
  }
  return formats[q.format](q);
}

/**
 * All bits that a stored layer takes: eight times the bytes of its tensors, scales, zero points and maps included.
 *
 * @example
 * ```ts
 * import { loadModel, rtn, storedBits } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const W = await model.weight(0, "gate");
 * const q = await rtn({ bits: 2, group: 32 }).quantize({ name: "gate", W });
 * console.log(storedBits(q) / W.data.length); // bits per weight, with scales and zero points
 * ```
 */
export function storedBits(q: QuantizedLinear): number {
  let bytes = 0;
  for (const tensor of Object.values(q.tensors)) bytes += tensor.bytes.length;
  return 8 * bytes;
}
