/** Factors of the columns of the form `uniform`, and factors of its rows, which its scales take in. */
import type { QuantizedLinear } from "../method.ts";
import { halvesOf } from "../tensors.ts";
import { readUniform, storeUniform } from "./uniform.ts";

/** The factors of the columns `[in]`, where a linear stores some. */
export function inScaleOf(q: QuantizedLinear): Float32Array | undefined {
  return q.format === "uniform" && q.tensors.in_scale ? halvesOf(q, "in_scale") : undefined;
}

/** The same codes, for inputs that are divided by the factors already: it stands for W diag(in_scale). */
export function withoutInScale(q: QuantizedLinear): QuantizedLinear {
  const { in_scale: _, ...tensors } = q.tensors, { scaled: __, ...config } = q.config;
  return { ...q, config, tensors };
}

/**
 * Row i divided by `by[i]`: its scales are, in fp16. Undefined for other forms. Throws `RangeError` where a scale is then beyond fp16.
 *
 * @param by `[out]`
 */
export function foldRows(q: QuantizedLinear, by: Float32Array): QuantizedLinear | undefined {
  if (q.format !== "uniform") return undefined;
  const layer = readUniform(q), groups = layer.scales.length / layer.rows;
  const scales = layer.scales.map((s, k) => s / by[Math.floor(k / groups)]);
  return storeUniform(q.name, { ...layer, scales }, q.report);
}
