/**
 * A checkpoint that need not fit in memory becomes a packed one on disk: blocks are read one at a time, hidden states are spilled, and every finished
 * linear is a file of its own, so that a run may be stopped or killed at any moment and goes on where it was.
 */
import type { Calibration } from "../diffusion/mcs.ts";
import type { LinearScore, Method } from "../quant/method.ts";
import { storedBits } from "../quant/forms/decode.ts";
import type { Kernels } from "../tensor/kernels.ts";
import type { Checkpoint } from "../checkpoint/open.ts";
import type { Model } from "../model/model.ts";
import { version } from "../version.ts";
import { type HiddenStates, slice } from "./hidden.ts";
import { quantizeOutside } from "./outside.ts";
import { type Summary, writePacked } from "./packed_folder.ts";
import { wanted } from "./quantize.ts";
import { spilledStates } from "./spilled.ts";
import { type LinearReport, shareBudget, walk } from "./walk.ts";
import { clearPartFiles, digest, type RunIdentity, WorkFolder } from "./work_folder.ts";

export interface QuantizeCheckpointOptions {
  readonly calibration?: Calibration;
  /** Seed of windows and masks, for the record. */
  readonly seed: number;
  /** Where the text came from, for the record. */
  readonly text?: string;
  readonly kernels: Kernels;
  /** Windows per forward pass. */
  readonly batch?: number;
  /** The last windows, kept out of the calibration and used to measure errors. */
  readonly heldOut?: number;
  /** After each linear, also those that were finished before, with the seconds that it took now. */
  readonly onProgress?: (done: number, total: number, report: LinearReport, resumed: boolean) => void;
  /** Stops behind the linear or the part of the states that is at work. */
  readonly signal?: AbortSignal;
  /** Largest shard in bytes. */
  readonly maxShardBytes?: number;
}

/** Where the files of a run stand until its checkpoint is complete. */
const WORK = ".quantizing";

/**
 * Quantises `checkpoint` into the folder `out`. `model` is that checkpoint with streamed weights. The same options give the same bytes, however often
 * the run was interrupted.
 *
 * @throws Error when `out` holds a checkpoint already, is in use, or cannot be written; RangeError when its work folder belongs to other options.
 */
export async function quantizeCheckpoint(
  checkpoint: Checkpoint,
  model: Model,
  method: Method,
  out: string,
  options: QuantizeCheckpointOptions,
): Promise<Summary> {
  const { calibration, kernels, signal, onProgress } = options;
  if (method.needsHessian) wanted(method, calibration);
  await checkStart(checkpoint, out);
  const slices = calibration && slice(calibration, options);
  const identity = identityOf(checkpoint, method, options);
  await using folder = await WorkFolder.open(`${out}/${WORK}`, identity);
  await clearPartFiles(out);
  // A config beside a work folder is that of a run that was killed before its last step, which is done again.
  await Deno.remove(`${out}/config.json`).catch(ignoreMissing);
  const check = () => signal?.throwIfAborted();
  const statesIn = (dir: string) => spilledStates(model, slices!, `${folder.dir}/${dir}`, check);

  let bound = method;
  if (method.across) {
    const clear = () => Deno.remove(`${folder.dir}/scoring`, { recursive: true }).catch(ignoreMissing);
    const scores = await folder.once<Scores>("scores.json", async () => {
      await clear(); // Of a run that was killed, whose scores are gone.
      return await collectScores(model, method, await statesIn("scoring"), kernels);
    });
    await clear();
    bound = method.across.bind(scores);
  }
  const states = slices && method.needsHessian ? await statesIn("states") : undefined;
  const names = model.linearNames();
  const from = states?.half ?? 0;
  let count = 0;
  // What lies before the states cannot be made again from them: it must be there.
  for (const { name, layer, linear } of names) {
    if (2 * layer + (/^[qkvo]$/.test(linear) ? 0 : 1) >= from) continue;
    const finished = await folder.finished(name);
    if (!finished) {
      throw new Error(`Cannot resume: "${name}" is missing in ${folder.dir}; remove that folder to start again`);
    }
    onProgress?.(++count, names.length, finished.report, true);
  }
  await walk(model, bound, {
    states,
    from,
    kernels,
    now: () => performance.now(),
    async done(name, W) {
      check();
      const finished = await folder.finished(name, W);
      if (finished) onProgress?.(++count, names.length, finished.report, true);
      return finished?.q;
    },
    async onLinear(q, report, W) {
      await folder.put({ q, report }, W);
      onProgress?.(++count, names.length, report, false);
      check();
    },
  });
  for (const part of ["embed", "head"] as const) {
    const name = checkpoint.family.names[part];
    if (!method.outside?.[part] || await folder.has(name)) continue;
    check();
    const { q, W, relativeError } = await quantizeOutside(model, part, method.outside[part], { kernels });
    const report = {
      name,
      layer: -1,
      linear: part,
      method: method.outside[part].name,
      relativeError,
      report: q.report,
    };
    await folder.put({ q, report: { ...report, bitsPerWeight: storedBits(q) / W.data.length } }, W);
  }
  const provenance = { method: method.name, ...describeCalibration(options), codeVersion: version };
  const summary = await writePacked(checkpoint, folder, out, provenance, options.maxShardBytes);
  await folder.remove();
  return summary;
}

