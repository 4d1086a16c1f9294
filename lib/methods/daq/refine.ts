/**
 * Refinement of a whole quantised matrix against the original weights in the full damped second moment: coordinate descent over the codes and refits
 * of the scales, group by group. Every step can only lower tr((W - Q) H (W - Q)ᵀ).
 */
import { NumericalError } from "../../tensor/errors.ts";
import type { Kernels } from "../../tensor/kernels.ts";
import { type Matrix, matrix, matrix64 } from "../../tensor/matrix.ts";
import { newScratch, type Scratch } from "../../tensor/scratch.ts";
import { balanceScales, CHUNK, chunks, decode, type Group, type GroupKind, loopsFor, roundScales } from "./group.ts";
import { refitColumns, refitRows, type RefitTarget } from "./refit.ts";

export interface RefineOptions {
  /** The damped second moment `[columns, columns]`, symmetric. */
  readonly H: Matrix;
  /** That of all groups. */
  readonly kind: GroupKind;
  /** Passes over all groups. */
  readonly rounds: number;
  /** Sweeps of coordinate descent over a group's codes before and after its scales are refit. */
  readonly sweeps: number;
  /** The loss tr((W - Q) H (W - Q)ᵀ) of the groups as given, where it is known. */
  readonly before?: number;
  readonly kernels: Kernels;
  readonly signal?: AbortSignal;
  readonly scratch?: Scratch;
  /** Told the loss tr((W - Q) H (W - Q)ᵀ) before the first round and after every step of every group. */
  readonly onLoss?: (loss: number) => void;
}

/** A fitted group and where it stands. */
export interface PlacedGroup {
  /** First column. */
  readonly start: number;
  readonly group: Group;
}

/**
 * Refines the groups of one linear in place; scales stay what fp16 holds.
 *
 * @param W the original weights `[rows, columns]`
 * @returns the loss tr((W - Q) H (W - Q)ᵀ) after the last step
 * @throws NumericalError when a step raises the loss by more than the rounding of its products explains.
 */
