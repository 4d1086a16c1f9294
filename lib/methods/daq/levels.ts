/**
 * The data-aware quantiser on uniform levels: DAQ of Quant-dLLM under the constraint a^1 = 2 a^2 = 4 a^3 with one column scale (Eq. 3), which the
 * kernels for uniform codes run at full speed and which stores half the scales. Fitted as DAQ is, to the weights (Eq. 6) or to the output error (Eq. 4).
 */
import { type BlockKind, blockwise } from "./blockwise.ts";
import { type DaqOptions, nameOf } from "./options.ts";
import { fitLevelBlock } from "./levels_fit.ts";
import { levelSteps } from "./levels_steps.ts";
import type { Method } from "../../quant/method.ts";

/** DAQ's options. Codes have no signs to choose plane by plane: the profile `paper` and `signs` have no meaning here. */
export interface LevelsOptions extends Omit<DaqOptions, "signs" | "profile"> {
  /** Bits of a code, 1 to 3, or an allocation to blocks. An allocation gated by measurement measures blocks of binary planes. */
  readonly bits: DaqOptions["bits"];
  readonly profile?: "official" | "plus";
}

const uniformLevels: BlockKind = {
  method: "levels",
  parts: "levels",
  format: "levels",
  mostBits: 3,
  fit: fitLevelBlock,
  steps: levelSteps,
  addsLosses: false,
};

/**
 * DAQ on uniform levels as a method.
 *
 * @throws RangeError when `bits` is not 1 to 3, `group` not a positive integer or the profile unknown; from `quantize`, TypeError when W and H do not
 * fit, RangeError when an allocation asks for more than 3 bits. When no damping makes H positive definite the codes are fitted to the weights alone, and
 * `report.fallback` says so.
 */
export function levels(options: LevelsOptions): Method {
  const { profile = "plus" } = options;
  if (profile !== "plus" && profile !== "official") {
    throw new RangeError(`Cannot make levels with profile ${JSON.stringify(profile)}: wanted plus or official`);
  }
  const name = nameOf(options).replace(`daq-${profile}-`, `daq-${profile}-levels-`);
  return blockwise(uniformLevels, options, name);
}
