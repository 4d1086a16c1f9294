/**
 * Refinement of a whole quantised matrix against the original weights in the full damped second moment: coordinate descent over the codes and refits
 * of the scales, block by block. Every step can only lower tr((W - Q) H (W - Q)ᵀ).
 */
import { NumericalError } from "../../tensor/errors.ts";
import type { Kernels } from "../../tensor/kernels.ts";
import { type Matrix, matrix, matrix64 } from "../../tensor/matrix.ts";
import type { RowLoop } from "../../tensor/row_loop.ts";
import { newScratch, type Scratch } from "../../tensor/scratch.ts";
import { balanceScales, type Block, CHUNK, chunks, roundScales } from "./block.ts";
import type { RefitTarget } from "./refit.ts";

/** What refinement asks of a kind of block: planes, or uniform levels. */
export interface BlockSteps {
  /** The weights `[rows, width]` that the block stands for, written to `out`. */
  decode(block: Block, kernels: Kernels, out: Matrix): Promise<Matrix>;
  /** Coordinate descent over the codes of each row: the best value of entry j is q_j + R_j / H_jj; take the nearest level, keep R up to date. */
  readonly descend: RowLoop<DescendArgs>;
  /** The row scales that minimise the error for the codes and column scales as they stand. */
  refitRows(block: Block, target: RefitTarget, kernels: Kernels, scratch: Scratch): Promise<void>;
  /** The same for the column scales. */
  refitColumns(block: Block, target: RefitTarget, kernels: Kernels, scratch: Scratch): Promise<void>;
}

export type DescendArgs = Block & {
  /** H_bb `[width, width]`. */
  readonly form: Float32Array;
  /** D H[:, b] `[rows, width]`. */
  readonly R: Float32Array;
  readonly sweeps: number;
};

export interface RefineOptions {
  /** Passes over all blocks. */
  readonly rounds: number;
  /** Sweeps of coordinate descent over a block's codes before and after its scales are refit. */
  readonly sweeps: number;
  /** The loss tr((W - Q) H (W - Q)ᵀ) of the blocks as given, where it is known. */
  readonly before?: number;
  readonly kernels: Kernels;
  readonly signal?: AbortSignal;
  readonly scratch?: Scratch;
  /** Told the loss tr((W - Q) H (W - Q)ᵀ) before the first round and after every step of every block. */
  readonly onLoss?: (loss: number) => void;
}

/** A fitted block and where it stands. */
export interface PlacedBlock {
  /** First column. */
  readonly start: number;
  readonly block: Block;
}

/**
 * Refines the blocks of one linear in place; scales stay what fp16 holds.
 *
 * @param W the original weights `[rows, columns]`
 * @param H the damped second moment `[columns, columns]`, symmetric
 * @param steps those of the blocks' kind
 * @returns the loss tr((W - Q) H (W - Q)ᵀ) after the last step
 * @throws NumericalError when a step raises the loss by more than the rounding of its products explains.
 */
