/** The fit of one column block on uniform levels: scales and codes, in the order that the settings ask for. */
import { matrix } from "../../tensor/matrix.ts";
import { balanceScales, roundScales } from "./block.ts";
import { conditionalMoment, type fitBlock, fitWeights } from "./fit.ts";
import { sequentialSigns } from "./sequential.ts";
import { asPlanes, decodeBlock, nearestCodes, newLevelBlock } from "./levels_block.ts";
import { refitColumns, refitRows } from "./levels_refit.ts";
import { fitLevels } from "./levels_rsr.ts";

/** As `fitBlock`, with codes of `order` bits: scales are what fp16 holds, and codes are chosen for those. */
export const fitLevelBlock: typeof fitBlock = async (X, U, order, settings, spread, kernels) => {
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
};
