/** The slice of layer A that tests of DAQ read; see README.md. */
import { memorySource } from "../../lib/format/byte_source.ts";
import { unpackBits } from "../../lib/format/bits.ts";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../../lib/tensor/matrix.ts";

const ROWS = 256, COLS = 512;

const file = await openSafetensors(memorySource(
  "layer_a_binary.safetensors",
  await Deno.readFile(new URL("./layer_a_binary.safetensors", import.meta.url)),
));

/** `[256, 512]`. */
export const W: Matrix = matrix(ROWS, COLS, await file.readFloat("W"));
/** (2/4) Σ x xᵀ over the tokens with an even index, an odd one, and all, `[512, 512]`. */
export const even: Matrix64 = unfold(await file.readFloat("H_even_upper"));
export const odd: Matrix64 = unfold(await file.readFloat("H_odd_upper"));
export const all: Matrix64 = matrix64(COLS, COLS, even.data.map((h, p) => h + odd.data[p]));

/** What one block, W[:, 128:256], became at order 1, 2 or 3, `[256, 128]`. */
export async function expectedBlock(order: number): Promise<Matrix> {
  return matrix(ROWS, 128, await file.readFloat(`order${order}`));
}

/** Its salient weights, `[256, 128]` of 0 and 1. */
export const salient: Uint8Array = unpackBits(await file.read("salient"), 1, ROWS * 128);

/** ‖(W - Q) Xᵀ‖ / ‖W Xᵀ‖ for X with second moment H. */
export function relativeError(Q: Matrix, H: Matrix64): number {
  return Math.sqrt(quadratic(Float32Array.from(W.data, (w, p) => w - Q.data[p]), H) / quadratic(W.data, H));
}

/** tr(E H Eᵀ) for E `[rows, columns]`. */
export function quadratic(E: Float32Array, H: Matrix64): number {
  const n = H.rows;
  const image = new Float64Array(n);
  let sum = 0;
  for (let at = 0; at < E.length; at += n) {
    image.fill(0);
    for (let p = 0; p < n; p++) {
      const e = E[at + p];
      for (let j = 0, h = p * n; j < n; j++, h++) image[j] += e * H.data[h];
    }
    for (let j = 0; j < n; j++) sum += image[j] * E[at + j];
  }
  return sum;
}

function unfold(upper: Float32Array): Matrix64 {
  const H = matrix64(COLS, COLS);
  for (let i = 0, at = 0; i < COLS; i++) {
    for (let j = i; j < COLS; j++) H.data[i * COLS + j] = H.data[j * COLS + i] = upper[at++];
  }
  return H;
}