export async function refine(
  W: Matrix,
  H: Matrix,
  placed: readonly PlacedBlock[],
  steps: BlockSteps,
  options: RefineOptions,
): Promise<number> {
  const { rounds, sweeps, kernels, signal, scratch = newScratch(), onLoss } = options;
  const { rows, cols } = W;
  const D = matrix(rows, cols, W.data.slice());
  for (const { start, block } of placed) {
    subtractBlock(D, await steps.decode(block, kernels, scratch.float32("decoded", rows, block.width)), start);
  }
  let loss = options.before ?? await lossOf(D, H, placed, kernels, scratch);
  onLoss?.(loss);
  for (let round = 0; round < rounds; round++) {
    for (const { start, block } of placed) {
      signal?.throwIfAborted();
      for (const change of await visit(D, H, start, block, steps, sweeps, kernels, scratch)) {
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

/** tr(D H Dᵀ), a block of columns at a time. */
async function lossOf(
  D: Matrix,
  H: Matrix,
  placed: readonly PlacedBlock[],
  kernels: Kernels,
  scratch: Scratch,
): Promise<number> {
  let loss = 0;
  for (const { start, block: { width } } of placed) {
    const R = (await residual(D, H, start, kernels, scratch.float32("residual", D.rows, width))).data;
    for (let i = 0; i < D.rows; i++) {
      for (let j = 0; j < width; j++) loss += D.data[i * D.cols + start + j] * R[i * width + j];
    }
  }
  return loss;
}

/** Codes, scales and codes again of one block, with D = W - Q kept up to date; returns the change of the loss of each step. */
async function visit(
  D: Matrix,
  H: Matrix,
  start: number,
  block: Block,
  steps: BlockSteps,
  sweeps: number,
  kernels: Kernels,
  scratch: Scratch,
): Promise<number[]> {
  const { rows, width } = block;
  const size = rows * width;
  const buffer = (slot: string) => scratch.float32(slot, rows, width);
  const form = square(H, start, width), step = buffer("step"), image = buffer("image");
  let [Q, next] = [await steps.decode(block, kernels, buffer("decoded")), buffer("next")];
  // R = D H[:, b], minus half the gradient of the loss in Q_b.
  const R = (await residual(D, H, start, kernels, buffer("residual"))).data;
  const changes: number[] = [];

  /** Takes the block as it stands now, if it lowers the loss or must be taken; the change is measured afresh, not added up from its steps. */
  const take = async (always: boolean) => {
    await steps.decode(block, kernels, next);
    subtract(next.data, Q.data, step.data);
    await kernels.gemm(step, form, { out: image });
    const change = changeOf(step.data, image.data, R);
    if (!always && !(change < 0)) return false;
    changes.push(change);
    for (let p = 0, a = image.data; p < size; p++) R[p] -= a[p];
    subtractBlock(D, step, start);
    [Q, next] = [next, Q];
    return true;
  };
  const descend = async () => {
    const args = { ...block, form: form.data, R, sweeps };
    await kernels.rows(steps.descend, chunks(rows), args, { costPerRow: 10 * CHUNK * width * sweeps });
    await take(true);
  };

  await descend();
  // Towards T = Q + R H_bb⁻¹, the best dense block: T H_bb = Q H_bb + R.
  const TG = (await kernels.gemm(Q, form, { out: buffer("target") })).data;
  for (let p = 0; p < size; p++) TG[p] += R[p];
  const held = { row: block.rowScale.slice(), col: block.colScale.slice() };
  await refitStored(block, { G: matrix64(width, width, Float64Array.from(form.data)), TG }, steps, kernels, scratch);
  if (await take(false)) await descend();
  else {
    // Near the optimum the rounding of the scales can cost more than the refit gains.
    block.rowScale.set(held.row);
    block.colScale.set(held.col);
  }
  return changes;
}

/** Row and column scales once each, ending on scales that fp16 holds: the rows are fitted last, to column scales that are rounded already. */
async function refitStored(
  block: Block,
  target: RefitTarget,
  { refitRows, refitColumns }: BlockSteps,
  kernels: Kernels,
  scratch: Scratch,
): Promise<void> {
  await refitRows(block, target, kernels, scratch);
  await refitColumns(block, target, kernels, scratch);
  balanceScales(block);
  roundScales(block.colScale);
  await refitRows(block, target, kernels, scratch);
  roundScales(block.rowScale);
}

function subtract(a: Float32Array, b: Float32Array, out: Float32Array): void {
  for (let p = 0; p < out.length; p++) out[p] = a[p] - b[p];
}

/** What a step adds to the loss: step H_bb stepᵀ - 2 step Rᵀ, with image = step H_bb. */
function changeOf(step: Float32Array, image: Float32Array, R: Float32Array): number {
  let change = 0;
  for (let p = 0; p < step.length; p++) change += step[p] * (image[p] - 2 * R[p]);
  return change;
}

/** D H[:, b] for the columns from `start`, as many as `out` has; H is symmetric, so its rows serve as columns. */
function residual(D: Matrix, H: Matrix, start: number, kernels: Kernels, out: Matrix): Promise<Matrix> {
  const slice = matrix(out.cols, H.cols, H.data.subarray(start * H.cols, (start + out.cols) * H.cols));
  return kernels.gemm(D, slice, { transB: true, out });
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
