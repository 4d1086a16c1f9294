/** The fit of one column block on uniform levels: scales and codes, in the order that the settings ask for. */
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix, type Matrix64 } from "../tensor/matrix.ts";
import { balanceScales, roundScales } from "./daq_block.ts";
import { conditionalMoment, fitWeights } from "./daq_fit.ts";
import type { DaqSettings } from "./daq_options.ts";
import { sequentialSigns } from "./daq_sequential.ts";
import { asPlanes, decodeBlock, type LevelBlock, nearestCodes, newLevelBlock } from "./levels_block.ts";
import { refitColumns, refitRows } from "./levels_refit.ts";
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
  await fitLevels(block, fitWeights(X, U, settings, spread), { sweeps: 0, tolerance: 0, ...settings.rsr }, kernels);

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
