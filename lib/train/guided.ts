/** Second moments guided by the model's loss: each linear weighs a token by how much the loss feels its output there. */
import type { Calibration } from "../diffusion/mcs.ts";
import type { Hidden } from "../model/engine.ts";
import type { RawLogits } from "../model/forward.ts";
import type { Model } from "../model/model.ts";
import { concat } from "../tensor/concat.ts";
import { rng } from "../tensor/rng.ts";
import { forward, memoryTape } from "./backward.ts";
import { KlHead } from "./kl_head.ts";
import { OutputGradients } from "./output_gradients.ts";

export interface GuidedOptions {
  /** Of the labels that are drawn. */
  readonly seed: number;
  /** Groups of rows of each linear, equal runs of them, each with a second moment of its own: for methods that treat rows apart, as rtn and gptq do. */
  readonly groups?: number;
  /** Share of the plain second moment, from 0 to 1. */
  readonly mix?: number;
  /** Weights are cut off at this quantile of a group's, since few tokens have very large ones; 1 leaves them. */
  readonly clip?: number;
  /** The text without masks: the loss is then the cross entropy of its tokens, else of tokens drawn from the model's own predictions. */
  readonly labels?: readonly Int32Array[];
  /** Windows per pass. Memory holds their states at each half of a block. */
  readonly batch?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * The calibration with a guide: for a linear z = W x and rows k, H_k = Σ_t s_tk x_t x_tᵀ with s_tk the mean of (dl/dz)² over those rows (GuidedQuant), l
 * the sum over masked positions of the cross entropy of labels, by one backward pass of the model. With labels drawn from the model's own predictions
 * that is the Fisher information, the curvature of the divergence of a changed model from it. Weights are clipped, mixed with plain ones, and scaled to a
 * mean of one over the tokens and groups of a linear; those of positions and by inverse norms, if any, multiply them.
 *
 * @throws TypeError when the calibration has a guide already, or the model has experts; RangeError when an option is out of range, the rows of a linear do
 *   not divide into `groups`, windows or labels differ in length, or nothing is masked.
 *
 * @example
 * ```ts
 * import { guided, levels, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const masked = simulateMasks(corpus, { maskId: model.maskId, seed: 1 });
 * const calibration = await guided(model, masked, { seed: 1 });
 * const quantized = await quantize(model, levels({ bits: 2, group: 128 }), { calibration });
 * ```
 */
export async function guided(model: Model, calibration: Calibration, options: GuidedOptions): Promise<Calibration> {
  const { groups = 1, mix = 0.1, clip = 0.999, labels, batch = 32, onProgress, signal } = options;
  check(model, calibration, options);
  const { windows } = calibration, length = windows[0].length;
  const { engine, weights, architecture: { layers } } = model;
  await using back = new OutputGradients(engine, groups), head = new KlHead(engine);
  const norm = await weights.finalNorm();
  const matrix = concat(await Array.fromAsync(weights.rows("head")), Float32Array);
  const found: Record<string, Float32Array[]> = {};
  let felt = 0;
  for (let from = 0; from < windows.length; from += batch) {
    const some = windows.slice(from, from + batch), tokens = concat(some, Int32Array);
    const positions = Int32Array.from(
      [...tokens.keys()].filter((p) => tokens[p] === model.maskId && p % length >= model.firstPredicted),
    );
    felt += positions.length;
    if (positions.length === 0) continue;
    signal?.throwIfAborted();
    const tape = memoryTape();
    const last = await forward(engine, { x: await model.embed(tokens, some.length), weights, tape });
    const rows = model.rowsBehind(positions, length),
      all = labels && concat(labels.slice(from, from + batch), Int32Array);
    const known = new Map(all && Array.from(rows, (row, i) => [row, all[positions[i]]]));
    const seed = (row: number) => rng(options.seed, "labels", from + Math.floor(row / length), row % length);
    let { dX: dOut } = await head.run(last, {
      rows,
      weights: new Float32Array(rows.length).fill(1),
      teacher: (own) => labelled(model, last, own, (row, data) => known.get(row) ?? draw(data, seed(row).next())),
      norm,
      head: matrix,
    });
    for (let layer = layers - 1; layer >= 0; layer--) {
      const block = await weights.block(layer);
      for (const half of ["feedForward", "attention"] as const) {
        signal?.throwIfAborted();
        const x = await tape.take(2 * layer + (half === "attention" ? 0 : 1));
        const { dX, squares } = await back.run(x, { half, dOut, weights: block });
        dOut = dX;
        for (const [linear, s] of Object.entries(squares)) {
          const blank = () => Array.from({ length: groups }, () => new Float32Array(windows.length * length));
          (found[`${layer}.${linear}`] ??= blank()).forEach((own, k) => {
            for (let t = 0; t < tokens.length; t++) own[from * length + t] = s[t * groups + k];
          });
        }
      }
    }
    onProgress?.(Math.min(from + batch, windows.length), windows.length);
  }
  if (felt === 0) throw new RangeError(`Cannot guide by ${calibration.name}: nothing that is predicted is masked`);
  const name = [
    `${calibration.name}+guided`,
    groups === 1 ? "" : `r${groups}`,
    mix === 0.1 ? "" : `mix${mix}`,
    clip === 0.999 ? "" : `clip${clip}`,
    labels ? "labels" : "",
  ];
  return {
    ...calibration,
    name: name.filter(Boolean).join("-"),
    guide: Object.fromEntries(Object.entries(found).map(([linear, own]) => [linear, tempered(own, { mix, clip })])),
  };
}

function check({ vocabSize }: Model, { name, windows, guide }: Calibration, options: GuidedOptions): void {
  const { mix = 0.1, clip = 0.999, labels, batch = 32 } = options;
  if (guide) throw new TypeError(`Cannot guide by ${name}: it is guided already`);
  if (!(mix >= 0 && mix <= 1)) throw new RangeError(`Cannot mix ${mix} of the plain second moment: wanted 0 to 1`);
  if (!(clip > 0 && clip <= 1)) throw new RangeError(`Cannot clip weights at the quantile ${clip}: wanted 0 to 1`);
  if (!(Number.isInteger(batch) && batch > 0)) {
    throw new RangeError(`Cannot guide by ${batch} windows at once: wanted a positive integer`);
  }
  const length = windows[0]?.length ?? 0, odd = [...windows, ...labels ?? []].some((w) => w.length !== length);
  if (length === 0 || odd || (labels && labels.length !== windows.length)) {
    throw new RangeError(`Cannot guide by ${name}: wanted windows of one length, and labels as many and as long`);
  }
  const unknown = labels?.flatMap((w) => [...w]).find((label) => !(label >= 0 && label < vocabSize));
  if (unknown === undefined) return;
  throw new RangeError(`Cannot guide by ${name}: there is no token ${unknown}; the vocabulary has ${vocabSize}`);
}

/** Logits that are certain of a label at each row: `choose` is given the row and, of the last states x, its logits. */
async function labelled(
  model: Model,
  x: Hidden,
  rows: Int32Array,
  choose: (row: number, logits: Float32Array) => number,
): Promise<RawLogits> {
  const logits = await model.forward.head(x, rows), { shape: [, width], data } = logits;
  rows.forEach((row, i) => {
    const own = data.subarray(i * width, (i + 1) * width), label = choose(row, own);
    own.fill(0);
    own[label] = CERTAIN; // e^-CERTAIN is zero
  });
  return logits;
}

const CERTAIN = 1e4;

/** The token at u of the distribution softmax(x). */
function draw(x: Float32Array, u: number): number {
  let max = -Infinity, total = 0;
  for (const logit of x) max = Math.max(max, logit);
  for (const logit of x) total += Math.exp(logit - max);
  let rest = u * total;
  for (let v = 0; v < x.length; v++) {
    rest -= Math.exp(x[v] - max);
    if (rest < 0) return v;
  }
  return x.indexOf(max);
}

/** Clipped group by group, mixed with plain weights, and scaled to a mean of one over all; a group that the loss does not feel counts tokens alike. */
export function tempered(
  groups: readonly Float32Array[],
  { mix, clip }: { readonly mix: number; readonly clip: number },
): Float32Array[] {
  const clipped = groups.map((s) => {
    const most = s.toSorted()[Math.ceil(clip * s.length) - 1];
    return s.map((x) => Math.min(x, most));
  });
  const means = clipped.map((s) => s.reduce((sum, x) => sum + x, 0) / s.length);
  const common = means.reduce((sum, m) => sum + m, 0) / means.length;
  return clipped.map((s, k) => s.map((x) => means[k] === 0 ? 1 : ((1 - mix) * x + mix * means[k]) / common));
}
