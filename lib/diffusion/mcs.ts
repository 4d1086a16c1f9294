/** Masked calibration simulation (MCS of Quant-dLLM): calibration windows in the states that a masked diffusion model meets while it denoises. */
import { rng } from "../tensor/rng.ts";

/** Text to calibrate on: token windows as the model would read them. */
export interface Corpus {
  /** Token ids, each window `[length]` int32. */
  readonly windows: readonly Int32Array[];
}

/** Model inputs to collect second moments on. */
export interface Calibration {
  /** Canonical, derived from the options: the key in results and caches. */
  readonly name: string;
  /** Token ids after masking, each window `[length]` int32. */
  readonly windows: readonly Int32Array[];
  /** The mask probability of each window's suffix, 0 for an unmasked one; as long as `windows`. */
  readonly timesteps: readonly number[];
  /** Weight of each position in the second moments, each `[length]` float32; all equal when absent. */
  readonly weights?: readonly Float32Array[];
  /** Whether a position also counts by 1 / mean(x²) of the very input that a linear reads there. */
  readonly inverseNorm?: boolean;
  /** Further weights, of one linear each. */
  readonly guide?: Guide;
}

/**
 * Weights of positions that differ from linear to linear, by `layer.linear` ("0.q"): one array `[windows · length]` for each group of its rows, equal runs
 * of them. All linears have as many groups.
 */
export type Guide = Readonly<Record<string, readonly Float32Array[]>>;

export interface SimulateMasksOptions {
  /** The id that stands for a masked token. */
  readonly maskId: number;
  readonly seed: number;
  /** gamma: the share of each window, from its start, that always stays visible. */
  readonly prefix?: number;
  /**
   * S: masked copies per window, at S timesteps each. Absent: one copy, window i of N at t = (i + 1) / N, as the official code does.
   * GAP(paper §MCS): T, the number of timesteps per window, is not stated.
   */
  readonly timesteps?: number;
  /** How the S timesteps of a window are drawn from (0, 1]: one from each of S equal strata, or independently. */
  readonly sampling?: "stratified" | "uniform";
}

/**
 * Masks windows as forward diffusion at a timestep t would: the first floor(gamma · L) positions stay, every later one becomes the mask with
 * probability t = 1 - alpha(t), independently. Positions are masked where u < t with one uniform u per position, drawn from a stream of the
 * window's own, so a window's masks depend on nothing but the seed, its index and its timestep.
 *
 * @returns `N` windows, or `N · S` with the S copies of a window next to each other.
 * @throws RangeError when `prefix` is outside [0, 1], `timesteps` is not a positive integer, or the corpus is empty.
 *
 * @example
 * ```ts
 * import { gptq, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const calibration = simulateMasks(corpus, { maskId: model.maskId, seed: 1 });
 * const quantized = await quantize(model, gptq({ bits: 2, group: 32 }), { calibration });
 * ```
 */
export function simulateMasks(corpus: Corpus, options: SimulateMasksOptions): Calibration {
  const { maskId, seed, prefix = 0.25, timesteps: copies, sampling = "stratified" } = options;
  if (!(prefix >= 0 && prefix <= 1)) {
    throw new RangeError(`Cannot simulate masks with prefix ${prefix}: wanted a share from 0 to 1`);
  }
  if (copies !== undefined && !(Number.isInteger(copies) && copies >= 1)) {
    throw new RangeError(`Cannot simulate masks at ${copies} timesteps per window: wanted a positive integer`);
  }
  const count = corpus.windows.length;
  if (count === 0) throw new RangeError("Cannot simulate masks: the corpus holds no windows");

  const windows: Int32Array[] = [], timesteps: number[] = [];
  corpus.windows.forEach((tokens, i) => {
    for (let s = 0; s < (copies ?? 1); s++) {
      const random = rng(seed, "mcs", i, s);
      let t = (i + 1) / count;
      if (copies !== undefined) {
        // 1 - u lies in (0, 1]: the clean state t = 0 never occurs, the fully masked suffix t = 1 may.
        const u = 1 - random.next();
        t = sampling === "stratified" ? (s + u) / copies : u;
      }
      const masked = Int32Array.from(tokens);
      for (let p = Math.floor(prefix * tokens.length); p < tokens.length; p++) {
        if (random.next() < t) masked[p] = maskId;
      }
      windows.push(masked);
      timesteps.push(t);
    }
  });
  const per = copies === undefined ? "" : `-s${copies}${sampling === "uniform" ? "u" : ""}`;
  return { name: `mcs${per}-g${prefix}`, windows, timesteps };
}

/**
 * The corpus as it is, with no masks: how autoregressive models are calibrated.
 *
 * @example
 * ```ts
 * import { loadCorpus, loadModel, simulateMasks, visible } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * // The two sides of the paper's ablation of MCS: the same text, without masks and with.
 * const calibrations = [visible(corpus), simulateMasks(corpus, { maskId: model.maskId, seed: 1 })];
 * ```
 */
export function visible(corpus: Corpus): Calibration {
  return { name: "visible", windows: corpus.windows, timesteps: corpus.windows.map(() => 0) };
}
