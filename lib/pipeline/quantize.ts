/** A source and a method make a quantised one: block by block in natural order, each stage calibrated on what the already quantised part produces. */
import type { Calibration } from "../diffusion/mcs.ts";
import type { Method } from "../quant/method.ts";
import { type Checkpoint, streamedModel } from "../checkpoint/open.ts";
import { Engine } from "../model/engine.ts";
import { Model } from "../model/model.ts";
import { fastKernels } from "../runtime/kernels.ts";
import { type Device, openRuntime } from "../runtime/runtime.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { checkStart, type FolderOptions, folderStore } from "./disk/folder_store.ts";
import { foldFactors } from "../tune/fold.ts";
import { slice, type Slices } from "./hidden.ts";
import type { Summary } from "./disk/packed_folder.ts";
import { checkOutside, checkOutsideNumbers } from "./outside.ts";
import { checkRoom, type Plan, planQuantization } from "./plan.ts";
import { type LinearReport, memoryStore } from "./store.ts";
import type { TuneProgress } from "../tune/options.ts";
import { withMoved } from "../tune/moved.ts";
import { tune } from "../tune/tune.ts";
import { tuningsOf } from "../tune/tuned.ts";
import { walk } from "./walk.ts";

export type { LinearReport } from "./store.ts";

/** A calibration that is drawn when the run begins: its size is all that a plan needs. */
export interface CalibrationDraw {
  /** Windows, those held out included. */
  readonly windows: number;
  /** Tokens per window. */
  readonly length: number;
  /** `model` is the one to be quantised. */
  draw(model: Model): Promise<Calibration>;
}

export interface QuantizeOptions {
  /** The inputs to calibrate on. A method that needs no data may go without. */
  readonly calibration?: Calibration | CalibrationDraw;
  /** The arithmetic; by default products on the model's device. Row loops then run on the calling thread for a model, on all cores for a checkpoint. */
  readonly kernels?: Kernels;
  /** After each linear of a block; `resumed` says that a run before this one made it. */
  readonly onProgress?: (done: number, total: number, linear: LinearReport, resumed: boolean) => void;
  /** After each step of a tuning in memory, beside what the tuning itself tells. */
  readonly onTuning?: (progress: TuneProgress) => void;
  /** With it a plan is made before the work begins, told, and refused when it does not fit. */
  readonly onPlan?: (plan: Plan) => void;
  /** Breaks off at once; on disk behind the linear or the part of the states that is at work. */
  readonly signal?: AbortSignal;
  /** Windows per forward pass; 32 by default. */
  readonly batch?: number;
  /** So many windows, the last ones, are kept out of the calibration: reports then hold the error on them too. */
  readonly heldOut?: number;
  /** Of tunings that name none; 1 by default. */
  readonly seed?: number;
  /** Take the second moments, and with them the relative errors, also for a method that needs no data. */
  readonly measure?: boolean;
}

export interface QuantizeCheckpointOptions extends Omit<QuantizeOptions, "seed">, FolderOptions {
  /** What it runs on; `auto` takes a GPU when there is one. */
  readonly device?: Device;
  readonly threads?: number;
}

/** A quantisation that may be planned and made. Disposed, it frees what it opened. */
export interface Quantization<Result> extends AsyncDisposable {
  /** What is quantised. */
  readonly model: Model;
  /** What it will take. Runs a probe: a few seconds, in which the device and the quantiser are timed. */
  plan(): Promise<Plan>;
  /** Does it. */
  run(): Promise<Result>;
}

/**
 * Opens a quantisation of a model, which `run` answers with a new model, or of a checkpoint, which need not fit in memory: `run` then makes a packed
 * one in the folder `out`, and goes on where a run with the same options was stopped or killed.
 *
 * The model is left as it was; the new one shares its engine and must not outlive it. Linears with the same input share one second moment. Memory holds
 * one block's work, and for a model the hidden states of the calibration windows.
 *
 * @throws TypeError when the method needs data and there is no calibration. `run` throws RangeError when its windows differ in length, when a plan that
 *   was asked for does not fit, when the checkpoint is quantised already, or when the work folder in `out` belongs to other options; Error when `out` holds
 *   other files, is in use, or cannot be written.
 *
 * @example
 * ```ts
 * import { openCheckpoint, openQuantization, planText, rtn } from "quant-dllm";
 *
 * const checkpoint = await openCheckpoint("data/nano-llada"); // or an id of the Hub: "GSAI-ML/LLaDA-8B-Base"
 * const options = { out: "results/nano-llada-2bit", seed: 1 };
 * await using quantization = await openQuantization(checkpoint, rtn({ bits: 2, group: 32 }), options);
 * console.log(planText(await quantization.plan())); // memory, disk and time, before it is begun
 * const { bitsPerWeight, bytes } = await quantization.run();
 * ```
 */
