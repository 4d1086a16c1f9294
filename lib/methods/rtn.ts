/** Round to nearest on uniform grids: the baseline that looks at nothing but the weights. */
import { fitRows, roundRows } from "../quant/grids.ts";
import { readWeight } from "../quant/linear.ts";
import type { LinearInput, Method, QuantizedLinear } from "../quant/method.ts";
import { storeUniform } from "../quant/forms/uniform.ts";
import { referenceKernels } from "../tensor/kernels.ts";
import { checkUniform, methodName, type UniformOptions } from "./options.ts";

/**
 * A method that rounds each weight of W `[out, in]` to the nearest point of its group's grid (see `quant/grids.ts`). Reads no H.
 *
 * @throws RangeError for bits outside 1 to 8 or a group that is not a positive integer; `quantize` throws TypeError for a wrong shape and
 * RangeError for weights that are not finite.
 *
 * @example
 * ```ts
 * import { loadModel, quantize, rtn, sizeOf } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * for (const bits of [4, 3, 2]) {
 *   const quantized = await quantize(model, rtn({ bits, group: 32 })); // reads no data
 *   console.log(bits, sizeOf(quantized).bitsPerWeight);
 * }
 * ```
 */
export function rtn(options: UniformOptions): Method {
  checkUniform("rtn", options);
  return {
    name: methodName("rtn", options),
    needsHessian: false,
    rowwise: true,
    quantize: (linear) => roundToNearest(linear, options),
  };
}

/** Round to nearest with anything to report, for methods that fall back to it. */
export async function roundToNearest(
  linear: LinearInput,
  options: UniformOptions,
  report: QuantizedLinear["report"] = {},
): Promise<QuantizedLinear> {
  const { bits, symmetric = false, clip = false } = options;
  const { kernels = referenceKernels, signal } = linear;
  const { rows, cols, data: w } = readWeight(linear);
  const group = Math.min(options.group ?? cols, cols);
  const groups = Math.ceil(cols / group);
  const scales = new Float32Array(rows * groups), zeros = new Uint8Array(rows * groups);
  const codes = new Uint8Array(rows * cols);
  const slab = newSlab(Math.min(rows, Math.max(1, Math.floor(SLAB / cols))), { cols, groups });
  for (let start = 0; start < rows; start += slab.rows) {
    signal?.throwIfAborted();
    const count = Math.min(slab.rows, rows - start);
    slab.w.set(w.subarray(start * cols, (start + count) * cols));
    const args = { ...slab, cols, group, bits };
    await kernels.rows(fitRows, count, { ...args, symmetric, clip }, { costPerRow: cols * (clip ? 1000 : 2) });
    await kernels.rows(roundRows, count, args, { costPerRow: 5 * cols });
    codes.set(slab.codes.subarray(0, count * cols), start * cols);
    scales.set(slab.scales.subarray(0, count * groups), start * groups);
    zeros.set(slab.zeros.subarray(0, count * groups), start * groups);
  }
  return storeUniform(linear.name, { rows, cols, bits, group, symmetric, codes, scales, zeros }, report);
}

/** Weights that are quantised together: an embedding is too large to be handed to other threads whole. */
const SLAB = 2 ** 21;

/** Some rows of weights and what becomes of them, in memory that threads share. */
function newSlab(rows: number, { cols, groups }: { readonly cols: number; readonly groups: number }) {
  const shared = (bytes: number) => new SharedArrayBuffer(bytes);
  return {
    rows,
    w: new Float32Array(shared(4 * rows * cols)),
    scales: new Float32Array(shared(4 * rows * groups)),
    zeros: new Uint8Array(shared(rows * groups)),
    codes: new Uint8Array(shared(rows * cols)),
  };
}
