/** What a quantisation will take, before it is begun: memory, disk and time, from the shapes of the model and a probe of this machine. */
import type { Method } from "../quant/method.ts";
import { freeDisk, freeMemory } from "../checkpoint/files/free_space.ts";
import { type Checkpoint, tensorShapes } from "../checkpoint/open.ts";
import { savedTypes } from "../checkpoint/save.ts";
import { type Architecture, inputWidth, linears, linearShape, stages } from "../model/architecture.ts";
import type { Model } from "../model/model.ts";
import { probeDevice, type ProbeOptions, probeSolver } from "./probe.ts";
import { statesBytes } from "./disk/spilled.ts";
import { planTunings } from "./plan_tuning.ts";
import { foldable, foldedVectors } from "../tune/fold.ts";

export interface PlanOptions extends ProbeOptions {
  /** Calibration windows, those held out included; 0 for a method that needs no data. */
  readonly windows: number;
  /** Tokens per window. */
  readonly length: number;
  /** Windows per forward pass. */
  readonly batch: number;
  /** The checkpoint that is packed on disk, and the folder that it goes to. Without, a model is made in memory. */
  readonly packed?: { readonly checkpoint: Checkpoint; readonly out: string };
}

/** What the machine has free. */
export interface Room {
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

/** What a quantisation will take: sizes in bytes, times in seconds on this machine, beside what the machine has free. */
export interface Plan {
  readonly linears: number;
  readonly blocks: number;
  /** Of the linears of the blocks, scales included. */
  readonly bitsPerWeight: number;
  /** Of the packed checkpoint. */
  readonly outputBytes: number;
  /** Peak of what the process holds; of what it takes besides, where the model is in memory. */
  readonly memoryBytes: number;
  /** Peak on the disk of the output folder: work files and the checkpoint. */
  readonly diskBytes: number;
  /** Of those on disk, or of the memory, hidden states. */
  readonly statesBytes: number;
  /** Reading, forward passes and second moments; the quantiser. */
  readonly secondsPerBlock: { readonly calibration: number; readonly solver: number };
  /** Of a token in one forward pass through all blocks; 0 where no data is read. */
  readonly tokenSeconds: number;
  /** Of all tunings of the method. */
  readonly tuningSeconds: number;
  readonly totalSeconds: number;
  readonly room: Room;
}

/** Makes the plan. Runs the probe: a few seconds, in which the device and the quantiser are timed on small pieces of the model's own kind. */
export async function planQuantization(model: Model, method: Method, options: PlanOptions): Promise<Plan> {
  const { architecture: a, family } = model;
  const { windows, length, packed } = options;
  const shapes = linears(a).map((linear) => linearShape(a, linear));
  const solver = await probeSolver(method, { ...options, width: a.width });
  const device = windows > 0 ? await probeDevice(model, options) : { forward: 0, products: Infinity };
  // With drift the full-precision model is passed through too.
  const tokens = windows * length, streams = method.wants?.drift ? 2 : 1;
  const calibration = streams * tokens * device.forward + tokens * momentOperations(a) / device.products;
  let perBlock = 0;
  for (const set of stages(a).flatMap(({ sets }) => sets)) {
    // Linears that share a second moment share its factor.
    set.forEach((linear, i) => perBlock += solver.seconds(linearShape(a, linear), i === 0));
  }
  // Of the work folder; what is folded, two bytes a column, does not reach the checkpoint.
  const workBytes = a.layers * shapes.reduce((sum, shape) => sum + solver.bytes(shape), 0);
  const folded = method.folds ? foldable(a).reduce((sum, linear) => sum + 2 * linearShape(a, linear)[1], 0) : 0;
  const quantisedBytes = workBytes - a.layers * folded;
  const weights = a.layers * shapes.reduce((sum, [rows, cols]) => sum + rows * cols, 0);
  const quantised = new Set(model.linearNames().map(({ name }) => name));
  const layers = Array.from({ length: a.layers }, (_, layer) => layer);
  const wide = new Set(
    layers.flatMap((layer) => method.folds ? foldedVectors(a).map((name) => family.names.block(layer, name)) : []),
  );
  const bytesOf = (name: string, shape: readonly number[]) =>
    packed && wide.has(name)
      ? 4 * shape[0]
      : packed
      ? packed.checkpoint.source.tensors.info(name).bytes
      : savedBytes(model, shape);
  let others = 0, outsideSeconds = 0;
  for (const [name, shape] of tensorShapes(family, a)) {
    if (quantised.has(name)) continue;
    const part = name === family.names.embed ? "embed" : name === family.names.head ? "head" : undefined;
    const own = part && method.outside?.[part];
    if (own) {
      const probe = await probeSolver(own, { ...options, width: a.width });
      others += probe.bytes(shape as [number, number]);
      outsideSeconds += probe.seconds(shape as [number, number], false);
    } else {
      others += bytesOf(name, shape);
    }
  }
  const states = streams * (packed ? 2 * windows * statesBytes(length, a.width) : 4 * tokens * a.width);
  const outputBytes = Math.ceil(quantisedBytes + others);
  // The new model holds its linears in both forms.
  const held = packed ? 0 : states + quantisedBytes + 4 * weights;
  const tuning = await planTunings(model, method, { ...options, quantisedBytes });
  const memory = Math.ceil(memoryOf(a, options, { outside: method.outside !== undefined }) + held);
  return {
    linears: quantised.size,
    blocks: a.layers,
    bitsPerWeight: 8 * quantisedBytes / weights,
    outputBytes,
    memoryBytes: Math.max(memory, Math.ceil(tuning.memoryBytes)),
    diskBytes: packed ? Math.ceil(workBytes + outputBytes + Math.max(states, tuning.diskBytes)) : 0,
    statesBytes: states,
    secondsPerBlock: { calibration, solver: perBlock },
    tokenSeconds: a.layers * device.forward / 2, // a walk goes through each half twice
    tuningSeconds: tuning.seconds,
    totalSeconds: a.layers * (calibration + perBlock) + outsideSeconds + tuning.seconds,
    room: { memoryBytes: await freeMemory(), diskBytes: await freeDisk(packed?.out ?? ".") },
  };
}

/** What a tensor in full precision takes in a checkpoint of a model. */
const savedBytes = ({ config }: Model, shape: readonly number[]): number =>
  shape.reduce((x, y) => x * y, String(config.torch_dtype) in savedTypes ? 2 : 4);

/** Multiply-adds of the second moments of one block, per token; of wide ones only the triangle is computed. */
function momentOperations(a: Architecture): number {
  return stages(a).reduce((sum, { name, sets }) => {
    const inputs = inputWidth(a, name);
    const networks = a.experts && sets.length > 1 ? a.experts.active : 1;
    return sum + networks * inputs * inputs * (inputs > 4096 ? 0.6 : 1);
  }, 0);
}

/**
 * Peak memory. A block in float32; the second moments of the widest stage, with what the solver makes of one (its factor in float64 with two buffers of that size, and a damped copy);
 * copies of the largest linear; the activations of one forward pass; and the programme itself.
 */
function memoryOf(
  a: Architecture,
  { windows, length, batch }: PlanOptions,
  { outside }: { readonly outside: boolean },
): number {
  const block = linears(a).reduce((sum, linear) => sum + linearShape(a, linear)[0] * linearShape(a, linear)[1], 0);
  let moments = 0, widest = 0, largest = 0;
  for (const { sets } of stages(a)) {
    const [rows, cols] = linearShape(a, sets[0][0]);
    moments = Math.max(moments, sets.length * cols * cols * (windows > 0 ? 2 : 0));
    widest = Math.max(widest, cols);
    largest = Math.max(largest, rows * cols);
  }
  const solver = windows > 0 ? (3 * 8 + 4) * widest * widest : 0;
  const activations = windows > 0 ? 4 * Math.min(batch, windows) * length * (4 * a.width + 4 * a.hidden) : 0;
  const blocks = 4 * block + 4 * moments + solver + 8 * 4 * largest + activations;
  // Embedding and head come whole, in float32, with what they decode to and the codes on the way.
  return 4e8 + Math.max(blocks, outside ? 3.6 * 4 * a.vocabSize * a.width : 0);
}

/** Seconds of tuning that no one waits for: two weeks. */
const LONGEST = 14 * 86400;

/** Throws `RangeError` with both numbers when the plan for the model `name` does not fit. */
export function checkRoom(plan: Plan, name: string): void {
  const { room } = plan;
  const refuse = (what: string, wanted: number, there: number, remedy: string): never => {
    throw new RangeError(
      `Cannot quantize ${name}: it takes ${gigabytes(wanted)} of ${what}, ${gigabytes(there)} are free; ${remedy}`,
    );
  };
  if (plan.memoryBytes > room.memoryBytes) {
    const remedy = plan.tuningSeconds > 0
      ? "tune block by block (--tune-by block)"
      : "use shorter windows or --batch 1";
    refuse("memory", plan.memoryBytes, room.memoryBytes, `close other programmes, or ${remedy}`);
  }
  if (plan.diskBytes > room.diskBytes) {
    refuse("disk", plan.diskBytes, room.diskBytes, "choose another --out, or fewer or shorter windows");
  }
  if (plan.tuningSeconds > LONGEST) {
    const days = (plan.tuningSeconds / 86400).toFixed(0);
    throw new RangeError(
      `Cannot tune ${name} here: it takes ${days} days on this machine; tune block by block (--tune-by block), in fewer steps, or on a GPU`,
    );
  }
}

/**
 * The plan as lines of text.
 *
 * @example
 * ```ts
 * import { loadModel, openQuantization, planText, rtn } from "quant-dllm";
 *
 * const model = await loadModel("data/nano-llada");
 * await using quantization = await openQuantization(model, rtn({ bits: 2, group: 32 }));
 * const plan = await quantization.plan();
 * if (plan.memoryBytes > plan.room.memoryBytes) console.log(`Too little memory:\n${planText(plan)}`);
 * ```
 */
export function planText(plan: Plan): string {
  const { secondsPerBlock: { calibration, solver }, room } = plan;
  return [
    `${plan.linears} linears in ${plan.blocks} blocks at ${plan.bitsPerWeight.toFixed(4)} bits per weight`,
    `output    ${gigabytes(plan.outputBytes)}`,
    `memory    ${gigabytes(plan.memoryBytes)} at the peak, ${gigabytes(room.memoryBytes)} free`,
    `disk      ${gigabytes(plan.diskBytes)} at the peak, hidden states ${gigabytes(plan.statesBytes)} of it, ${
      gigabytes(room.diskBytes)
    } free`,
    `per block ${duration(calibration)} forward passes and second moments, ${duration(solver)} quantiser`,
    ...(plan.tuningSeconds > 0 ? [`tuning    ${duration(plan.tuningSeconds)}`] : []),
    `in all    ${duration(plan.totalSeconds)} on this machine; may be stopped and started again`,
  ].join("\n");
}

const gigabytes = (bytes: number) => bytes >= 1e8 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(2)} MB`;

function duration(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
