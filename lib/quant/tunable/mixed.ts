/** The stored form `mixed` in motion: w = s (q - z), for one bit μ + s (2 q - 1). Zero points stay. */
import { floatToHalf, halfToFloat } from "../../tensor/half.ts";
import { concat } from "../../tensor/concat.ts";
import { roundHalfEven } from "../../tensor/rounding.ts";
import { type MixedGroup, readMixed, storeMixed } from "../forms/mixed.ts";
import type { QuantizedLinear } from "../method.ts";
import type { Latents, Tunable } from "./tunable.ts";

export function tunableMixed(given: QuantizedLinear): Tunable {
  const [rows, cols] = given.shape, groups = readMixed(given), single = groups.filter(({ means }) => means);
  const scales = {
    scales: concat(groups.map(({ scales }) => scales), Float32Array),
    means: concat(single.map(({ means }) => means!), Float32Array),
  };
  let now: readonly MixedGroup[] = groups;
  const each = (visit: (group: MixedGroup, i: number, k: number, at: number, b: number) => void) => {
    now.forEach((group, b) => {
      for (let i = 0, k = 0; i < rows; i++) {
        for (let j = 0; j < group.width; j++, k++) visit(group, i, k, i * cols + group.start + j, b);
      }
    });
  };
  const valueOf = ({ bits, codes, scales, zeros, means }: MixedGroup, i: number, k: number) =>
    bits === 1 ? means![i] + scales[i] * (2 * codes[k] - 1) : scales[i] * (codes[k] - zeros[i]);

  const follow = ({ latents, reach }: Latents): number => {
    let changed = 0;
    each(({ bits, codes, scales, zeros, means }, i, k, at) => {
      const scale = scales[i], top = 2 ** bits - 1, old = codes[k];
      if (scale === 0) return;
      const center = bits === 1 ? means![i] : 0, step = bits === 1 ? 2 * scale : scale;
      const zero = bits === 1 ? 0.5 : zeros[i];
      // Half a step beyond a boundary moves a code, so that a latent on the boundary leaves it.
      const offset = (latents[at] - center) / step + zero - old;
      if (Math.abs(offset) > 0.5) codes[k] = Math.min(top, Math.max(0, old + roundHalfEven(offset)));
      if (codes[k] !== old) changed++;
      const [a, b] = [center + reach * step * -zero, center + reach * step * (top - zero)];
      latents[at] = Math.min(Math.max(a, b), Math.max(Math.min(a, b), latents[at]));
    });
    return changed;
  };

  return {
    scales,
    settle(W, moving) {
      const round = (x: Float32Array) => halfToFloat(floatToHalf(x)),
        [s, m] = [round(scales.scales), round(scales.means)];
      const wrong = [...s, ...m].find((x) => !Number.isFinite(x));
      if (wrong !== undefined) {
        throw new RangeError(`Cannot store scales of "${given.name}": ${wrong} is no number of fp16; lower the rate`);
      }
      let mean = 0;
      now = now.map((group, b) => {
        const own = { ...group, scales: s.subarray(b * rows, (b + 1) * rows) };
        return group.means ? { ...own, means: m.subarray(mean, mean += rows) } : own;
      });
      const changed = moving ? follow(moving) : 0;
      each((group, i, k, at) => W[at] = valueOf(group, i, k));
      return changed;
    },
    gradients(G, into) {
      into.scales.fill(0);
      into.means.fill(0);
      const place = new Map(single.map(({ start }, p) => [start, p * rows]));
      each(({ bits, codes, zeros, start }, i, k, at, b) => {
        into.scales[b * rows + i] += G[at] * (bits === 1 ? 2 * codes[k] - 1 : codes[k] - zeros[i]);
        if (bits === 1) into.means[place.get(start)! + i] += G[at];
      });
    },
    halfCell() {
      let sum = 0;
      each(({ bits, scales }, i) => sum += Math.abs(scales[i]) * (bits === 1 ? 1 : 0.5));
      return sum / (rows * cols);
    },
    stored: () => storeMixed(given.name, { rows, cols, group: Number(given.config.group), groups: now }, given.report),
  };
}
