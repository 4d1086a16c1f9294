/** What tests of GPTAQ, AWQ, SliM-LLM and BiLLM read of layer A; see README.md. */
import { memorySource } from "../../lib/format/byte_source.ts";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { type Matrix, matrix } from "../../lib/tensor/matrix.ts";

const ROWS = 32, COLS = 512;
const file = await openSafetensors(memorySource(
  "layer_a_rivals.safetensors",
  await Deno.readFile(new URL("./layer_a_rivals.safetensors", import.meta.url)),
));

/** The inputs `[2048, 512]`. */
export const X: Matrix = matrix(2048, COLS, await file.readFloat("X"));
/** (2/4) Σ x xᵀ of the inputs behind quantised layers, and (2/4) Σ (x̃ - x) xᵀ of their drift from X, `[512, 512]`. */
export const behind: Matrix = unfold(await file.readFloat("H_behind_upper"));
export const D: Matrix = matrix(COLS, COLS, await file.readFloat("D"));

/** Every eighth row of what a method made, `[32, 512]`. */
export async function expected(method: string): Promise<Matrix> {
  return matrix(ROWS, COLS, await file.readFloat(method));
}

/** Every eighth row of a weight `[256, 512]`. */
export function eighths({ data }: Matrix): Matrix {
  const out = matrix(ROWS, COLS);
  for (let i = 0; i < ROWS; i++) out.data.set(data.subarray(8 * i * COLS, (8 * i + 1) * COLS), i * COLS);
  return out;
}

function unfold(upper: Float32Array): Matrix {
  const H = matrix(COLS, COLS);
  for (let i = 0, at = 0; i < COLS; i++) {
    for (let j = i; j < COLS; j++) H.data[i * COLS + j] = H.data[j * COLS + i] = upper[at++];
  }
  return H;
}
