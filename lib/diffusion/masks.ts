/** Masks as a model was trained with them: the forward process over all positions, and whole answers. */
import type { Rng } from "../tensor/rng.ts";
import { roundHalfEven } from "../tensor/rounding.ts";
import type { MarkedText } from "./text.ts";

/** How many windows of a batch are masked in each way; the shares sum to one. */
export interface MaskShares {
  /** Each token masked with probability t, one t per window, stratified over (0, 1]: how a masked diffusion model is pretrained. */
  readonly forward: number;
  /** Answers masked as a whole and nothing else, each with probability 3/4: how it learns to respond. Where none is marked, one span drawn at random. */
  readonly answers: number;
}

export interface DrawMasksOptions {
  readonly shares: MaskShares;
  readonly random: Rng;
  /** Positions before this one stay visible: 1 where logits are shifted. */
  readonly firstPredicted?: number;
}

const ANSWERED = 0.75;

/**
 * Draws which tokens are masked: 1 for those, each `[length]`. The first windows go through the forward process, the rest have their answers masked. At
 * least one token of every window is, but for tokens that are to stay visible.
 *
 * @throws RangeError when the shares are not from 0 to 1 with the sum one, or windows differ in length or are too short to mask.
 */
export function drawMasks(text: MarkedText, { shares, random, firstPredicted = 0 }: DrawMasksOptions): Uint8Array[] {
  const { windows, answers, visible } = text, [first] = windows;
  if (!(shares.forward >= 0 && shares.answers >= 0 && Math.abs(shares.forward + shares.answers - 1) < 1e-9)) {
    throw new RangeError(
      `Cannot mask a share of ${shares.forward} by the forward process and of ${shares.answers} by answers: wanted a sum of one`,
    );
  }
  const wrong = windows.find(({ length }) => length !== first.length || length <= firstPredicted);
  if (!first || wrong) {
    throw new RangeError(
      `Cannot mask windows of ${first?.length ?? 0} and ${
        wrong?.length ?? 0
      } tokens: wanted one length above ${firstPredicted}`,
    );
  }
  const forward = roundHalfEven(shares.forward * windows.length), offset = random.next();
  return windows.map((tokens, w) => {
    const mask = new Uint8Array(tokens.length);
    if (w < forward) {
      const t = (w + 1 - offset) / forward;
      for (let p = firstPredicted; p < mask.length; p++) mask[p] = Number(random.next() < t);
    } else maskAnswers(mask, { marks: answers?.[w], random, firstPredicted });
    if (!mask.includes(1)) mask[firstPredicted + random.int(mask.length - firstPredicted)] = 1;
    visible?.[w].forEach((stays, p) => stays === 1 && (mask[p] = 0));
    return mask;
  });
}

function maskAnswers(
  mask: Uint8Array,
  { marks, random, firstPredicted }: {
    readonly marks?: Uint8Array;
    readonly random: Rng;
    readonly firstPredicted: number;
  },
): void {
  const spans = marks ? runsOf(marks, firstPredicted) : [];
  if (spans.length === 0) {
    const free = mask.length - firstPredicted, length = 1 + random.int(free);
    const start = firstPredicted + random.int(free - length + 1);
    mask.fill(1, start, start + length);
    return;
  }
  const chosen = spans.filter(() => random.next() < ANSWERED);
  for (const [start, end] of chosen.length > 0 ? chosen : [spans[random.int(spans.length)]]) mask.fill(1, start, end);
}

/** Runs of marked tokens as [start, end). */
function runsOf(marks: Uint8Array, from: number): [number, number][] {
  const runs: [number, number][] = [];
  for (let p = from; p < marks.length; p++) {
    if (marks[p] !== 1) continue;
    const start = p;
    while (p < marks.length && marks[p] === 1) p++;
    runs.push([start, p]);
  }
  return runs;
}
