/** What quantising a checkpoint will take, before it is begun: memory, disk and time, from its shapes and a probe of this machine. */
import { newFactors } from "../quant/factor.ts";
import type { Method } from "../quant/method.ts";
import { storedBits } from "../quant/forms/decode.ts";
import { rng } from "../tensor/rng.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import { type Architecture, linears, linearShape, stages } from "../model/architecture.ts";
import type { Checkpoint } from "../checkpoint/open.ts";
import { tensorShapes } from "../checkpoint/open.ts";
import type { Engine } from "../model/engine.ts";
import { statesBytes } from "./spilled.ts";

export interface PlanOptions {
  /** Calibration windows, those held out included; 0 for a method that needs no data. */
  readonly windows: number;
  /** Tokens per window. */
  readonly length: number;
  /** Windows per forward pass. */
  readonly batch: number;
  readonly kernels: Kernels;
  /** A clock in milliseconds. */
  readonly now: () => number;
}

export interface Plan {
  readonly linears: number;
  readonly blocks: number;
  /** Of the linears of the blocks, scales included. */
  readonly bitsPerWeight: number;
  /** Of the packed checkpoint. */
  readonly outputBytes: number;
  /** Peak of what the process holds. */
  readonly memoryBytes: number;
  /** Peak on the disk of the output folder: work files and the checkpoint. */
  readonly diskBytes: number;
  /** Of those, hidden states. */
  readonly statesBytes: number;
  /** Reading, forward passes and second moments; the quantiser. */
  readonly secondsPerBlock: { readonly calibration: number; readonly solver: number };
  readonly totalSeconds: number;
}

/** Makes the plan. Runs the probe: a few seconds, in which the device and the quantiser are timed on small pieces of the model's own kind. */
export async function planQuantization(
  checkpoint: Checkpoint,
  engine: Engine,
  method: Method,
  options: PlanOptions,
): Promise<Plan> {
  const { architecture: a, family, source } = checkpoint;
  const { windows, length } = options;
  const shapes = linears(a).map((linear) => linearShape(a, linear));
  const solver = await probeSolver(method, a, options);
  const device = windows > 0 ? await probeDevice(checkpoint, engine, options) : { forward: 0, products: Infinity };
  const tokens = windows * length;
  const calibration = tokens * device.forward + tokens * momentOperations(a) / device.products;
  let perBlock = 0;
  for (const group of stages(a).flat()) {
    // Linears that share a second moment share its factor.
    group.forEach((linear, i) => perBlock += solver.seconds(linearShape(a, linear), i === 0));
  }
  const packed = a.layers * shapes.reduce((sum, shape) => sum + solver.bytes(shape), 0);
  const weights = a.layers * shapes.reduce((sum, [rows, cols]) => sum + rows * cols, 0);
  const quantised = new Set(
    Array.from({ length: a.layers }, (_, layer) => linears(a).map((l) => family.names.block(layer, l))).flat(),
  );
  let others = 0, outsideSeconds = 0;
  for (const [name, shape] of tensorShapes(family, a)) {
    if (quantised.has(name)) continue;
    const part = name === family.names.embed ? "embed" : name === family.names.head ? "head" : undefined;
    const own = part && method.outside?.[part];
    if (own) {
      const probe = await probeSolver(own, a, options);
      others += probe.bytes(shape as [number, number]);
      outsideSeconds += probe.seconds(shape as [number, number], false);
    } else {
      others += source.tensors.info(name).bytes;
    }
  }
  const spilled = 2 * windows * statesBytes(length, a.width);
  const outputBytes = Math.ceil(packed + others);
  return {
    linears: quantised.size,
    blocks: a.layers,
    bitsPerWeight: 8 * packed / weights,
    outputBytes,
    memoryBytes: memoryOf(a, options, method.outside !== undefined),
    diskBytes: Math.ceil(packed + outputBytes + spilled),
    statesBytes: spilled,
    secondsPerBlock: { calibration, solver: perBlock },
    totalSeconds: a.layers * (calibration + perBlock) + outsideSeconds,
  };
}

