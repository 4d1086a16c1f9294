/** Probes of this machine: the device and the quantiser, timed on small pieces of a model's own kind. */
import { newFactors } from "../quant/factor.ts";
import type { Method } from "../quant/method.ts";
import { storedBits } from "../quant/forms/decode.ts";
import { rng } from "../tensor/rng.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import type { Model } from "../model/model.ts";

export interface ProbeOptions {
  readonly kernels: Kernels;
  /** A clock in milliseconds. */
  readonly now: () => number;
}

export interface SolverProbe {
  /** With or without the factor of the second moment. */
  seconds(shape: readonly [number, number], factor: boolean): number;
  bytes(shape: readonly [number, number]): number;
}

/**
 * Times the quantiser on three shapes and fits time = α cols³ + β rows cols² + γ rows cols (factor of the second moment, products with it, loops over
 * weights); the bytes are exactly a rows cols + b rows + c cols.
 */
export async function probeSolver(
  method: Method,
  options: ProbeOptions & { readonly width: number },
): Promise<SolverProbe> {
  const unit = options.width >= 2048 ? 2048 : 256;
  // Few rows show the factor, many the rest, at two widths. The first run also starts threads and sessions: it does not count.
  const shapes = [[1 / 32, 1], [1 / 32, 2], [1 / 2, 1], [1 / 2, 2]];
  const runs: { seconds: number; bytes: number }[] = [];
  for (const [r, c] of shapes) runs.push(await quantizeNoise(method, [r * unit, c * unit], options));
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
  [rows, cols]: readonly [number, number],
  { kernels, now }: ProbeOptions,
): Promise<{ seconds: number; bytes: number }> {
  const r = rng(1, "probe", rows, cols);
  const noise = (n: number, m: number) => matrix(n, m, Float32Array.from({ length: n * m }, () => r.next() - 0.5));
  const W = noise(rows, cols);
  const factors = newFactors();
  let bound = method.typical ?? method;
  let H: Matrix | undefined, X: Matrix | undefined;
  if (method.needsHessian) {
    X = noise(Math.ceil(cols / 2), cols);
    H = await kernels.gemm(X, X, { transA: true });
    const score = await method.across?.score({ name: "probe", W, H, factors, kernels });
    if (score) bound = method.across!.bind({ probe: score });
  }
  const D = method.wants?.drift ? noise(cols, cols) : undefined;
  const start = now();
  const q = await bound.quantize({ name: "probe", W, H, D, X, factors, kernels });
  return { seconds: (now() - start) / 1000, bytes: storedBits(q) / 8 };
}

/** Seconds per token of a block's forward passes (each half runs twice: to its last stage, then on), and multiply-adds per second of large products. */
export async function probeDevice(
  { engine, weights }: Model,
  { length, windows, kernels, now }: ProbeOptions & { readonly windows: number; readonly length: number },
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
    await engine.stageInput(x, block, { stage: "out" });
    await engine.feedForward(x1, block);
    if (!engine.architecture.experts) await engine.stageInput(x1, block, { stage: "down" });
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
