/**
 * One factor for all linears that share a second moment: q, k and v of a block, or gate and up, differ in their weights only. The factor of 4096 inputs
 * takes about as long as choosing the codes of a linear, so that whoever holds the second moment keeps its factor for the next linear.
 */
import type { Kernels } from "../tensor/kernels.ts";
import { type UpperFactor, upperFactor } from "../tensor/linalg.ts";
import { type Matrix, matrix, type Matrix64 } from "../tensor/matrix.ts";

export interface FactorOptions {
  readonly damping: number;
  /** Columns in the order in which they are quantised, the given one by default; called when there is no factor to share. */
  readonly reorder?: { readonly name: string; readonly apply: (H: Matrix | Matrix64) => Matrix | Matrix64 };
  readonly kernels: Kernels;
  readonly signal?: AbortSignal;
}

/** The memory of one factor: made by whoever holds a second moment, handed to every linear that shares it, let go with it. */
export interface Factors {
  /**
   * U with (H + damping · mean(diag H) · I)⁻¹ = UᵀU, to be read only: the one that is held, where damping and order of columns are those that it was
   * made with. Another second moment is told by its diagonal.
   *
   * @param H `[n, n]` without dead inputs (`aliveInputs`)
   * @throws NumericalError as `upperFactor`
   */
  of(H: Matrix | Matrix64, options: FactorOptions): Promise<UpperFactor>;
}

/** A memory with nothing in it yet. */
export function newFactors(): Factors {
  let held: { readonly key: string; readonly diagonal: Float64Array; readonly factor: UpperFactor } | undefined;
  return {
    of: async (H, { damping, reorder, kernels, signal }) => {
      const key = `${damping} ${reorder?.name ?? ""}`;
      const diagonal = Float64Array.from({ length: H.rows }, (_, j) => H.data[j * H.rows + j]);
      const sameDiagonal = held?.diagonal.length === H.rows && held.diagonal.every((v, j) => v === diagonal[j]);
      if (held?.key === key && sameDiagonal) return held.factor;
      // Let go before the next one is made: two factors of a wide linear would be gigabytes.
      held = undefined;
      const factor = await upperFactor(reorder ? reorder.apply(H) : H, { damping, kernels, signal });
      held = { key, diagonal, factor };
      return factor;
    },
  };
}

/** H + damping · mean(diag H) · I in float32 `[n, n]`, for large products. */
export function dampened(H: Matrix | Matrix64, damping: number): Matrix {
  const n = H.rows;
  let mean = 0;
  for (let j = 0; j < n; j++) mean += H.data[j * n + j] / n;
  const out = matrix(n, n, new Float32Array(H.data));
  for (let j = 0; j < n; j++) out.data[j * n + j] = H.data[j * n + j] + damping * mean;
  return out;
}