/** Multiply-adds of the second moments of one block, per token; of wide ones only the triangle is computed. */
function momentOperations(a: Architecture): number {
  return stages(a).reduce((sum, groups) => {
    const inputs = linearShape(a, groups[0][0])[1];
    const networks = a.experts && groups.length > 1 ? a.experts.active : 1;
    return sum + networks * inputs * inputs * (inputs > 4096 ? 0.6 : 1);
  }, 0);
}

/**
 * Peak memory. A block in float32; the second moments of the widest stage, with what the solver makes of one (its factor in float64 with two buffers of that size, and a damped copy);
 * copies of the largest linear; the activations of one forward pass; and the programme itself.
 */
function memoryOf(a: Architecture, { windows, length, batch }: PlanOptions, outside: boolean): number {
  const block = linears(a).reduce((sum, linear) => sum + linearShape(a, linear)[0] * linearShape(a, linear)[1], 0);
  let moments = 0, widest = 0, largest = 0;
  for (const groups of stages(a)) {
    const [rows, cols] = linearShape(a, groups[0][0]);
    moments = Math.max(moments, groups.length * cols * cols * (windows > 0 ? 2 : 0));
    widest = Math.max(widest, cols);
    largest = Math.max(largest, rows * cols);
  }
  const solver = windows > 0 ? (3 * 8 + 4) * widest * widest : 0;
  const activations = windows > 0 ? 4 * Math.min(batch, windows) * length * (4 * a.width + 4 * a.hidden) : 0;
  const blocks = 4 * block + 4 * moments + solver + 8 * 4 * largest + activations;
  // Embedding and head come whole, in float32, with what they decode to and the codes on the way.
  return 4e8 + Math.max(blocks, outside ? 3.6 * 4 * a.vocabSize * a.width : 0);
}

interface SolverProbe {
  /** With or without the factor of the second moment. */
  seconds(shape: readonly [number, number], factor: boolean): number;
  bytes(shape: readonly [number, number]): number;
}

/**
 * Times the quantiser on three shapes and fits time = α cols³ + β rows cols² + γ rows cols (factor of the second moment, products with it, loops over
 * weights); the bytes are exactly a rows cols + b rows + c cols.
 */
async function probeSolver(method: Method, a: Architecture, options: PlanOptions): Promise<SolverProbe> {
  const unit = a.width >= 2048 ? 2048 : 256;
  // Few rows show the factor, many the rest, at two widths. The first run also starts threads and sessions: it does not count.
  const shapes = [[1 / 32, 1], [1 / 32, 2], [1 / 2, 1], [1 / 2, 2]];
  const runs: { seconds: number; bytes: number }[] = [];
  for (const [r, c] of shapes) runs.push(await quantizeNoise(method, r * unit, c * unit, options));
  const fit = (value: (run: typeof runs[number]) => number, terms: (r: number, c: number) => number[]) =>
    fitNonNegative(shapes.slice(1).map(([r, c]) => terms(r, c)), runs.slice(1).map(value));
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, v, i) => sum + v * y[i], 0);
  const costs = (r: number, c: number) => [c ** 3, r * c ** 2, r * c];
  const sizes = (r: number, c: number) => [r * c, r, c];
  const perCost = fit((run) => run.seconds, costs);
  const perSize = fit((run) => run.bytes, sizes);
  return {
    seconds([rows, cols], factor) {
      const [own, ...shared] = costs(rows / unit, cols / unit);
      return dot(perCost, [factor ? own : 0, ...shared]);
    },
    bytes: ([rows, cols]) => dot(perSize, sizes(rows / unit, cols / unit)),
  };
}

/** The x without negative entries that makes A x nearest to y, by coordinate descent: timings waver, and no step takes negative time. */
function fitNonNegative(A: readonly (readonly number[])[], y: readonly number[]): number[] {
  const x = A[0].map(() => 0);
  for (let sweep = 0; sweep < 10_000; sweep++) {
    for (let k = 0; k < x.length; k++) {
      let top = 0, bottom = 0;
      A.forEach((row, i) => {
        const rest = y[i] - row.reduce((sum, a, j) => sum + (j === k ? 0 : a * x[j]), 0);
        top += row[k] * rest;
        bottom += row[k] ** 2;
      });
      x[k] = Math.max(0, top / bottom);
    }
  }
  return x;
}