export function openQuantization(
  source: Model,
  method: Method,
  options?: QuantizeOptions,
): Promise<Quantization<Model>>;
export function openQuantization(
  source: Checkpoint,
  method: Method,
  options: QuantizeCheckpointOptions,
): Promise<Quantization<Summary>>;
export async function openQuantization(
  source: Model | Checkpoint,
  method: Method,
  options: QuantizeOptions | QuantizeCheckpointOptions = {},
): Promise<Quantization<Model | Summary>> {
  if (method.needsHessian && !options.calibration) {
    throw new TypeError(
      `Cannot quantize with ${method.name}: it needs data; pass { calibration: simulateMasks(corpus, ...) }`,
    );
  }
  return source instanceof Model
    ? inMemory(source, method, options)
    : await onDisk(source, method, options as QuantizeCheckpointOptions);
}

/**
 * Quantises the linears of every block of a model: the short form of `openQuantization`.
 *
 * @example
 * ```ts
 * import { daq, loadCorpus, loadModel, quantize, simulateMasks } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * const draw = { tokenizer: model.tokenizer, count: 64, length: 64, seed: 1 };
 * const corpus = await loadCorpus("data/nanoworld/calibration.jsonl", draw);
 * const quantized = await quantize(model, daq({ bits: 2, group: 32 }), {
 *   calibration: simulateMasks(corpus, { maskId: model.maskId, seed: 1 }),
 *   onProgress: (done, total, { name, relativeError }) => console.log(`${done} of ${total}`, name, relativeError),
 * });
 * ```
 */
export async function quantize(model: Model, method: Method, options: QuantizeOptions = {}): Promise<Model> {
  await using quantization = await openQuantization(model, method, options);
  return await quantization.run();
}

function inMemory(model: Model, method: Method, options: QuantizeOptions): Quantization<Model> {
  checkFits(model, method);
  // One thread for row loops by default: then there are no workers to dispose of.
  const kernels = options.kernels ?? fastKernels(model.engine.runtime, { threads: 1 });
  const plan = () => planQuantization(model, method, { ...sizes(method, options), kernels, now });
  return {
    model,
    plan,
    async run() {
      if (options.onPlan) tell(await plan(), model, options.onPlan);
      const { calibration, slices } = await draw(model, options);
      const provenance: Record<string, string> = { method: method.name };
      if (calibration) provenance.calibration = calibration.name;
      await using store = memoryStore(model, { slices, provenance });
      const quantized = await walk(model, method, { ...options, measure: measured(options), store, kernels });
      let tuned = method.folds
        ? withMoved(quantized, await foldFactors(quantized, quantized.quantized), quantized.provenance)
        : quantized;
      const { seed, signal, onTuning } = options;
      for (const tuning of tuningsOf(method)) {
        const onProgress = (progress: TuneProgress) => {
          tuning.onProgress?.(progress);
          onTuning?.(progress);
        };
        tuned = await tune(model, tuned, { seed, signal, ...tuning, method: method.name, onProgress });
      }
      return tuned;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function onDisk(
  checkpoint: Checkpoint,
  method: Method,
  options: QuantizeCheckpointOptions,
): Promise<Quantization<Summary>> {
  const { out, device = "auto", threads } = options;
  await using opening = new AsyncDisposableStack(); // What is open, should the next not open.
  const runtime = opening.use(await openRuntime({ device, threads }));
  const kernels = options.kernels ?? opening.use(fastKernels(runtime));
  const model = streamedModel(checkpoint, opening.use(new Engine(runtime, checkpoint.architecture)));
  checkFits(model, method);
  const opened = opening.move();
  const plan = () =>
    planQuantization(model, method, { ...sizes(method, options), kernels, now, packed: { checkpoint, out } });
  return {
    model,
    plan,
    async run() {
      await checkStart(checkpoint, out);
      await checkOutsideNumbers(model);
      if (options.onPlan) tell(await plan(), model, options.onPlan);
      const run = { ...options, ...await draw(model, options), measure: measured(options), model, kernels, now };
      await using store = await folderStore(checkpoint, method, run);
      return await walk(model, method, { ...run, store });
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** Throws for what a method cannot do with a model, as far as shapes tell: before any work. */
function checkFits(model: Model, method: Method): void {
  checkOutside(model, method);
  for (const linear of model.linearNames()) method.check?.(linear);
}

const now = () => performance.now();

/** Whether a method that needs no data is measured on some. */
const measured = ({ measure = false, calibration }: QuantizeOptions): boolean => measure && calibration !== undefined;

function tell(plan: Plan, { name }: Model, onPlan: (plan: Plan) => void): void {
  onPlan(plan);
  checkRoom(plan, name);
}

/** What a plan wants to know of the calibration. */
function sizes(method: Method, options: QuantizeOptions): { windows: number; length: number; batch: number } {
  const { calibration, batch = 32 } = options;
  if (!calibration || !(method.needsHessian || measured(options))) return { windows: 0, length: 0, batch };
  if ("draw" in calibration) return { windows: calibration.windows, length: calibration.length, batch };
  return { windows: calibration.windows.length, length: calibration.windows[0]?.length ?? 0, batch };
}

/** The calibration, checked and cut; empty when there is none. */
async function draw(
  model: Model,
  options: QuantizeOptions,
): Promise<{ readonly calibration: Calibration | undefined; readonly slices: Slices | undefined }> {
  const { calibration: given } = options;
  const calibration = given && "draw" in given ? await given.draw(model) : given;
  return { calibration, slices: calibration && slice(calibration, options) };
}
