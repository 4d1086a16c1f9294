/** The door of every method: reads the layer it is given and refuses what cannot be quantised. */
import { asMatrix, asMatrix64, type Matrix, type Matrix64 } from "../tensor/matrix.ts";
import type { LinearInput } from "./method.ts";

/** W `[out, in]` of a layer. Throws `TypeError` for a wrong shape and `RangeError` when a weight is not finite. */
export function readWeight({ name, W }: LinearInput): Matrix {
  const weight = asMatrix(W, `W of "${name}"`);
  if (weight.rows === 0 || weight.cols === 0) {
    throw new TypeError(`Cannot quantize "${name}": W is ${weight.rows} x ${weight.cols}, wanted at least one weight`);
  }
  const bad = firstNotFinite(weight.data);
  if (bad >= 0) {
    const row = Math.floor(bad / weight.cols), col = bad % weight.cols;
    throw new RangeError(
      `Cannot quantize "${name}": weight (${row}, ${col}) is ${weight.data[bad]}, wanted finite numbers`,
    );
  }
  return weight;
}

/** H `[in, in]` of a layer whose W has `cols` columns; not copied when it is a float array. Throws `TypeError` when it is missing or does not fit. */
export function readHessian({ name, H }: LinearInput, cols: number): Matrix | Matrix64 {
  if (H === undefined) {
    throw new TypeError(`Cannot quantize "${name}": this method wants H, the second moment of the inputs`);
  }
  const what = `H of "${name}"`;
  const hessian = H.data instanceof Float32Array ? asMatrix(H, what) : asMatrix64(H, what);
  if (hessian.rows !== cols || hessian.cols !== cols) {
    throw new TypeError(`Cannot quantize "${name}": H is ${hessian.rows} x ${hessian.cols} but W has ${cols} columns`);
  }
  return hessian;
}

/**
 * W and H without dead inputs: where H_jj = 0 no token ever used column j, so its weights become zero and H_jj one. What is given is left alone, and
 * given back where no input is dead: a copy of H would be the largest matrix of a wide linear.
 */
export function aliveInputs<M extends Matrix | Matrix64>(W: Matrix, H: M): { W: Matrix; H: M; dead: number } {
  const n = W.cols;
  const deadInputs: number[] = [];
  for (let j = 0; j < n; j++) if (H.data[j * n + j] === 0) deadInputs.push(j);
  if (deadInputs.length === 0) return { W, H, dead: 0 };
  const weight = { ...W, data: W.data.slice() }, hessian = { ...H, data: H.data.slice() };
  for (const j of deadInputs) {
    hessian.data[j * n + j] = 1;
    for (let i = 0; i < W.rows; i++) weight.data[i * n + j] = 0;
  }
  return { W: weight, H: hessian, dead: deadInputs.length };
}

/** The index of the first number that is NaN or infinite, or -1. A loop: a callback per weight would show in the time of a large layer. */
function firstNotFinite(data: Float32Array): number {
  for (let k = 0; k < data.length; k++) if (!Number.isFinite(data[k])) return k;
  return -1;
}
