/** The slice of layer A that tests of uniform methods read; see README.md. */
import { memorySource } from "../../lib/format/byte_source.ts";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { type Matrix, matrix } from "../../lib/tensor/matrix.ts";

const ROWS = 32, COLS = 512;

const file = await openSafetensors(memorySource(
  "layer_a_uniform.safetensors",
  await Deno.readFile(new URL("./layer_a_uniform.safetensors", import.meta.url)),
));

/** Every eighth row of W, `[32, 512]`. */
export const W: Matrix = matrix(ROWS, COLS, await file.readFloat("W"));

/** H = (2/4) Σ x xᵀ over 2048 tokens, `[512, 512]`. */
export const H: Matrix = unfold(await file.readFloat("H_upper"));

/** The diagonal of U at damping 0.01, from fp32. */
export const diagonalOfU: Float32Array = await file.readFloat("U_diagonal");

/** The dequantised weights of a method, rows as in W, rounded to fp16. */
export async function expected(method: string): Promise<Matrix> {
  return matrix(ROWS, COLS, await file.readFloat(method));
}

function unfold(upper: Float32Array): Matrix {
  const H = matrix(COLS, COLS);
  for (let i = 0, at = 0; i < COLS; i++) {
    for (let j = i; j < COLS; j++) H.data[i * COLS + j] = H.data[j * COLS + i] = upper[at++];
  }
  return H;
}
