import { assert, assertEquals } from "@std/assert";
import { type Block, newBlock, valueAt } from "../../../lib/methods/daq/block.ts";
import { rescaleColumns, rescaleLoop } from "../../../lib/methods/daq/rescale.ts";
import { sequentialSigns } from "../../../lib/methods/daq/sequential.ts";
import { referenceKernels as kernels } from "../../../lib/tensor/kernels.ts";
import { rng } from "../../../lib/tensor/rng.ts";

/** A block with scales and codes drawn at random: some scales negative, and a share of them zero. */
function drawn(rows: number, width: number, order: number, zeros = 0): Block {
  const random = rng(11, rows, width, order);
  const block = newBlock(Float32Array.from({ length: rows * width }, random.normal), rows, width, order);
  for (let p = 0; p < block.codes.length; p++) block.codes[p] = random.int(2 ** order);
  for (const scales of [block.rowScale, block.colScale]) {
    for (let p = 0; p < scales.length; p++) scales[p] = random.next() < zeros ? 0 : random.normal();
  }
  return block;
}

const scalesOfRow = ({ rows, order, rowScale }: Block, i: number) =>
  Float64Array.from({ length: order }, (_, k) => rowScale[k * rows + i]);
const levelOf = (block: Block, code: number, i: number, j: number) =>
  valueAt(code, scalesOfRow(block, i), block.colScale, block.order, block.width, j);

/** The code of the level nearest to x, by trying all. */
function nearest(block: Block, x: number, i: number, j: number): number {
  const codes = [...Array(2 ** block.order).keys()];
  return codes.sort((a, b) => Math.abs(x - levelOf(block, a, i, j)) - Math.abs(x - levelOf(block, b, i, j)))[0];
}

const close = (a: ArrayLike<number>, b: ArrayLike<number>, what: string) => {
  for (let p = 0; p < b.length; p++) {
    assert(Math.abs(a[p] - b[p]) <= 1e-9 * (1 + Math.abs(b[p])), `${what} ${p}: ${a[p]} against ${b[p]}`);
  }
};

const SIZES = [[1, 1], [7, 3], [64, 5], [65, 16], [130, 4]];

Deno.test("one update of a plane is Eqs. 8 and 9, for two planes and three, an odd number of rows, salient or not", async () => {
  for (const [rows, width] of SIZES) {
    for (const order of [2, 3]) {
      for (const [plane, signs, anySalient] of [[0, "joint", true], [0, "joint", false], [1, "none", true]] as const) {
        const block = drawn(rows, width, order), what = `${rows} x ${width}, order ${order}, plane ${plane}`;
        const columnWeight = Float64Array.from({ length: width }, (_, j) => 1 + j % 3);
        const salient = Uint8Array.from({ length: anySalient ? rows * width : 0 }, (_, p) => +(p % 5 === 0));
        const partial = new Float64Array(Math.ceil(rows / 64) * (2 * width + 1));
        const args = { ...block, columnWeight, salient, salientWeight: 3, plane, active: order, signs, partial };

        // The formulas as they stand.
        const codes = block.codes.slice(), r = new Float64Array(rows), c = new Float64Array(width);
        const old = { ...block, rowScale: block.rowScale.slice(), colScale: block.colScale.slice() };
        const own = old.colScale.slice(plane * width, (plane + 1) * width);
        const omega = (i: number, j: number) => columnWeight[j] * (anySalient && salient[i * width + j] ? 3 : 1);
        const signed = (i: number, j: number) => {
          const code = codes[i * width + j], sign = (code >> plane & 1) * 2 - 1;
          return sign * (old.x[i * width + j] - levelOf(old, code, i, j)) + scalesOfRow(old, i)[plane] * own[j];
        };
        for (let i = 0; i < rows; i++) {
          let above = 0, below = 0;
          for (let j = 0; j < width; j++) {
            if (signs === "joint") codes[i * width + j] = nearest(old, old.x[i * width + j], i, j);
            above += omega(i, j) * own[j] * signed(i, j);
            below += omega(i, j) * own[j] ** 2;
          }
          r[i] = above / (below + 1e-8);
        }
        let loss = 0;
        for (let j = 0; j < width; j++) {
          let above = 0, below = 0;
          for (let i = 0; i < rows; i++) {
            above += omega(i, j) * r[i] * signed(i, j);
            below += omega(i, j) * r[i] ** 2;
          }
          c[j] = above / (below + 1e-8);
          for (let i = 0; i < rows; i++) loss += omega(i, j) * (signed(i, j) - r[i] * c[j]) ** 2;
        }

        await kernels.rows(rescaleLoop, Math.ceil(rows / 64), args);
        const losses: number[] = [];
        rescaleColumns(args, losses);
        assertEquals(block.codes, codes, what);
        const fresh = block.rowScale.slice(plane * rows, (plane + 1) * rows);
        close(fresh, r, `${what}, row scale`);
        close(block.colScale.slice(plane * width, (plane + 1) * width), c, `${what}, column scale`);
        assert(Math.abs(losses[1] - loss) <= 1e-9 * (1 + loss), `${what}: loss ${losses[1]} against ${loss}`);
      }
    }
  }
});

Deno.test("sequential signs are those of one column after another, for an odd number of rows too", async () => {
  for (const [rows, width] of SIZES) {
    for (const order of [2, 3]) {
      const block = drawn(rows, width, order, 0.05), random = rng(12, rows, width);
      const U = new Float64Array(width * width);
      for (let j = 0; j < width; j++) {
        for (let p = j; p < width; p++) U[j * width + p] = j === p ? 1 + random.next() : 0.3 * random.normal();
      }
      /** The loss |(x - Q) U⁻¹|² of row i, and the codes chosen in turn where none are given. */
      const walk = (i: number, given?: Uint8Array) => {
        const w = Float64Array.from({ length: width }, (_, j) => block.x[i * width + j]);
        const codes = new Uint8Array(width);
        let loss = 0;
        for (let j = 0; j < width; j++) {
          codes[j] = given ? given[i * width + j] : nearest(block, w[j], i, j);
          const e = (w[j] - levelOf(block, codes[j], i, j)) / U[j * width + j];
          for (let p = j + 1; p < width; p++) w[p] -= e * U[j * width + p];
          loss += e * e;
        }
        return { codes, loss };
      };
      const expected = Array.from({ length: rows }, (_, i) => {
        const fresh = walk(i), old = walk(i, block.codes);
        return Math.min(fresh.loss, old.loss);
      });
      await sequentialSigns(block, U, kernels);
      const found = Array.from({ length: rows }, (_, i) => walk(i, block.codes).loss);
      close(found, expected, `${rows} x ${width}, order ${order}, loss of row`);
    }
  }
});
