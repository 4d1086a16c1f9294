/** The divergence that SliM-LLM shares bits out by, between what a linear gives before and after. */
import type { Kernels } from "../../tensor/kernels.ts";
import type { Matrix } from "../../tensor/matrix.ts";
import { defineRows } from "../../tensor/row_loop.ts";

/** Softmax over the channels of each token `[tokens, out]`, clamped at 1e-6 as in the code. */
export async function sharesOf(outputs: Matrix, kernels: Kernels): Promise<Float64Array> {
  const args = { x: outputs.data, n: outputs.cols, shares: new Float64Array(outputs.data.length) };
  await kernels.rows(shareRows, outputs.rows, args, { costPerRow: 20 * outputs.cols });
  return args.shares;
}

/** KL(softmax of quantised ‖ softmax of original), summed over tokens; `wanted` are the shares of the original. */
export async function divergence(outputs: Matrix, wanted: Float64Array, kernels: Kernels): Promise<number> {
  const totals = new Float64Array(outputs.rows);
  const args = { x: outputs.data, n: outputs.cols, wanted, totals };
  await kernels.rows(divergenceRows, outputs.rows, args, { costPerRow: 40 * outputs.cols });
  return totals.reduce((sum, total) => sum + total, 0);
}

function softmax(x: Float32Array, at: number, out: Float64Array): void {
  let most = -Infinity, sum = 0;
  for (let j = 0; j < out.length; j++) most = Math.max(most, x[at + j]);
  for (let j = 0; j < out.length; j++) sum += out[j] = Math.exp(x[at + j] - most);
  for (let j = 0; j < out.length; j++) out[j] = Math.max(out[j] / sum, 1e-6);
}

export const shareRows = defineRows({
  name: "slim.shares",
  module: import.meta.url,
  writes: ["shares"],
  run: (
    { x, n, shares }: { readonly x: Float32Array; readonly n: number; readonly shares: Float64Array },
    rowStart,
    rowEnd,
  ) => {
    for (let i = rowStart; i < rowEnd; i++) softmax(x, i * n, shares.subarray(i * n, (i + 1) * n));
  },
});

export const divergenceRows = defineRows({
  name: "slim.divergence",
  module: import.meta.url,
  writes: ["totals"],
  run: (
    { x, n, wanted, totals }: {
      readonly x: Float32Array;
      readonly n: number;
      readonly wanted: Float64Array;
      readonly totals: Float64Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const p = new Float64Array(n);
    for (let i = rowStart; i < rowEnd; i++) {
      softmax(x, i * n, p);
      let total = 0;
      for (let j = 0; j < n; j++) total += p[j] * Math.log(p[j] / wanted[i * n + j]);
      totals[i] = total;
    }
  },
});
