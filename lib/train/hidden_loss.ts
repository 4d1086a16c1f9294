/** A loss on hidden states: how far each token's is from the teacher's, relative to that token's own size, so that the few huge tokens do not rule. */
import type { Hidden } from "../model/engine.ts";

/**
 * Mean over tokens of ‖x - h‖² / ‖h‖², each counted `counts` `[batch · time]` times (once by default). Adds `weight` times its gradient with respect to x
 * to `gradient` `[batch, time, width]`. A token whose h is zero counts for nothing.
 */
export function addRelativeError(
  x: Hidden,
  { wanted: h, weight, gradient, counts }: {
    readonly wanted: Hidden;
    readonly weight: number;
    readonly gradient: Float32Array;
    readonly counts?: Float32Array;
  },
): number {
  const tokens = x.batch * x.time, width = x.data.length / tokens;
  let sum = 0, total = 0;
  if (counts) { for (const count of counts) total += count; }
  else total = tokens;
  for (let start = 0, token = 0; start < x.data.length; start += width, token++) {
    let error = 0, power = 0;
    for (let at = start; at < start + width; at++) {
      error += (x.data[at] - h.data[at]) ** 2;
      power += h.data[at] ** 2;
    }
    if (power === 0) continue;
    const count = counts ? counts[token] : 1;
    sum += count * error / power;
    const scale = 2 * weight * count / (power * total);
    for (let at = start; at < start + width; at++) gradient[at] += scale * (x.data[at] - h.data[at]);
  }
  return sum / total;
}