type Scores = Readonly<Record<string, { readonly scores: number[]; readonly sizes: number[] }>>;

/** Scores of all linears at full precision, for a budget that they share. */
async function collectScores(
  model: Model,
  method: Method,
  states: HiddenStates,
  kernels: Kernels,
): Promise<Scores> {
  let found: Readonly<Record<string, LinearScore>> = {};
  const listening: Method = { ...method, across: { ...method.across!, bind: (scores) => (found = scores, method) } };
  await shareBudget(model, listening, states, { kernels });
  const entries = Object.entries(found).map(([name, { scores, sizes }]) => [
    name,
    { scores: Array.from(scores), sizes: Array.from(sizes) },
  ]);
  return Object.fromEntries(entries);
}

function describeCalibration({ calibration, text, seed, heldOut = 0 }: QuantizeCheckpointOptions) {
  if (!calibration) return { seed };
  const { windows } = calibration;
  return {
    calibration: calibration.name,
    ...(text === undefined ? {} : { text }),
    windows: windows.length - heldOut,
    length: windows[0].length,
    heldOut,
    seed,
  };
}

/** All that the result depends on. The weights are checked one by one as they are read. */
function identityOf(
  { source, config }: Checkpoint,
  method: Method,
  options: QuantizeCheckpointOptions,
): RunIdentity {
  const { calibration, batch = 32 } = options;
  const identity: Record<string, string | number> = {
    ...(source.revision ? { checkpoint: `${source.name}@${source.revision}` } : {}),
    config: digest(new TextEncoder().encode(JSON.stringify(config))),
    method: method.name,
    ...describeCalibration(options),
    codeVersion: version,
  };
  if (method.outside?.embed) identity.embed = method.outside.embed.name;
  if (method.outside?.head) identity.head = method.outside.head.name;
  if (calibration) {
    identity.batch = batch;
    const all = [...calibration.windows, ...calibration.weights ?? []];
    identity.calibrationTokens = digest(new TextEncoder().encode(all.map(digest).join()));
  }
  return identity;
}

/**
 * What can be refused before any work: a checkpoint that is quantised already, and a folder `out` that holds anything but the work of a run that was
 * stopped. A run begins in an empty folder, so that nothing is overwritten, and ends with a config.json.
 */
export async function checkStart(checkpoint: Checkpoint, out: string): Promise<void> {
  if (checkpoint.stored.section) {
    throw new RangeError(`Cannot quantize ${checkpoint.source.name}: it is quantised already; start from the original`);
  }
  const files: string[] = [];
  try {
    for await (const { name } of Deno.readDir(out)) files.push(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    const what = error instanceof Error ? error.message : error;
    throw new Error(`Cannot quantise into ${out}: ${what}; choose another folder`);
  }
  const choose = "remove it or choose another folder";
  if (files.includes(WORK)) return;
  if (files.includes("config.json")) throw new Error(`Cannot quantise into ${out}: it holds a checkpoint; ${choose}`);
  if (files.length > 0) {
    throw new Error(`Cannot quantise into ${out}: it is not empty (${files.sort().slice(0, 5).join(", ")}); ${choose}`);
  }
}

function ignoreMissing(error: unknown): false {
  if (error instanceof Deno.errors.NotFound) return false;
  throw error;
}
