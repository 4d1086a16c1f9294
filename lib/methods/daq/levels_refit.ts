/** Scales for fixed codes that minimise the error of a block in a quadratic form, (T - Q) G (T - Q)ᵀ summed over rows. */
import type { Kernels } from "../../tensor/kernels.ts";
import { matrix } from "../../tensor/matrix.ts";
import { defineRows } from "../../tensor/row_loop.ts";
import { CHUNK, chunks, IN_PLACE } from "./block.ts";
import { type RefitTarget, stepColumns } from "./refit.ts";
import type { LevelBlock } from "./levels_block.ts";

/** Row scales: a_i = m T Gᵀ / (m G mᵀ) with m = c o z_i, z = 2q - (2^K - 1) (o: elementwise). */
export async function refitRows(block: LevelBlock, { G, TG }: RefitTarget, kernels: Kernels): Promise<void> {
  const { rows, width } = block;
  const form = matrix(width, width, Float32Array.from(G.data));
  const shapes = matrix(rows, width);
  await kernels.rows(rowShapes, chunks(rows), { ...block, shapes: shapes.data }, IN_PLACE);
  const images = await kernels.gemm(shapes, form);
  await kernels.rows(solveRows, chunks(rows), { ...block, shapes: shapes.data, images: images.data, TG }, IN_PLACE);
}

/** Column scales: one system of size `width` with the matrix (RᵀR) o G, R = a o z. */
export async function refitColumns(block: LevelBlock, { G, TG }: RefitTarget, kernels: Kernels): Promise<void> {
  const { rows, width } = block;
  const shapes = matrix(rows, width);
  const sums = new Float64Array(chunks(rows) * width);
  await kernels.rows(columnShapes, chunks(rows), { ...block, shapes: shapes.data, TG, sums }, IN_PLACE);
  await stepColumns(block, G, shapes, sums, kernels);
}

/** Writes m = c o z, `[rows, width]`. */
const rowShapes = defineRows({
  name: "levels.rowShapes",
  module: import.meta.url,
  writes: ["shapes"],
  run: (args: LevelBlock & { shapes: Float32Array }, start, end) => {
    const { rows, width, order, codes, colScale, shapes } = args;
    const top = 2 ** order - 1;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      for (let j = 0, at = i * width; j < width; j++, at++) shapes[at] = colScale[j] * (2 * codes[at] - top);
    }
  },
});

/** Writes R = a o z, `[rows, width]`, and per chunk the sums over rows of R o TG. */
const columnShapes = defineRows({
  name: "levels.columnShapes",
  module: import.meta.url,
  writes: ["shapes", "sums"],
  run: (args: LevelBlock & { shapes: Float32Array; TG: Float32Array; sums: Float64Array }, start, end) => {
    const { rows, width, order, codes, rowScale, shapes, TG, sums } = args;
    const top = 2 ** order - 1;
    for (let chunk = start; chunk < end; chunk++) {
      for (let i = chunk * CHUNK; i < Math.min(rows, (chunk + 1) * CHUNK); i++) {
        const a = rowScale[i], sum = chunk * width;
        for (let j = 0, at = i * width; j < width; j++, at++) {
          const value = a * (2 * codes[at] - top);
          shapes[at] = value;
          sums[sum + j] += value * TG[at];
        }
      }
    }
  },
});

const solveRows = defineRows({
  name: "levels.solveRows",
  module: import.meta.url,
  writes: ["rowScale"],
  run: (args: LevelBlock & { shapes: Float32Array; images: Float32Array; TG: Float32Array }, start, end) => {
    const { rows, width, rowScale, shapes, images, TG } = args;
    for (let i = start * CHUNK; i < Math.min(rows, end * CHUNK); i++) {
      let over = 0, under = 0;
      for (let j = 0, at = i * width; j < width; j++, at++) {
        over += shapes[at] * TG[at];
        under += shapes[at] * images[at];
      }
      if (under > 0) rowScale[i] = over / under;
    }
  },
});
