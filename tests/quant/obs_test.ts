import { assert, assertEquals, assertRejects } from "@std/assert";
import { type ColumnBlockQuantizer, compensateRow, obs } from "../../lib/quant/obs.ts";
import { upperFactor } from "../../lib/tensor/linalg.ts";
import { type Matrix, matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { damped, distance, layer, objective, product } from "../layers.ts";

const ROWS = 6, COLS = 50;
const { W, H } = layer(ROWS, COLS, 4);
const { U } = await upperFactor(H);
const toGrid = (x: number) => Math.floor(x * 2 + 0.5) / 2;

/** Rounds to halves, one column after the other. */
const columnwise: ColumnBlockQuantizer = ({ X, U }) => {
  const Q = matrix(X.rows, X.cols), E = matrix(X.rows, X.cols);
  for (let i = 0; i < X.rows; i++) {
    const row = Float64Array.from(X.data.subarray(i * X.cols, (i + 1) * X.cols));
    compensateRow(row, (_, w) => toGrid(w), {
      U: U.data,
      width: X.cols,
      q: Q.data,
      e: E.data,
      offset: i * X.cols,
    });
  }
  return { Q, E };
};

/** Rounds to halves, a block at once. */
const blockwise: ColumnBlockQuantizer = ({ X }) => ({ Q: matrix(X.rows, X.cols, X.data.map(toGrid)) });

function transposed(A: Matrix): Matrix {
  const out = matrix(A.cols, A.rows);
  for (let i = 0; i < A.rows; i++) for (let j = 0; j < A.cols; j++) out.data[j * A.rows + i] = A.data[i * A.cols + j];
  return out;
}

function difference(A: Matrix, B: Matrix): Float64Array {
  return Float64Array.from(A.data, (a, k) => a - B.data[k]);
}

for (const [name, quantizer] of [["column-wise", columnwise], ["block-wise", blockwise]] as const) {
  Deno.test(`obs, ${name}: W0 - Q = E U, and the damped objective is twice the loss`, async () => {
    for (const [blockSize, panelSize] of [[1, 1], [7, 7], [16, 16], [16, 40], [64, 64]]) {
      const { Q, errorsT, loss } = await obs(W, quantizer, { U, blockSize, panelSize });
      assert(distance(product(transposed(errorsT), U).data, difference(W, Q)) < 1e-5);
      const want = objective(W, Q, damped(H, 0.01));
      assert(Math.abs(2 * loss / want - 1) < 1e-5, `2 x ${loss} against ${want}`);
    }
  });
}

Deno.test("obs, column-wise: neither the block nor the panel shows in the result", async () => {
  const { Q } = await obs(W, columnwise, { U, blockSize: 1 });
  for (const [blockSize, panelSize] of [[3, 3], [8, 8], [8, 20], [50, 50], [128, 128]]) {
    assertEquals((await obs(W, columnwise, { U, blockSize, panelSize })).Q, Q);
  }
});

Deno.test("obs: with a diagonal H nothing is passed on", async () => {
  const D = matrix64(COLS, COLS);
  for (let j = 0; j < COLS; j++) D.data[j * COLS + j] = 1 + j % 5;
  const { U } = await upperFactor(D);
  for (const quantizer of [columnwise, blockwise]) {
    assertEquals((await obs(W, quantizer, { U, blockSize: 8 })).Q.data, W.data.map(toGrid));
  }
});

Deno.test("obs, block-wise: exact compensation beats the diagonal shortcut, which beats none; none is plain rounding", async () => {
  const run = async (compensation: "exact" | "diagonal" | "none") =>
    (await obs(W, blockwise, { U, blockSize: 10, compensation })).Q;
  const [exact, diagonal, none] = [await run("exact"), await run("diagonal"), await run("none")];
  assertEquals(none.data, W.data.map(toGrid));
  assert(objective(W, exact, H) < objective(W, diagonal, H));
  assert(objective(W, diagonal, H) < objective(W, none, H));
  // Blocks of one column leave no shortcut to take.
  const single = (compensation: "exact" | "diagonal") => obs(W, blockwise, { U, blockSize: 1, compensation });
  assertEquals((await single("exact")).Q, (await single("diagonal")).Q);
});

Deno.test("obs: a block sees its columns compensated, its panel too, and W is left alone", async () => {
  const before = W.data.slice();
  const seen: number[][] = [];
  await obs(W, (block) => {
    seen.push([block.start, block.end]);
    const width = block.end - block.start;
    for (let i = 0; i < ROWS; i++) {
      const running = block.W.data.subarray(i * COLS + block.start, i * COLS + block.end);
      assertEquals(running, block.X.data.subarray(i * width, (i + 1) * width));
    }
    const step = blockwise(block) as { Q: Matrix };
    block.X.data.fill(NaN); // its own copy
    return step;
  }, { U, blockSize: 16, panelSize: 24 });
  assertEquals(seen, [[0, 16], [16, 24], [24, 40], [40, 48], [48, 50]]);
  assertEquals(W.data, before);
});

Deno.test("obs: refuses a factor that does not fit, senseless sizes, and stops when told", async () => {
  await assertRejects(() => obs(W, blockwise, { U: matrix64(3, 3) }), TypeError, "U is 3 x 3 but W has 50 columns");
  await assertRejects(() => obs(W, blockwise, { U, blockSize: 0 }), RangeError, "blocks of 0");
  await assertRejects(() => obs(W, blockwise, { U, blockSize: 8, panelSize: 4 }), RangeError, "panels of 4");
  await assertRejects(() => obs(W, blockwise, { U, signal: AbortSignal.abort() }), DOMException);
});
