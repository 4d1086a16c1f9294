/** A loss on hidden states: how far each token's is from the teacher's, relative to that token's own size, so that the few huge tokens do not rule. */
import type { Hidden } from "../model/engine.ts";

/**
 * Mean over tokens of ‖x - h‖² / ‖h‖². Adds `weight` times its gradient with respect to x to `gradient` `[batch, time, width]`. A token whose h is zero
 * counts for nothing.
 */
export function addRelativeError(
  x: Hidden,
  { wanted: h, weight, gradient }: {
    readonly wanted: Hidden;
    readonly weight: number;
    readonly gradient: Float32Array;
  },
): number {
  const tokens = x.batch * x.time, width = x.data.length / tokens;
  let sum = 0;
  for (let start = 0; start < x.data.length; start += width) {
    let error = 0, power = 0;
    for (let at = start; at < start + width; at++) {
      error += (x.data[at] - h.data[at]) ** 2;
      power += h.data[at] ** 2;
    }
    if (power === 0) continue;
    sum += error / power;
    const scale = 2 * weight / (power * tokens);
    for (let at = start; at < start + width; at++) gradient[at] += scale * (x.data[at] - h.data[at]);
  }
  return sum / tokens;
}
