/** The code step of AQLM: for each row and group of weights the code of one codebook that lowers the output error most. */
import { defineRows } from "../../tensor/row_loop.ts";

/**
 * Chooses the codes of one codebook in one group of columns, all other codes as they are. Replacing code a by k changes the loss (w - ŵ) S (w - ŵ)ᵀ of a row by
 *
 *   -2 ⟨Δ, (D S)_g⟩ + Δ S_gg Δᵀ,   Δ = s (C[k] - C[a]),   D = W - Ŵ,
 *
 * so that with R = D S only R_g and S_gg are read; a itself has zero: the loss never rises. Writes Δ.
 */
export const codeRows = defineRows({
  name: "aqlm.codes",
  module: import.meta.url,
  writes: ["codes", "delta"],
  run: (
    { R, S, C, energy, scales, width, codes, delta }: {
      /** (D S)_g `[rows, width]`. */
      readonly R: Float32Array;
      /** S_gg `[width, width]`. */
      readonly S: Float64Array;
      /** The codebook `[size, width]`, and C[k] S_gg C[k]ᵀ of each of its vectors. */
      readonly C: Float64Array;
      readonly energy: Float64Array;
      readonly scales: Float64Array;
      readonly width: number;
      /** `[rows]`. */
      readonly codes: Uint16Array;
      /** `[rows, width]`. */
      readonly delta: Float32Array;
    },
    rowStart,
    rowEnd,
  ) => {
    const aim = new Float64Array(width), size = energy.length;
    for (let i = rowStart; i < rowEnd; i++) {
      const s = scales[i], from = codes[i];
      // Up to what all k share, the change is s² C[k] S_gg C[k]ᵀ - 2 s ⟨C[k], R_g + s S_gg C[a]⟩.
      for (let j = 0; j < width; j++) {
        let sum = R[i * width + j];
        for (let p = 0; p < width; p++) sum += s * S[j * width + p] * C[from * width + p];
        aim[j] = sum;
      }
      let best = from, least = Infinity;
      for (let k = 0; k < size; k++) {
        let dot = 0;
        for (let j = 0, at = k * width; j < width; j++, at++) dot += C[at] * aim[j];
        const change = s * (s * energy[k] - 2 * dot);
        if (change < least || (change === least && k === from)) [least, best] = [change, k];
      }
      codes[i] = best;
      for (let j = 0; j < width; j++) delta[i * width + j] = s * (C[best * width + j] - C[from * width + j]);
    }
  },
});

/** C[k] S_gg C[k]ᵀ of every vector of a codebook. */
export function energies(C: Float64Array, S: Float64Array, width: number): Float64Array {
  return Float64Array.from({ length: C.length / width }, (_, k) => {
    let sum = 0;
    for (let j = 0; j < width; j++) {
      for (let p = 0; p < width; p++) sum += C[k * width + j] * S[j * width + p] * C[k * width + p];
    }
    return sum;
  });
}
