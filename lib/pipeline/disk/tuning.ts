/**
 * Tuning on disk, behind the walk of a run: what a tuning has come to stands in a folder `tuned/N` of the work folder, so that a run that is killed goes on
 * and ends with the same bytes. By the model that is its state every few steps, block by block each finished block, and hidden states of its text.
 */
import { join } from "@std/path";
import { ifThere, writeFileAtomic } from "../../checkpoint/files/file_source.ts";
import type { Model } from "../../model/model.ts";
import type { QuantizedLinear } from "../../quant/method.ts";
import { type BlockPlaces, drawPool, moveBlocks } from "../../tune/by_block.ts";
import { type Keeping, moveModel, type MoveOptions } from "../../tune/by_model.ts";
import { type Moved, withMoved } from "../../tune/moved.ts";
import type { FloatType } from "../../tune/moving.ts";
import type { TuneOptions, TuneProgress } from "../../tune/options.ts";
import { readParts, writeParts } from "./parts_file.ts";
import { spilledStates } from "./spilled.ts";
import { digest } from "./work_folder.ts";

export interface TuningOnDisk {
  /** The work folder. */
  readonly dir: string;
  readonly tunings: readonly TuneOptions[];
  /** Of the run. */
  readonly seed: number;
  /** In which type the checkpoint stores a norm or bias. */
  readonly typeOf: (name: string) => FloatType;
  readonly signal?: AbortSignal;
}

/** A step as a line of `tuning.jsonl`. */
export interface TuningRow extends TuneProgress {
  readonly tuning: number;
}

/** Steps between two states of a tuning by the model. */
const EVERY = 50;

/** Tunes what a walk made towards `teacher`; gives what moved, and the line of every step. */
export async function tuneOnDisk(
  teacher: Model,
  quantized: ReadonlyMap<string, QuantizedLinear>,
  { dir, tunings, seed, typeOf, signal }: TuningOnDisk,
): Promise<{ readonly moved: Moved; readonly rows: readonly TuningRow[] }> {
  let moved: Moved = { forms: quantized, vectors: new Map() };
  const rows: TuningRow[] = [];
  for (const [tuning, given] of tunings.entries()) {
    const student = withMoved(teacher, moved, {});
    const options = { ...given, seed: given.seed ?? seed, signal: given.signal ?? signal, typeOf };
    const folder = join(dir, "tuned", String(tuning));
    await Deno.mkdir(folder, { recursive: true });
    const own = given.by === "block"
      ? await inBlocks(teacher, student, { ...options, folder, tuning })
      : await asWhole(teacher, student, { ...options, folder, tuning });
    moved = {
      forms: new Map([...moved.forms, ...own.moved.forms]),
      vectors: new Map([...moved.vectors, ...own.moved.vectors]),
    };
    rows.push(...own.rows);
  }
  return { moved, rows };
}

interface Stage extends MoveOptions {
  readonly folder: string;
  readonly tuning: number;
}

interface StageResult {
  readonly moved: Moved;
  readonly rows: readonly TuningRow[];
}

async function asWhole(teacher: Model, student: Model, options: Stage): Promise<StageResult> {
  const { folder, tuning } = options;
  const file = join(folder, "state.safetensors");
  const before = await readParts(file);
  const log = await curve(folder, tuning, before?.step ?? 0);
  const keeping: Keeping = {
    every: EVERY,
    load: () => Promise.resolve(before),
    async save(step, state) {
      await log.flush();
      await writeParts(file, { ...state, step });
    },
  };
  const moved = await moveModel(teacher, student, { ...options, ...log.listening(options) }, keeping);
  await log.flush();
  return { moved, rows: log.rows };
}

async function inBlocks(teacher: Model, student: Model, options: Stage): Promise<StageResult> {
  const { folder, tuning, steps, signal } = options, { layers } = teacher.architecture;
  const file = (layer: number) => join(folder, `${layer}.safetensors`);
  const kept = async (layer: number): Promise<Moved | undefined> => {
    const found = await readParts(file(layer));
    return found && { forms: found.forms, vectors: found.arrays };
  };
  let finished = 0;
  while (finished < layers && await ifThere(Deno.stat(file(finished)))) finished++;
  const log = await curve(folder, tuning, finished * steps);
  const pool = await drawPool(student, options);
  const parts = pool.parts.map((part) => ({ ...part, start: 0, heldOut: false }));
  const slices = { parts, windows: parts.reduce((sum, { count }) => sum + count, 0) };
  const states = (model: Model, name: string) =>
    spilledStates(model, slices, { dir: join(folder, "states", name), signal });
  const idle = {
    passed: 2 * layers,
    get: () => Promise.reject(new Error("no states")),
    advance: () => Promise.resolve(),
  };
  const places: BlockPlaces = {
    pool,
    teacher: finished < layers ? await states(teacher, "teacher") : idle,
    student: finished < layers ? await states(student, "student") : idle,
    kept,
    async keep(layer, { forms, vectors }) {
      await log.flush();
      await writeParts(file(layer), { forms, arrays: vectors, step: steps });
    },
  };
  const moved = await moveBlocks(teacher, student, { ...options, ...log.listening(options) }, places);
  await log.flush();
  await ifThere(Deno.remove(join(folder, "states"), { recursive: true }));
  return { moved, rows: log.rows };
}

/** The lines of a tuning up to a step; those that a killed run wrote behind it are left out, since they will come again. */
async function curve(folder: string, tuning: number, step: number) {
  const file = join(folder, "curve.jsonl");
  const text = await ifThere(Deno.readTextFile(file)) ?? "";
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean);
  const rows = lines.map((line) => JSON.parse(line) as TuningRow).filter((row) => row.step <= step);
  return {
    rows,
    flush: () => writeFileAtomic(file, [new TextEncoder().encode(rows.map((r) => JSON.stringify(r) + "\n").join(""))]),
    listening: ({ onProgress }: TuneOptions) => ({
      onProgress(progress: TuneProgress) {
        rows.push({ tuning, ...progress });
        onProgress?.(progress);
      },
    }),
  };
}

/** What a tuning depends on beside its options: the text itself, known by that of the first step. */
export async function textDigest({ text }: TuneOptions, seed: number): Promise<string> {
  const { windows, answers = [] } = await text.draw(seed, 0);
  return digest(new TextEncoder().encode([...windows, ...answers].map(digest).join()));
}
