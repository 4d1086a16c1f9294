/** The stored form `uniform` in motion: w = s (q - z) / c, dL/ds = Σ G (q - z) / c over the weights of a row and group. Zero points and factors c of columns stay. */
import { packBits } from "../../format/bits.ts";
import { floatToHalf, halfToFloat } from "../../tensor/half.ts";
import { roundHalfEven } from "../../tensor/rounding.ts";
import type { QuantizedLinear, StoredTensor } from "../method.ts";
import type { Latents, Tunable } from "./tunable.ts";
import { readUniform } from "../forms/uniform.ts";

export function tunableUniform(given: QuantizedLinear): Tunable {
  const { rows, cols, bits, group, codes, zeros, scales: held, groupOf, inScale } = readUniform(given);
  const groups = Math.ceil(cols / group), top = 2 ** bits - 1;
  const scales = { scales: held }, c = inScale ?? new Float32Array(cols).fill(1);
  const groupAt = groupOf ?? Int32Array.from({ length: cols }, (_, j) => Math.floor(j / group));
  let q = given, s: Float32Array = held.slice(), moved = false;

  const follow = ({ latents, reach }: Latents): number => {
    let changed = 0;
    for (let i = 0, at = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++, at++) {
        const g = i * groups + groupAt[j], scale = s[g], zero = zeros[g], old = codes[at];
        if (scale === 0) continue;
        const w = latents[at] * c[j];
        // Half a step beyond a boundary moves a code, so that a latent on the boundary leaves it.
        const offset = w / scale + zero - old;
        if (Math.abs(offset) > 0.5) {
          const code = Math.min(top, Math.max(0, old + roundHalfEven(offset)));
          if (code !== old) changed++;
          codes[at] = code;
        }
        const a = reach * (scale * -zero), b = reach * (scale * (top - zero));
        latents[at] = Math.min(Math.max(a, b), Math.max(Math.min(a, b), w)) / c[j];
      }
    }
    return changed;
  };

  return {
    scales,
    settle(W, moving) {
      const halves = floatToHalf(scales.scales);
      s = halfToFloat(halves);
      const wrong = s.find((x) => !Number.isFinite(x));
      if (wrong !== undefined) {
        throw new RangeError(`Cannot store scales of "${q.name}": ${wrong} is no number of fp16; lower the rate`);
      }
      const stored: StoredTensor = { ...q.tensors.scales, bytes: new Uint8Array(halves.buffer) };
      q = { ...q, tensors: { ...q.tensors, scales: stored } };
      const changed = moving ? follow(moving) : 0;
      for (let i = 0, at = 0; i < rows; i++) {
        for (let j = 0; j < cols; j++, at++) {
          const g = i * groups + groupAt[j];
          W[at] = s[g] * (codes[at] - zeros[g]) / c[j];
        }
      }
      moved ||= changed > 0;
      return changed;
    },
    gradients(G, into) {
      const out = into.scales.fill(0);
      for (let i = 0, at = 0; i < rows; i++) {
        for (let j = 0; j < cols; j++, at++) {
          const g = i * groups + groupAt[j];
          out[g] += G[at] * (codes[at] - zeros[g]) / c[j];
        }
      }
    },
    halfCell() {
      let sum = 0;
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < cols; j++) sum += Math.abs(s[i * groups + groupAt[j]] / c[j]) / 2;
      }
      return sum / (rows * cols);
    },
    stored() {
      if (moved) {
        const stream: StoredTensor = { ...q.tensors.codes, bytes: packBits(codes, bits) };
        q = { ...q, tensors: { ...q.tensors, codes: stream } };
        moved = false;
      }
      return q;
    },
  };
}
