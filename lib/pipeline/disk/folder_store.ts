/**
 * A store on disk, which ends in a packed checkpoint: hidden states are spilled, and every finished linear is a file of its own, so that a run may be
 * stopped or killed at any moment and goes on where it was.
 */
import { join } from "@std/path";
import type { Calibration } from "../../diffusion/mcs.ts";
import type { Method, QuantizedLinear } from "../../quant/method.ts";
import { ifThere, isLitter } from "../../checkpoint/files/file_source.ts";
import type { Checkpoint } from "../../checkpoint/open.ts";
import { halfBlocks } from "../../model/architecture.ts";
import type { Model } from "../../model/model.ts";
import type { FloatType } from "../../tune/moving.ts";
import { tuningText } from "../../tune/options.ts";
import { tuningsOf } from "../../tune/tuned.ts";
import { version } from "../../version.ts";
import { foldFactors } from "../../tune/fold.ts";
import type { Slices } from "../hidden.ts";
import { type Summary, writePacked } from "./packed_folder.ts";
import { spilledStates } from "./spilled.ts";
import { textDigest, tuneOnDisk } from "./tuning.ts";
import type { Scores, Store } from "../store.ts";
import { clearPartFiles, digest, type RunIdentity, WorkFolder } from "./work_folder.ts";

export interface FolderOptions {
  /** The folder of the packed checkpoint. */
  readonly out: string;
  /** Seed of windows and masks, for the record. */
  readonly seed: number;
  /** Where the text came from, for the record. */
  readonly text?: string;
  /** Largest shard in bytes. */
  readonly maxShardBytes?: number;
  /** See `QuantizeOptions`. */
  readonly batch?: number;
  readonly heldOut?: number;
  readonly measure?: boolean;
  readonly signal?: AbortSignal;
}

interface Run extends FolderOptions {
  /** The checkpoint with streamed weights. */
  readonly model: Model;
  readonly calibration?: Calibration;
  readonly slices?: Slices;
}

/** Where the files of a run stand until its checkpoint is complete. */
const WORK = ".quantizing";

/**
 * Opens the store of a run, or of the same run that was stopped before. The same options give the same bytes, however often that was.
 *
 * @throws Error when another run is at work in `out`, or it cannot be written; RangeError when its work folder belongs to other options.
 */
export async function folderStore(checkpoint: Checkpoint, method: Method, run: Run): Promise<Store<Summary>> {
  const { out, model, slices, signal, maxShardBytes } = run;
  const folder = await WorkFolder.open(join(out, WORK), await identityOf(checkpoint, method, run));
  const statesIn = (name: string) => spilledStates(model, slices!, { dir: join(folder.dir, name), signal });
  try {
    await clearPartFiles(out);
    // A config beside a work folder is that of a run that was killed before its last step, which is done again.
    await ifThere(Deno.remove(join(out, "config.json")));
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  return {
    lasting: true,
    finished: (name, W) => folder.finished(name, W),
    put: (finished, W) => folder.put(finished, W),
    async scores(make) {
      const clear = () => ifThere(Deno.remove(join(folder.dir, "scoring"), { recursive: true }));
      const scores = await folder.once<Scores>("scores.json", async () => {
        await clear(); // Of a run that was killed, whose scores are gone.
        return plain(await make(await statesIn("scoring")));
      });
      await clear();
      return scores;
    },
    async states() {
      const states = await statesIn("states");
      // What lies before the states cannot be made again from them: it must be there.
      for (const { layer, stages } of halfBlocks(model.architecture).slice(0, states.passed)) {
        for (const linear of stages.flatMap(({ sets }) => sets.flat())) {
          const name = model.family.names.block(layer, linear);
          if (await folder.has(name)) continue;
          throw new Error(`Cannot resume: "${name}" is missing in ${folder.dir}; remove that folder to start again`);
        }
      }
      return states;
    },
    reference: () => statesIn("reference"),
    async close() {
      const { seed } = run, tunings = tuningsOf(method);
      const tuned = tunings.map((options) => tuningText(options, options.seed ?? seed)).join("; then ");
      const provenance = {
        ...{ method: method.name, ...describeCalibration(run), ...(tuned && { tuned }) },
        codeVersion: version,
      };
      const typeOf = (name: string) => checkpoint.source.tensors.info(name).dtype as FloatType;
      const tuning = tunings.length > 0
        ? await tuneOnDisk(model, await everyForm(folder, model), { dir: folder.dir, tunings, seed, typeOf, signal })
        : undefined;
      const moved = method.folds ? await foldFactors(model, await everyForm(folder, model)) : tuning?.moved;
      // What is folded keeps what it was: bf16 would round norms once more.
      const written = { out, provenance, maxShardBytes, moved, wide: method.folds, rows: tuning?.rows };
      const summary = await writePacked(checkpoint, folder, written);
      await folder.remove();
      return summary;
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** The stored form of everything that the walk made. */
async function everyForm(folder: WorkFolder, model: Model): Promise<Map<string, QuantizedLinear>> {
  const { embed, head } = model.family.names, forms = new Map<string, QuantizedLinear>();
  for (const name of [...model.linearNames().map(({ name }) => name), embed, head]) {
    const finished = await folder.finished(name);
    if (finished) forms.set(name, finished.q);
  }
  return forms;
}

/** Scores as JSON holds them. */
function plain(scores: Scores): Scores {
  const entries = Object.entries(scores);
  return Object.fromEntries(entries.map(([name, { scores, sizes }]) => [
    name,
    { scores: Array.from(scores), sizes: Array.from(sizes) },
  ]));
}

function describeCalibration({ calibration, text, seed, heldOut = 0 }: Run) {
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
async function identityOf({ source, config }: Checkpoint, method: Method, run: Run): Promise<RunIdentity> {
  const { calibration, batch = 32, measure = false } = run;
  const identity: Record<string, string | number | boolean> = {
    ...(source.revision ? { checkpoint: `${source.name}@${source.revision}` } : {}),
    config: digest(new TextEncoder().encode(JSON.stringify(config))),
    method: method.name,
    ...describeCalibration(run),
    codeVersion: version,
  };
  if (measure) identity.measure = true; // Its reports hold errors that they would not hold without.
  if (method.outside?.embed) identity.embed = method.outside.embed.name;
  if (method.outside?.head) identity.head = method.outside.head.name;
  if (calibration) {
    identity.batch = batch;
    const { windows, weights = [], guide = {}, inverseNorm } = calibration;
    if (inverseNorm) identity.inverseNorm = true;
    const guides = Object.entries(guide).flatMap(([linear, groups]) => [linear, ...groups.map(digest)]);
    const all = [...[...windows, ...weights].map(digest), ...guides];
    identity.calibrationTokens = digest(new TextEncoder().encode(all.join()));
  }
  for (const [i, options] of tuningsOf(method).entries()) {
    identity[`tuningText${i || ""}`] = await textDigest(options, options.seed ?? run.seed);
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
    for await (const { name } of Deno.readDir(out)) if (!isLitter(name)) files.push(name);
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
