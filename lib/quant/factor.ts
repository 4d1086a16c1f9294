/**
 * One factor for all linears that share a second moment: q, k and v of a block, or gate and up, differ in their weights only. The factor of 4096 inputs
 * takes about as long as choosing the codes of a linear, so that it is kept for the next one.
 */
import type { Kernels } from "../tensor/kernels.ts";
import { type UpperFactor, upperFactor } from "../tensor/linalg.ts";
import { type Matrix, matrix, type Matrix64 } from "../tensor/matrix.ts";
import type { LinearInput } from "./method.ts";

export interface FactorOptions {
  readonly damping: number;
  /** Columns in the order in which they are quantised, the given one by default; called when there is no factor to share. */
  readonly reorder?: { readonly name: string; readonly apply: (H: Matrix | Matrix64) => Matrix | Matrix64 };
  readonly kernels: Kernels;
  readonly signal?: AbortSignal;
}

interface Kept {
  readonly key: string;
  /** The diagonal of H when it was factored. */
  readonly diagonal: Float64Array;
  readonly factor: UpperFactor;
}

/** By the numbers of H as the caller holds them: a factor is let go with its H, or when another one is made. */
const kept = new WeakMap<object, Kept>();
let last: WeakRef<object> | undefined;

/**
 * U with (H + damping · mean(diag H) · I)⁻¹ = UᵀU, to be read only: the same one for every linear whose `H.data` is the same array. An array that got
 * another second moment written over it is told by its diagonal.
 *
 * @param H what `aliveInputs` makes of `linear.H`
 * @throws NumericalError as `upperFactor`
 */
export async function sharedFactor(
  linear: LinearInput,
  H: Matrix | Matrix64,
  { damping, reorder, kernels, signal }: FactorOptions,
): Promise<UpperFactor> {
  const data = linear.H!.data, key = `${damping} ${reorder?.name ?? ""}`;
  const diagonal = Float64Array.from({ length: H.rows }, (_, j) => H.data[j * H.rows + j]);
  const found = kept.get(data);
  if (found?.key === key && found.diagonal.every((value, j) => value === diagonal[j])) return found.factor;
  const previous = last?.deref();
  // Let go before the next one is made: two factors of a wide linear would be gigabytes.
  if (previous) kept.delete(previous);
  const factor = await upperFactor(reorder ? reorder.apply(H) : H, { damping, kernels, signal });
  last = new WeakRef(data);
  kept.set(data, { key, diagonal, factor });
  return factor;
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
