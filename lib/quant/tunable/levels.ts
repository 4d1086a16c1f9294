/** Forms whose levels alone can move, codes staying as they are. */
import { floatToHalf, halfToFloat } from "../../tensor/half.ts";
import type { QuantizedLinear, StoredTensor } from "../method.ts";
import { ofLevels } from "./levels_of.ts";
import type { Scales, Tunable } from "./tunable.ts";

/** A stored linear whose levels move, or undefined for another form. `settle` throws `TypeError` when codes are to move too. */
export function tunableLevels(given: QuantizedLinear): Tunable | undefined {
  const found = ofLevels[given.format]?.(given);
  if (!found) return undefined;
  let q = given, settled: Scales = found.levels;
  const scales = Object.fromEntries(Object.entries(found.levels).map(([name, x]) => [name, x.slice()]));
  const refuse = (): never => {
    throw new TypeError(
      `Cannot tune the codes of "${given.name}": in the form "${given.format}" levels alone move; tune scales (--tune scales)`,
    );
  };
  return {
    scales,
    settle(W, moving) {
      if (moving) refuse();
      const tensors: Record<string, StoredTensor> = { ...q.tensors }, rounded: Record<string, Float32Array> = {};
      for (const [name, x] of Object.entries(scales)) {
        const halves = floatToHalf(x);
        rounded[name] = halfToFloat(halves);
        const wrong = rounded[name].find((value) => !Number.isFinite(value));
        if (wrong !== undefined) {
          throw new RangeError(`Cannot store ${name} of "${q.name}": ${wrong} is no number of fp16; lower the rate`);
        }
        tensors[name] = { ...tensors[name], bytes: new Uint8Array(halves.buffer) };
      }
      q = { ...q, tensors };
      settled = rounded;
      found.decode(settled, W);
      return 0;
    },
    gradients(G, into) {
      for (const x of Object.values(into)) x.fill(0);
      found.gradients(settled, G, into);
    },
    halfCell: refuse,
    stored: () => q,
  };
}
