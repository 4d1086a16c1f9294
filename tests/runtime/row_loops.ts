/** Row loops of the tests, in a module of their own because workers import it. */
import { defineRows } from "../../lib/tensor/row_loop.ts";

export const normalise = defineRows({
  name: "test.normalise",
  module: import.meta.url,
  writes: ["y", "sums"],
  run: (
    { x, y, sums, columns }: { x: Float32Array; y: Float32Array; sums: Float64Array; columns: number },
    start,
    end,
  ) => {
    for (let i = start; i < end; i++) {
      let sum = sums[i];
      for (let j = 0; j < columns; j++) sum += Math.exp(x[i * columns + j]);
      sums[i] = sum;
      for (let j = 0; j < columns; j++) y[i * columns + j] = Math.exp(x[i * columns + j]) / sum;
    }
  },
});

export const failing = defineRows({
  name: "test.failing",
  module: import.meta.url,
  writes: [],
  run: ({ at }: { at: number }, start, end) => {
    if (start <= at && at < end) throw new RangeError(`row ${at} is no good`);
  },
});
