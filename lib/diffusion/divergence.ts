/** How far a model's masked predictions are from another's: what quantisation does to them, without asking for the right answer. */
import type { Denoiser } from "./denoiser.ts";
import { drawMasks, type MaskShares } from "./masks.ts";
import type { MarkedText } from "./text.ts";
import { rng } from "../tensor/rng.ts";

/** Masked windows as a batch. */
export interface MaskedBatch {
  /** Token ids with masks, `[batch · length]`. */
  readonly tokens: Int32Array;
  readonly batch: number;
  /** Flat positions that are masked. */
  readonly positions: Int32Array;
}

/** Windows under their masks. */
export function maskedBatch(
  windows: readonly Int32Array[],
  { masks, maskId }: { readonly masks: readonly Uint8Array[]; readonly maskId: number },
): MaskedBatch {
  const length = windows[0].length, positions: number[] = [];
  const tokens = new Int32Array(windows.length * length);
  windows.forEach((window, w) => {
    tokens.set(window, w * length);
    masks[w].forEach((masked, p) => {
      if (masked !== 1) return;
      tokens[w * length + p] = maskId;
      positions.push(w * length + p);
    });
  });
  return { tokens, batch: windows.length, positions: Int32Array.from(positions) };
}

/** KL(teacher || student) in nats, mean over masked positions. */
export interface Divergence {
  /** Under the forward process, all rates of masking alike. */
  readonly forward: number;
  /** At whole answers, or spans where the text marks none. */
  readonly answers: number;
}

/** Logits that are there at once. */
const CHUNK = 2 ** 24;

/**
 * The divergence of `student` from `teacher` on every window of a text, masked in both ways. The same seed gives the same masks for every student.
 *
 * @example
 * ```ts
 * import { divergence, loadCorpus, loadModel, quantize, rtn } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 256, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const small = await quantize(model, rtn({ bits: 2, group: 128 }));
 * const { forward, answers } = await divergence(model, small, { text: corpus, seed: 1 });
 * ```
 */
export async function divergence(
  teacher: Denoiser,
  student: Denoiser,
  { text, seed }: { readonly text: MarkedText; readonly seed: number },
): Promise<Divergence> {
  const mean = async (shares: MaskShares) => {
    const { maskId, vocabSize, firstPredicted } = teacher, { windows } = text;
    const masks = drawMasks(text, { shares, random: rng(seed, "divergence"), firstPredicted });
    const size = Math.max(1, Math.floor(CHUNK / (windows[0].length * vocabSize)));
    let sum = 0, count = 0;
    for (let from = 0; from < windows.length; from += size) {
      const own = { masks: masks.slice(from, from + size), maskId };
      const { tokens, batch, positions: rows } = maskedBatch(windows.slice(from, from + size), own);
      const wanted = await teacher.logits(tokens, { batch, rows });
      const found = await student.logits(tokens, { batch, rows });
      for (let i = 0; i < rows.length; i++) sum += klOfRow(wanted.data, found.data, i * vocabSize, vocabSize);
      count += rows.length;
    }
    return sum / count;
  };
  return { forward: await mean({ forward: 1, answers: 0 }), answers: await mean({ forward: 0, answers: 1 }) };
}

/** Σ p (log p - log q) of two rows of logits. */
function klOfRow(p: Float32Array, q: Float32Array, start: number, length: number): number {
  const a = logTotal(p, start, length), b = logTotal(q, start, length);
  let sum = 0;
  for (let v = start; v < start + length; v++) {
    const log = p[v] - a;
    sum += Math.exp(log) * (log - (q[v] - b));
  }
  return sum;
}

function logTotal(x: Float32Array, start: number, length: number): number {
  let max = -Infinity, sum = 0;
  for (let v = start; v < start + length; v++) max = Math.max(max, x[v]);
  for (let v = start; v < start + length; v++) sum += Math.exp(x[v] - max);
  return max + Math.log(sum);
}
