/** From a stored linear to what can be tuned of it, by its form. */
import type { QuantizedLinear } from "../method.ts";
import type { Tunable } from "./tunable.ts";
import { tunableGroups } from "./groups.ts";
import { tunableLevels } from "./levels.ts";
import { tunableMixed } from "./mixed.ts";
import { tunableUniform } from "./uniform.ts";

/** A stored linear as it can be tuned. Throws `TypeError` for an unknown form, or one without a tensor that it needs. */
export function tunable(q: QuantizedLinear): Tunable {
  switch (q.format) {
    case "uniform":
      return tunableUniform(q);
    case "binary":
    case "levels":
      return tunableGroups(q);
    case "mixed":
      return tunableMixed(q);
  }
  const found = tunableLevels(q);
  if (found) return found;
  throw new TypeError(`Cannot tune "${q.name}": the form "${q.format}" is unknown`);
}