/** Quantises noise, timed: what the arithmetic costs does not depend on the weights. */
async function quantizeNoise(
  method: Method,
  rows: number,
  cols: number,
  { kernels, now }: PlanOptions,
): Promise<{ seconds: number; bytes: number }> {
  const r = rng(1, "probe", rows, cols);
  const noise = (n: number, m: number) => matrix(n, m, Float32Array.from({ length: n * m }, () => r.next() - 0.5));
  const W = noise(rows, cols);
  const factors = newFactors();
  let bound = method;
  let H: Matrix | undefined;
  if (method.needsHessian) {
    const X = noise(Math.ceil(cols / 2), cols);
    H = await kernels.gemm(X, X, { transA: true });
    const score = await method.across?.score({ name: "probe", W, H, factors, kernels });
    if (score) bound = method.across!.bind({ probe: score });
  }
  const start = now();
  const q = await bound.quantize({ name: "probe", W, H, factors, kernels });
  return { seconds: (now() - start) / 1000, bytes: storedBits(q) / 8 };
}

/** Seconds per token of a block's forward passes (each half runs twice: to its last stage, then on), and multiply-adds per second of large products. */
async function probeDevice(
  { weights }: Checkpoint,
  engine: Engine,
  { length, windows, kernels, now }: PlanOptions,
): Promise<{ forward: number; products: number }> {
  const { width } = engine.architecture;
  const time = Math.min(length, 1024);
  const r = rng(1, "probe states");
  const x = { batch: 1, time, data: Float32Array.from({ length: time * width }, () => r.normal()) };
  const opened = now();
  const block = await weights.block(0);
  const reading = (now() - opened) / 1000;
  const pass = async () => {
    const x1 = await engine.attend(x, block);
    await engine.stageInput(1, x, block);
    await engine.feedForward(x1, block);
    if (!engine.architecture.experts) await engine.stageInput(3, x1, block);
  };
  await pass();
  const start = now();
  await pass();
  const forward = (now() - start) / 1000 / time + reading / (windows * length);
  const X = matrix(time, width, x.data);
  const products = now();
  for (let i = 0; i < 3; i++) await kernels.gemm(X, X, { transA: true });
  return { forward, products: 3 * time * width * width / Math.max(1e-6, (now() - products) / 1000) };
}

/** What the machine has. */
export interface Room {
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

/** Throws `RangeError` with both numbers when the plan does not fit. */
export function checkRoom(plan: Plan, room: Room, name: string): void {
  const refuse = (what: string, wanted: number, there: number, remedy: string): never => {
    throw new RangeError(
      `Cannot quantize ${name}: it takes ${gigabytes(wanted)} of ${what}, ${gigabytes(there)} are free; ${remedy}`,
    );
  };
  if (plan.memoryBytes > room.memoryBytes) {
    refuse("memory", plan.memoryBytes, room.memoryBytes, "close other programmes, or use shorter windows or --batch 1");
  }
  if (plan.diskBytes > room.diskBytes) {
    refuse("disk", plan.diskBytes, room.diskBytes, "choose another --out, or fewer or shorter windows");
  }
}

/** The plan as lines of text. */
export function planText(plan: Plan, room: Room): string {
  const { secondsPerBlock: { calibration, solver } } = plan;
  return [
    `${plan.linears} linears in ${plan.blocks} blocks at ${plan.bitsPerWeight.toFixed(4)} bits per weight`,
    `output    ${gigabytes(plan.outputBytes)}`,
    `memory    ${gigabytes(plan.memoryBytes)} at the peak, ${gigabytes(room.memoryBytes)} free`,
    `disk      ${gigabytes(plan.diskBytes)} at the peak, hidden states ${gigabytes(plan.statesBytes)} of it, ${
      gigabytes(room.diskBytes)
    } free`,
    `per block ${duration(calibration)} forward passes and second moments, ${duration(solver)} quantiser`,
    `in all    ${duration(plan.totalSeconds)} on this machine; may be stopped and started again`,
  ].join("\n");
}

const gigabytes = (bytes: number) => bytes >= 1e8 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(2)} MB`;

function duration(seconds: number): string {
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
