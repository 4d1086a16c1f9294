/**
 * Refinement of a matrix on uniform levels against the original weights in the full damped second moment: coordinate descent over the codes and refits
 * of the scales, block by block. Every step can only lower tr((W - Q) H (W - Q)ᵀ).
 */
import { NumericalError } from "../tensor/errors.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix, matrix64 } from "../tensor/matrix.ts";
import { defineRows } from "../tensor/row_loop.ts";
import { CHUNK, chunks } from "./daq_block.ts";
import type { RefineOptions } from "./daq_refine.ts";
import { decodeBlock, inverse, type LevelBlock, nearestLevel } from "./levels_block.ts";
import { refitStored } from "./levels_refit.ts";

/** A fitted block and where it stands. */
export interface PlacedLevels {
  /** First column. */
  readonly start: number;
  readonly block: LevelBlock;
}

/**
 * Refines the blocks of one linear in place; scales stay what fp16 holds.
 *
 * @param W the original weights `[rows, columns]`
 * @param H the damped second moment `[columns, columns]`, symmetric
 * @returns the loss tr((W - Q) H (W - Q)ᵀ) after the last step
 * @throws NumericalError when a step raises the loss by more than the rounding of its products explains.
 */
export async function refineLevels(
  W: Matrix,
  H: Matrix,
  placed: readonly PlacedLevels[],
  options: RefineOptions,
): Promise<number> {
  const { rounds, sweeps, kernels, signal, onLoss } = options;
  const { rows, cols } = W;
  const D = matrix(rows, cols, W.data.slice());
  for (const { start, block } of placed) subtractBlock(D, await decodeBlock(block, kernels), start);
  let loss = 0;
  for (const { start, block } of placed) {
    const R = (await residual(D, H, start, block.width, kernels)).data;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < block.width; j++) loss += D.data[i * cols + start + j] * R[i * block.width + j];
    }
  }
  onLoss?.(loss);
  for (let round = 0; round < rounds; round++) {
    for (const { start, block } of placed) {
      signal?.throwIfAborted();
      for (const change of await visit(D, H, start, block, sweeps, kernels)) {
        if (!(change <= TOLERANCE * loss)) {
          throw new NumericalError(
            `Cannot refine columns ${start} to ${start + block.width}: the loss rose by ${change} from ${loss}`,
          );
        }
        loss += change;
        onLoss?.(loss);
      }
    }
  }
  return loss;
}

// float32 products leave errors of about 1e-6 of the loss.
const TOLERANCE = 1e-5;

/** Codes, scales and codes again of one block, with D = W - Q kept up to date; returns the change of the loss of each step. */
async function visit(D: Matrix, H: Matrix, start: number, block: LevelBlock, sweeps: number, kernels: Kernels) {
  const { rows, width } = block;
  const size = rows * width;
  const form = square(H, start, width);
  let Q = await decodeBlock(block, kernels);
  // R = D H[:, b], minus half the gradient of the loss in Q_b.
  const R = (await residual(D, H, start, width, kernels)).data;
  const changes: number[] = [];

  /** Takes the block as it stands now, if it lowers the loss or must be taken; the change is measured afresh, not added up from its steps. */
  const take = async (always: boolean) => {
    const next = await decodeBlock(block, kernels);
    const step = matrix(rows, width);
    for (let p = 0; p < size; p++) step.data[p] = next.data[p] - Q.data[p];
    const image = (await kernels.gemm(step, form)).data;
    let change = 0;
    for (let p = 0; p < size; p++) change += step.data[p] * (image[p] - 2 * R[p]);
    if (!always && !(change < 0)) return false;
    changes.push(change);
    for (let p = 0; p < size; p++) R[p] -= image[p];
    subtractBlock(D, step, start);
    Q = next;
    return true;
  };
  const descend = async () => {
    const args = { ...block, form: form.data, R, sweeps };
    await kernels.rows(descendLoop, chunks(rows), args, { costPerRow: 10 * CHUNK * width * sweeps });
    await take(true);
  };

  await descend();
  // Towards T = Q + R H_bb⁻¹, the best dense block: T H_bb = Q H_bb + R.
  const TG = (await kernels.gemm(Q, form)).data;
  for (let p = 0; p < size; p++) TG[p] += R[p];
  const held = { row: block.rowScale.slice(), col: block.colScale.slice() };
  await refitStored(block, { G: matrix64(width, width, Float64Array.from(form.data)), TG }, kernels);
  if (await take(false)) await descend();
  else {
    // Near the optimum the rounding of the scales can cost more than the refit gains.
    block.rowScale.set(held.row);
    block.colScale.set(held.col);
  }
  return changes;
}

/** Coordinate descent over the codes of each row: the best value of entry j is q_j + R_j / H_jj; take the nearest level, keep R up to date. */
const descendLoop = defineRows({
  name: "levels.descend",
  module: import.meta.url,
  writes: ["codes"],
  run: (args: LevelBlock & { form: Float32Array; R: Float32Array; sweeps: number }, start, end) => {
    const { rows, width, order, codes, rowScale, colScale, form, R, sweeps } = args;
    const top = 2 ** order - 1, g = new Float64Array(width), inverses = colScale.map(inverse);
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      const at = i * width, a = rowScale[i], perA = inverse(a);
      for (let j = 0; j < width; j++) g[j] = R[at + j];
      for (let sweep = 0; sweep < sweeps; sweep++) {
        let moved = false;
        for (let j = 0; j < width; j++) {
          const old = codes[at + j];
          const best = 2 * old - top + g[j] / form[j * width + j] * perA * inverses[j];
          const code = nearestLevel(best, top);
          if (code === old) continue;
          moved = true;
          codes[at + j] = code;
          const step = 2 * (code - old) * a * colScale[j];
          for (let p = 0, h = j * width; p < width; p++, h++) g[p] -= step * form[h];
        }
        if (!moved) break;
      }
    }
  },
});

/** D H[:, b]; H is symmetric, so its rows serve as columns. */
function residual(D: Matrix, H: Matrix, start: number, width: number, kernels: Kernels): Promise<Matrix> {
  const slice = matrix(width, H.cols, H.data.subarray(start * H.cols, (start + width) * H.cols));
  return kernels.gemm(D, slice, { transB: true });
}

function square(H: Matrix, start: number, width: number): Matrix {
  const out = matrix(width, width);
  for (let j = 0; j < width; j++) {
    const at = (start + j) * H.cols + start;
    out.data.set(H.data.subarray(at, at + width), j * width);
  }
  return out;
}

function subtractBlock(to: Matrix, block: Matrix, start: number): void {
  for (let i = 0; i < block.rows; i++) {
    const at = i * to.cols + start;
    for (let j = 0; j < block.cols; j++) to.data[at + j] -= block.data[i * block.cols + j];
  }
}
