/** Where a quantisation keeps what it makes: in memory, or in a folder that outlives the run (`folder_store.ts`). */
import type { LinearScore, QuantizedLinear } from "../quant/method.ts";
import type { Matrix } from "../tensor/matrix.ts";
import type { Linear } from "../model/architecture.ts";
import type { Model } from "../model/model.ts";
import { heldStates, type HiddenStates, type Slices } from "./hidden.ts";

/** What happened to one linear. */
export interface LinearReport {
  readonly name: string;
  /** -1 for the embedding and the head. */
  readonly layer: number;
  readonly linear: Linear;
  readonly method: string;
  /** Counted from the stored bytes. */
  readonly bitsPerWeight: number;
  /** tr((W - Q) H (W - Q)ᵀ) / tr(W H Wᵀ) on the calibration inputs; absent when no second moment was taken. */
  readonly relativeError?: number;
  /** The same on the windows that were held out. */
  readonly heldOutError?: number;
  /** What the quantiser took, where a clock was given. */
  readonly seconds?: number;
  /** What the method says of itself: damping, retries, fallbacks. */
  readonly report: QuantizedLinear["report"];
}

/** A finished linear. */
export interface Finished {
  readonly q: QuantizedLinear;
  readonly report: LinearReport;
}

/** Scores of all linears, by name. */
export type Scores = Readonly<Record<string, LinearScore>>;

/** What the walk asks for what is finished, gives what it makes, and takes its states from. Disposed, it holds nothing open. */
export interface Store<Result> extends AsyncDisposable {
  /** Whether what is put outlives the run: a stop then waits for the linear at work instead of breaking it off. */
  readonly lasting: boolean;
  /** The finished linear, or undefined. With W, it must have been made from those weights. */
  finished(name: string, W?: Matrix): Promise<Finished | undefined>;
  put(finished: Finished, W: Matrix): Promise<void>;
  /** The scores that `make` gives, from states before the first block; made once. */
  scores(make: (states: HiddenStates) => Promise<Scores>): Promise<Scores>;
  /** The states as far as they have come. Every linear before them is finished. */
  states(): Promise<HiddenStates>;
  /** The states of the full-precision model, as far as they have come: as far as `states`, or one half block behind. */
  reference(): Promise<HiddenStates>;
  /** Everything is in: makes the result of it. */
  close(): Promise<Result>;
}

/** A store in memory, which ends in a new model. `slices` are there when the method reads data. */
export function memoryStore(
  model: Model,
  { slices, provenance }: { readonly slices?: Slices; readonly provenance: Readonly<Record<string, string>> },
): Store<Model> {
  const all = new Map<string, Finished>();
  const states = () => heldStates(model, slices!);
  return {
    lasting: false,
    finished: (name) => Promise.resolve(all.get(name)),
    put(finished) {
      all.set(finished.q.name, finished);
      return Promise.resolve();
    },
    scores: async (make) => await make(await states()),
    states,
    reference: states,
    close() {
      return Promise.resolve(model.with(new Map([...all].map(([name, { q }]) => [name, q])), provenance));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
