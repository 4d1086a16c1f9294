/** Output errors of a linear, by the second moment of its inputs. */
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64 } from "../tensor/matrix.ts";
import { newScratch } from "../tensor/scratch.ts";

/** Columns of H whose products are made at once. */
const PANEL = 1024;

/** D ↦ tr(D H Dᵀ) for a symmetric H `[in, in]`, in little more than half the products: of H what lies on and below the diagonal is read. */
export function quadraticForm(H: Matrix | Matrix64, kernels: Kernels): (D: Matrix) => Promise<number> {
  const n = H.cols, scratch = newScratch();
  const panels = Array.from({ length: Math.ceil(n / PANEL) }, (_, p) => {
    const start = p * PANEL, end = Math.min(start + PANEL, n), below = matrix(n - start, end - start);
    for (let i = start, k = 0; i < n; i++) {
      // What lies below the square on the diagonal stands for its mirror image too.
      for (let j = start; j < end; j++, k++) below.data[k] = (i < end ? 1 : 2) * H.data[i * n + j];
    }
    return { start, end, below };
  });
  return async (D) => {
    let sum = 0;
    for (const { start, end, below } of panels) {
      const width = end - start, out = scratch.float32(`product ${width}`, D.rows, width);
      await kernels.gemm(start === 0 ? D : lastColumns(D, start, scratch.float32("rest", D.rows, n - start)), below, {
        out,
      });
      for (let i = 0; i < D.rows; i++) {
        const at = i * n + start, own = i * width;
        for (let j = 0; j < width; j++) sum += D.data[at + j] * out.data[own + j];
      }
    }
    return sum;
  };
}

/** Columns from `start` on, in `out`. */
function lastColumns({ rows, cols, data }: Matrix, start: number, out: Matrix): Matrix {
  for (let i = 0; i < rows; i++) out.data.set(data.subarray(i * cols + start, (i + 1) * cols), i * out.cols);
  return out;
}
