/** The text that commands calibrate on and tune to. */
import {
  type Calibration,
  certaintyWeighted,
  type Checkpoint,
  type Corpus,
  corpusText,
  knowsNanoWorld,
  loadCorpus,
  type MarkedText,
  type Model,
  samplerOf,
  samplerStates,
  simulateMasks,
  type TextSource,
  visible,
} from "quant-dllm";
import { createWorld, WORLD_SEED, worldText } from "quant-dllm/testbed";

/** Where text comes from, and how it is cut. */
export interface Cut {
  /** `nanoworld` (the testbed's own training split), `sampler`, or what `loadCorpus` takes. */
  readonly from: string;
  readonly length: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

/** What a run takes when nothing else is asked for: windows to calibrate on, and the steps of a tuning, by model or of each block. */
export interface Preset {
  readonly calibration: string;
  readonly windows: number;
  readonly length: number;
  readonly steps: { readonly model: number; readonly block: number };
}

/** `paper` calibrates as Quant-dLLM does; `laptop` fits a night on a few cores; `gpu` sees more text, and tunes longer. The testbed has its own sizes. */
export const presets: Readonly<Record<string, Preset>> = {
  laptop: { calibration: "wikitext", windows: 32, length: 1024, steps: { model: 1500, block: 200 } },
  gpu: { calibration: "c4", windows: 128, length: 2048, steps: { model: 3000, block: 800 } },
  paper: { calibration: "c4", windows: 128, length: 4096, steps: { model: 1500, block: 200 } },
};
export const testbedPreset = { calibration: "nanoworld", windows: 128, length: 64 };

/** Throws `RangeError` where text of the testbed would be given to a model that does not speak its language. */
export function checkTestbed({ source, tokenizer }: Checkpoint): void {
  if (tokenizer && knowsNanoWorld(tokenizer)) return;
  throw new RangeError(
    `--calibration nanoworld is text of the testbed's own words, which ${source.name} does not have`,
  );
}

/** Inputs to calibrate on: `windows` of them, the last `heldOut` for judging, masked where `mcs` says so. */
export async function calibrationOf(
  model: Model,
  { from, length, seed, signal }: Cut,
  { windows, heldOut, mcs, trajectory = false }: {
    readonly windows: number;
    readonly heldOut: number;
    readonly mcs: boolean;
    /** The model's own way over the text, tokens by certainty: what DLLMQuant calibrates on. */
    readonly trajectory?: boolean;
  },
): Promise<Calibration> {
  if (from === "sampler") {
    const corpus = await loadCorpus("wikitext", { tokenizer: model.tokenizer, count: windows, length, seed, signal });
    return await samplerStates(model, corpus, { seed, signal, sampler: samplerOf(model) });
  }
  const corpus: Corpus = from === "nanoworld"
    ? world(windows, length).draw(seed, 0)
    : await loadCorpus(from, { tokenizer: model.tokenizer, count: windows, length, seed, signal });
  if (trajectory) return await trajectoryCalibration(model, corpus, { seed, signal });
  if (!mcs) return visible(corpus);
  // Timesteps run over the windows: those held out get a sweep of their own, else they would all be of the last ones.
  const [used, rest] = [corpus.windows.slice(0, windows - heldOut), corpus.windows.slice(windows - heldOut)];
  const masked = simulateMasks({ windows: used }, { maskId: model.maskId, seed });
  if (heldOut === 0) return masked;
  const kept = simulateMasks({ windows: rest }, { maskId: model.maskId, seed: seed + 1 });
  const joined = { windows: [...masked.windows, ...kept.windows], timesteps: [...masked.timesteps, ...kept.timesteps] };
  return { ...masked, ...joined };
}

/** What DLLMQuant calibrates on: states of the sampler by its quotas (TMAS), tokens by certainty (CGQ). */
export async function trajectoryCalibration(
  model: Model,
  corpus: Corpus,
  { seed, signal }: { readonly seed: number; readonly signal?: AbortSignal },
): Promise<Calibration> {
  const quotas = [0.3, 0.2, 0.2, 0.3];
  const states = await samplerStates(model, corpus, { seed, signal, sampler: samplerOf(model), quotas });
  return await certaintyWeighted(model, states, { signal });
}

/** What a tuning goes through, and what judges it. */
export interface TuningText {
  readonly text: TextSource;
  readonly judge: MarkedText;
}

/**
 * Text to tune to in batches, and windows that judge it: of the testbed its training split without end and statements held out of it; else `windows` of the
 * text, and as many as a batch beside them.
 */
export async function tuningTextOf(
  { tokenizer, source }: Checkpoint,
  { from, length, seed, signal }: Cut,
  { batch, windows }: { readonly batch: number; readonly windows: number },
): Promise<TuningText> {
  if (from === "nanoworld") {
    const judge = world(JUDGES, length, "validation").draw(0, 0);
    return { text: world(batch, length), judge };
  }
  if (!tokenizer) throw new RangeError(`Cannot tune ${source.name}: its folder holds no tokenizer.json`);
  const name = from === "sampler" ? "wikitext" : from;
  const corpus = await loadCorpus(name, { tokenizer, count: windows + batch, length, seed: seed + 1, signal });
  const part = (from: number, to?: number) => ({
    windows: corpus.windows.slice(from, to),
    ...(corpus.answers && { answers: corpus.answers.slice(from, to) }),
  });
  const used = part(0, windows), judge = part(windows);
  return { text: corpusText(used, { name: name.split(/[/\\]/).at(-1)!, batch }), judge };
}

/** Windows of the testbed that judge. */
const JUDGES = 64;

const world = (batch: number, length: number, split: "train" | "validation" = "train") =>
  worldText(createWorld({ seed: WORLD_SEED }), { batch, length, split });