export async function refine(W: Matrix, placed: readonly PlacedGroup[], options: RefineOptions): Promise<number> {
  const { H, kind, rounds, sweeps, kernels, signal, scratch = newScratch(), onLoss } = options;
  const { rows, cols } = W;
  const D = matrix(rows, cols, W.data.slice());
  const work = { D, H, kind, sweeps, kernels, scratch };
  for (const { start, group } of placed) {
    const out = scratch.float32("decoded", rows, group.width);
    subtractColumns(D, await decode(group, { kind, kernels, out }), { start });
  }
  let loss = options.before ?? await lossOf(placed, work);
  onLoss?.(loss);
  for (let round = 0; round < rounds; round++) {
    for (const one of placed) {
      signal?.throwIfAborted();
      for (const change of await visit(one, work)) {
        if (!(change <= TOLERANCE * loss)) {
          throw new NumericalError(
            `Cannot refine columns ${one.start} to ${
              one.start + one.group.width
            }: the loss rose by ${change} from ${loss}`,
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

interface Work {
  /** W - Q `[rows, columns]`, kept up to date. */
  readonly D: Matrix;
  readonly H: Matrix;
  readonly kind: GroupKind;
  readonly sweeps: number;
  readonly kernels: Kernels;
  readonly scratch: Scratch;
}

/** tr(D H Dᵀ), a group of columns at a time. */
async function lossOf(placed: readonly PlacedGroup[], work: Work): Promise<number> {
  const { D } = work;
  let loss = 0;
  for (const { start, group: { width } } of placed) {
    const R = (await residual(work, { start, width })).data;
    for (let i = 0; i < D.rows; i++) {
      for (let j = 0; j < width; j++) loss += D.data[i * D.cols + start + j] * R[i * width + j];
    }
  }
  return loss;
}

/** Codes, scales and codes again of one group, with D kept up to date; returns the change of the loss of each step. */
async function visit({ start, group }: PlacedGroup, work: Work): Promise<number[]> {
  const { D, H, kind, sweeps, kernels, scratch } = work;
  const { rows, width } = group;
  const size = rows * width;
  const buffer = (slot: string) => scratch.float32(slot, rows, width);
  const form = square(H, { start, width }), step = buffer("step"), image = buffer("image");
  let [Q, next] = [await decode(group, { kind, kernels, out: buffer("decoded") }), buffer("next")];
  // R = D H[:, b], minus half the gradient of the loss in Q_b.
  const R = (await residual(work, { start, width })).data;
  const changes: number[] = [];

  /** Takes the group as it stands now, if it lowers the loss or must be taken; the change is measured afresh, not added up from its steps. */
  const take = async (always: boolean) => {
    await decode(group, { kind, kernels, out: next });
    for (let p = 0, to = step.data, a = next.data, b = Q.data; p < size; p++) to[p] = a[p] - b[p];
    await kernels.gemm(step, form, { out: image });
    const change = changeOf(step.data, { image: image.data, R });
    if (!always && !(change < 0)) return false;
    changes.push(change);
    for (let p = 0, a = image.data; p < size; p++) R[p] -= a[p];
    subtractColumns(D, step, { start });
    [Q, next] = [next, Q];
    return true;
  };
  const descend = async () => {
    const args = { ...group, form: form.data, R, sweeps };
    await kernels.rows(loopsFor(kind, group.order).descend, chunks(rows), args, {
      costPerRow: 10 * CHUNK * width * sweeps,
    });
    await take(true);
  };

  await descend();
  // Towards T = Q + R H_bb⁻¹, the best dense block: T H_bb = Q H_bb + R.
  const TG = (await kernels.gemm(Q, form, { out: buffer("target") })).data;
  for (let p = 0; p < size; p++) TG[p] += R[p];
  const held = { row: group.rowScale.slice(), col: group.colScale.slice() };
  await refitStored(group, { G: matrix64(width, width, Float64Array.from(form.data)), TG }, work);
  if (await take(false)) await descend();
  else {
    // Near the optimum the rounding of the scales can cost more than the refit gains.
    group.rowScale.set(held.row);
    group.colScale.set(held.col);
  }
  return changes;
}

/** Row and column scales once each, ending on scales that fp16 holds: the rows are fitted last, to column scales that are rounded already. */
async function refitStored(group: Group, target: RefitTarget, work: Work): Promise<void> {
  await refitRows(group, target, work);
  await refitColumns(group, target, work);
  balanceScales(group);
  roundScales(group.colScale);
  await refitRows(group, target, work);
  roundScales(group.rowScale);
}

/** What a step adds to the loss: step H_bb stepᵀ - 2 step Rᵀ, with image = step H_bb. */
function changeOf(
  step: Float32Array,
  { image, R }: { readonly image: Float32Array; readonly R: Float32Array },
): number {
  let change = 0;
  for (let p = 0; p < step.length; p++) change += step[p] * (image[p] - 2 * R[p]);
  return change;
}

interface Columns {
  readonly start: number;
  readonly width: number;
}

/** D H[:, b] for some columns; H is symmetric, so its rows serve as columns. */
function residual({ D, H, kernels, scratch }: Work, { start, width }: Columns): Promise<Matrix> {
  const slice = matrix(width, H.cols, H.data.subarray(start * H.cols, (start + width) * H.cols));
  return kernels.gemm(D, slice, { transB: true, out: scratch.float32("residual", D.rows, width) });
}

function square(H: Matrix, { start, width }: Columns): Matrix {
  const out = matrix(width, width);
  for (let j = 0; j < width; j++) {
    const at = (start + j) * H.cols + start;
    out.data.set(H.data.subarray(at, at + width), j * width);
  }
  return out;
}

function subtractColumns(to: Matrix, from: Matrix, { start }: { readonly start: number }): void {
  for (let i = 0; i < from.rows; i++) {
    const at = i * to.cols + start;
    for (let j = 0; j < from.cols; j++) to.data[at + j] -= from.data[i * from.cols + j];
  }
}
