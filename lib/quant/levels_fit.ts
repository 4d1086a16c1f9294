/** The fit of one column block on uniform levels: scales and codes, in the order that the settings ask for. */
import type { Kernels } from "../tensor/kernels.ts";
import { invertLower } from "../tensor/linalg.ts";
import { type Matrix, matrix, type Matrix64, matrix64 } from "../tensor/matrix.ts";
import { salientMask } from "./daq_fit.ts";
import type { DaqSettings } from "./daq_options.ts";
import { sequentialSigns } from "./daq_sequential.ts";
import { asPlanes, decodeBlock, type LevelBlock, nearestCodes, newLevelBlock } from "./levels_block.ts";
import { balanceScales, refitColumns, refitRows, roundScales } from "./levels_refit.ts";
import { fitLevels } from "./levels_rsr.ts";

/**
 * Fits a block with codes of `order` bits; its scales are what fp16 holds, and its codes are chosen for those.
 *
 * @param X the block's weights, compensated for all earlier blocks `[rows, width]`
 * @param U U_bb `[width, width]`
 * @param spread D² of each column `[width]` where it is not U_jj²
 */
export async function fitLevelBlock(
  X: Matrix,
  U: Matrix64,
  order: number,
  settings: DaqSettings,
  spread: Float64Array | undefined,
  kernels: Kernels,
): Promise<{ block: LevelBlock; Q: Matrix }> {
  const { rows, cols: width } = X;
  const block = newLevelBlock(X.data, rows, width, order);
  const conditional = Float64Array.from({ length: width }, (_, j) => U.data[j * width + j] ** 2);
  const weights = {
    columnWeight: settings.columnWeights ? columnWeights(conditional) : new Float64Array(width).fill(1),
    salient: settings.dor ? salientMask(X, spread ?? conditional, settings.dor) : new Uint8Array(0),
    salientWeight: settings.dor ? settings.dor.weight : 1,
  };
  await fitLevels(block, weights, { sweeps: 0, tolerance: 0, ...settings.rsr }, kernels);

  const sequential = settings.inside === "sequential";
  // The levels are those of tied planes: signs chosen for these are codes.
  const codes = () => sequential ? sequentialSigns(asPlanes(block), U.data, kernels) : nearestCodes(block, kernels);
  if (settings.refitRounds > 0) {
    const G = conditionalMoment(U);
    const TG = (await kernels.gemm(X, matrix(width, width, Float32Array.from(G.data)))).data;
    for (let round = 0; round < settings.refitRounds; round++) {
      await codes();
      await refitRows(block, { G, TG }, kernels);
      await refitColumns(block, { G, TG }, kernels);
    }
  }
  balanceScales(block);
  roundScales(block.colScale);
  roundScales(block.rowScale);
  await codes();
  return { block, Q: await decodeBlock(block, kernels) };
}

/** omega_j = 1 / U_jj², normalised to mean 1: what an error of column j costs once later columns made up for it. */
function columnWeights(conditional: Float64Array): Float64Array {
  const inverse = conditional.map((v) => 1 / v);
  const mean = inverse.reduce((a, b) => a + b, 0) / inverse.length;
  return inverse.map((v) => v / mean);
}

/** G = U⁻¹ U⁻ᵀ, the second moment of the block's inputs given those of all later blocks. */
function conditionalMoment(U: Matrix64): Matrix64 {
  const n = U.rows;
  const lower = matrix64(n, n);
  for (let j = 0; j < n; j++) {
    for (let p = 0; p <= j; p++) lower.data[j * n + p] = U.data[p * n + j];
  }
  // With L = Uᵀ: G = L⁻ᵀ L⁻¹.
  const inverse = invertLower(lower).data;
  const G = matrix64(n, n);
  for (let k = 0; k < n; k++) {
    for (let i = 0; i <= k; i++) {
      const f = inverse[k * n + i];
      for (let j = 0; j <= k; j++) G.data[i * n + j] += f * inverse[k * n + j];
    }
  }
  return G;
}
