/**
 * The data-aware any-order quantiser (DAQ of Quant-dLLM): a weight becomes, per column block, a sum of K binary planes with row and column scales
 * (Eq. 3), fitted to the weights (Eq. 6) or to the output error tr((W - Q) H (W - Q)ᵀ) (Eq. 4).
 */
import { type BlockKind, blockwise } from "./blockwise.ts";
import { fitBlock } from "./fit.ts";
import { type DaqOptions, nameOf } from "./options.ts";
import { planeSteps } from "./plane_steps.ts";
import type { Method } from "../../quant/method.ts";

export type { DaqOptions, DaqProfile, DaqSettings } from "./options.ts";

const planes: BlockKind = {
  method: "daq",
  parts: "planes",
  format: "binary",
  mostBits: 4,
  fit: fitBlock,
  steps: planeSteps,
  addsLosses: true,
};

/**
 * DAQ as a method.
 *
 * @throws RangeError when `bits` is not 1 to 4, `group` not a positive integer or the profile unknown; from `quantize`, TypeError when W and H do not
 * fit. When no damping makes H positive definite the planes are fitted to the weights alone, and `report.fallback` says so.
 */
export function daq(options: DaqOptions): Method {
  return blockwise(planes, options, nameOf(options));
}
