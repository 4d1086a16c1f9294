/** The stored form `mixed` as products that `MatMulNBits` computes: one over the groups of up to two bits where kernels have two, one over the others in four. */
import { packBits } from "../format/bits.ts";
import { groupOf } from "../quant/forms/grouped.ts";
import { type MixedGroup, readMixed } from "../quant/forms/mixed.ts";
import type { QuantizedLinear } from "../quant/method.ts";
import { kernelBlock, runsOf, type Term } from "./kernel.ts";

/** The terms of a linear; see `termsOf`. */
export function mixedTerms(q: QuantizedLinear, narrow: boolean): Term[] {
  const groups = readMixed(q), block = kernelBlock(groupOf(q));
  const small = groups.filter(({ bits }) => narrow && bits <= 2), large = groups.filter((g) => !small.includes(g));
  return [{ own: small, wide: 2 as const }, { own: large, wide: 4 as const }].filter(({ own }) => own.length > 0)
    .map(({ own, wide }) => term(own, { rows: q.shape[0], block, wide }));
}

function term(
  groups: readonly MixedGroup[],
  { rows, block, wide }: { readonly rows: number; readonly block: number; readonly wide: 2 | 4 },
): Term {
  const places = groups.flatMap((group) => runsOf(0, group.width, block).map((run) => ({ ...run, group })));
  const n = places.length, scales = new Float32Array(rows * n);
  const zeros = new Uint8Array(rows * n), codes = new Uint8Array(rows * n * block);
  const shift = groups.some(({ means }) => means) ? new Float32Array(n * rows) : undefined;
  places.forEach(({ from, width, group }, r) => {
    // One bit: μ + s (2 q - 1), the code doubled around a zero point of one, and μ by the sum of the inputs.
    const { means, bits } = group, double = bits === 1 ? 2 : 1;
    for (let i = 0; i < rows; i++) {
      const zero = means ? 1 : group.zeros[i], at = (i * n + r) * block;
      scales[i * n + r] = group.scales[i];
      zeros[i * n + r] = zero;
      if (means) shift![r * rows + i] = means[i];
      for (let j = 0; j < block; j++) {
        codes[at + j] = j < width ? double * group.codes[i * group.width + from + j] : zero;
      }
    }
  });
  const runs = places.map(({ from, width, group }) => ({ from: group.start + from, width }));
  const perRow = Math.ceil(n * wide / 8), zeroStream = new Uint8Array(rows * perRow);
  for (let i = 0; i < rows; i++) zeroStream.set(packBits(zeros.subarray(i * n, (i + 1) * n), wide), i * perRow);
  // A factor of zero where padded, so that padding adds nothing to the sums either.
  const padded = runs.some(({ width }) => width < block);
  const colScale = padded
    ? Float32Array.from({ length: n * block }, (_, k) => Number(k % block < runs[Math.floor(k / block)].width))
    : undefined;
  return { rows, block, runs, bits: wide, codes: packBits(codes, wide), scales, zeros: zeroStream, colScale, shift };
}
