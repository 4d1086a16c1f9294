/** The error of a column block that was rounded all at once, as the loop of `obs.ts` passes it on. */
import { type Matrix, matrix, type Matrix64 } from "../tensor/matrix.ts";
import { defineRows } from "../tensor/row_loop.ts";

/** `exact`: (X - Q) U_bb⁻¹. `diagonal`: (X - Q) / diag(U_bb), the shortcut of the binarisation codes. `none`: nothing is passed on. */
export type Compensation = "exact" | "diagonal" | "none";

/** The error that a column block passes on when its columns were rounded all at once, `[rows, width]`; U is U_bb. */
export function blockError(
  X: Matrix,
  Q: Matrix,
  { U, compensation }: { readonly U: Matrix64; readonly compensation: Compensation },
): Matrix {
  const E = matrix(X.rows, X.cols);
  const args = { width: X.cols, exact: compensation === "exact", x: X.data, q: Q.data, u: U.data, e: E.data };
  errorRows.run(args, 0, X.rows);
  return E;
}

type ErrorArgs = {
  readonly width: number;
  readonly exact: boolean;
  readonly x: Float32Array;
  readonly q: Float32Array;
  readonly u: Float64Array;
  readonly e: Float32Array;
};

export const errorRows = defineRows({
  name: "obs.errors",
  module: import.meta.url,
  writes: ["e"],
  run: ({ width, exact, x, q, u, e }: ErrorArgs, rowStart, rowEnd) => {
    const left = new Float64Array(width);
    for (let i = rowStart; i < rowEnd; i++) {
      const at = i * width;
      for (let j = 0; j < width; j++) left[j] = x[at + j] - q[at + j];
      for (let first = 0; first < width; first += 4) {
        const end = Math.min(first + 4, width);
        for (let j = first; j < end; j++) {
          const error = left[j] / u[j * width + j];
          if (exact) { for (let p = j + 1; p < end; p++) left[p] -= error * u[j * width + p]; }
          e[at + j] = error;
          left[j] = error;
        }
        if (!exact) continue;
        const row0 = first * width, row1 = row0 + width, row2 = row1 + width, row3 = row2 + width;
        const e0 = left[first], e1 = left[first + 1], e2 = left[first + 2], e3 = left[first + 3];
        for (let p = end; p < width; p++) {
          left[p] = left[p] - e0 * u[row0 + p] - e1 * u[row1 + p] - e2 * u[row2 + p] - e3 * u[row3 + p];
        }
      }
    }
  },
});
