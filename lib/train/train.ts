/** Training a masked diffusion model from scratch: data order, masking and learning rate are functions of (seed, step), so a run can stop and resume. */
import type { Rng } from "../tensor/rng.ts";
import { rng } from "../tensor/rng.ts";
import type { Architecture } from "../model/architecture.ts";
import type { Feed, Runtime } from "../runtime/runtime.ts";
import { type Optimiser, parametersOf, stateOf, trainingGraph } from "./graph.ts";

/** All that a training follows from: the shape of the model, seed, sizes, learning rates. A saved state belongs to one plan. */
export interface TrainingPlan {
  readonly architecture: Architecture;
  readonly seed: number;
  readonly steps: number;
  /** Sequences per step, and their length. */
  readonly batch: number;
  readonly time: number;
  /** Peak learning rate: linear warm-up over `warmup` steps, constant to half of the steps, then linear to `finalRate` times the peak. */
  readonly rate: number;
  readonly warmup: number;
  readonly finalRate: number;
  readonly optimiser: Optimiser;
  /** The first part of the steps, 0 to 1, in which answers are masked as a whole; the rest is the LLaDA objective. See `maskAnswers`. */
  readonly curriculum: number;
}

/** Fills `tokens` with one sequence, `answers` with 1 at answer tokens, `statement` with the index of the statement each token belongs to. */
export type SequenceSource = (r: Rng, tokens: Int32Array, answers: Uint8Array, statement: Int32Array) => void;

export interface StepReport {
  readonly step: number;
  readonly loss: number;
  readonly gradientNorm: number;
  readonly rate: number;
  readonly phase: "answers" | "llada";
}

/** The state of training: float32 `tensors` by the names of `stateOf`. */
export interface TrainingState {
  readonly step: number;
  readonly tensors: ReadonlyMap<string, Float32Array>;
}

/**
 * The state before the first step: matrices normal with deviation 0.02 (what adds to the residual stream less, by 1 / sqrt(2 layers)), norms 1,
 * moments 0.
 *
 * @example
 * ```ts
 * import { initialState, readTrainingState, type TrainingPlan } from "quant-dllm/testbed";
 *
 * // Where training goes on: at the last saved state, else at the beginning.
 * const start = async (path: string, plan: TrainingPlan) => await readTrainingState(path, plan) ?? initialState(plan);
 * ```
 */
export function initialState(plan: TrainingPlan): TrainingState {
  const length = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const tensors = new Map(stateOf(plan.architecture).map((t) => [t.name, new Float32Array(length(t.shape))]));
  for (const { name, shape } of parametersOf(plan.architecture)) {
    const r = rng(plan.seed, "init", name);
    const residual = name.endsWith(".o") || name.endsWith(".down");
    const deviation = residual ? 0.02 / Math.sqrt(2 * plan.architecture.layers) : 0.02;
    const tensor = tensors.get(name)!;
    for (let i = 0; i < tensor.length; i++) tensor[i] = shape.length === 1 ? 1 : deviation * r.normal();
  }
  return { step: 0, tensors };
}

/**
 * Trains: runs the steps from `state.step` to the end of the plan. Yields after each step; the state that comes with it is valid until the next.
 *
 * @example
 * ```ts
 * import { openRuntime } from "quant-dllm";
 * import { createWorld, initialState, train, type TrainingPlan, WORLD_SEED } from "quant-dllm/testbed";
 *
 * async function run(plan: TrainingPlan) {
 *   const world = createWorld({ seed: WORLD_SEED });
 *   await using runtime = await openRuntime();
 *   const steps = train(runtime, plan, {
 *     state: initialState(plan),
 *     source(random, tokens, answers, statement) {
 *       const drawn = world.sequence(random, "train", plan.time);
 *       tokens.set(drawn.tokens);
 *       answers.set(drawn.answers);
 *       drawn.starts.forEach((start, i) => statement.fill(i, start));
 *     },
 *   });
 *   for await (const { report: { step, loss } } of steps) console.log(step, loss);
 * }
 * ```
 */
export async function* train(
  runtime: Runtime,
  plan: TrainingPlan,
  { source, state, signal }: {
    readonly source: SequenceSource;
    readonly state: TrainingState;
    readonly signal?: AbortSignal;
  },
): AsyncGenerator<{ report: StepReport; state: TrainingState }> {
  const { batch, time, steps, optimiser } = plan;
  const count = batch * time;
  await using session = await runtime.session(trainingGraph(plan.architecture, { batch, time, optimiser }));
  // The graph reads one set of tensors and writes the other; they change places after each step.
  let current = feedsOf(plan.architecture, (name) => state.tensors.get(name)!.slice());
  let next = feedsOf(plan.architecture, (name) => new Float32Array(state.tensors.get(name)!.length));
  const batchData = emptyBatch(batch, time);
  for (let step = state.step; step < steps && !signal?.aborted; step++) {
    const phase = step < plan.curriculum * steps ? "answers" : "llada";
    fillBatch(batchData, plan, { step, phase, source });
    const rate = learningRate(plan, step);
    const scalar = (x: number): Feed => ({ dims: [], data: Float32Array.of(x) });
    const feeds: Record<string, Feed> = {
      ...Object.fromEntries(current),
      tokens: { dims: [count], data: batchData.tokens },
      targets: { dims: [count, 1], data: batchData.targets },
      weights: { dims: [count, 1], data: batchData.weights },
      rate: scalar(rate),
      c1: scalar(1 / (1 - optimiser.beta1 ** (step + 1))),
      c2: scalar(1 / (1 - optimiser.beta2 ** (step + 1))),
    };
    const into = Object.fromEntries([...next].map(([name, feed]) => [`${name}'`, feed]));
    const { loss, norm } = await session.run(feeds, into);
    [current, next] = [next, current];
    const tensors = new Map([...current].map(([name, { data }]) => [name, data as Float32Array]));
    yield {
      report: { step: step + 1, loss: loss.data[0], gradientNorm: norm.data[0], rate, phase },
      state: { step: step + 1, tensors },
    };
  }
}

/** Learning rate at a step, see `TrainingPlan`. */
export function learningRate({ steps, rate, warmup, finalRate }: TrainingPlan, step: number): number {
  if (step < warmup) return rate * (step + 1) / warmup;
  const left = Math.min(1, 2 * (steps - step) / steps);
  return rate * (finalRate + (1 - finalRate) * left);
}

interface Batch {
  readonly tokens: BigInt64Array;
  readonly targets: BigInt64Array;
  readonly weights: Float32Array;
  readonly sequence: Int32Array;
  readonly answers: Uint8Array;
  readonly statement: Int32Array;
}

function emptyBatch(batch: number, time: number): Batch {
  return {
    tokens: new BigInt64Array(batch * time),
    targets: new BigInt64Array(batch * time),
    weights: new Float32Array(batch * time),
    sequence: new Int32Array(time),
    answers: new Uint8Array(time),
    statement: new Int32Array(time),
  };
}

function fillBatch(
  b: Batch,
  plan: TrainingPlan,
  { step, phase, source }: { readonly step: number; readonly phase: string; readonly source: SequenceSource },
): void {
  const { batch, time, architecture: { maskId } } = plan;
  const masking = rng(plan.seed, "mask", step);
  const data = rng(plan.seed, "data", step);
  const offset = masking.next();
  const mask = BigInt(maskId);
  for (let i = 0; i < batch; i++) {
    source(data, b.sequence, b.answers, b.statement);
    const weights = b.weights.subarray(i * time, (i + 1) * time);
    // Timesteps stratified over the batch: uniform on (0, 1], one in each of `batch` equal parts.
    if (phase === "llada") maskUniformly(weights, masking, { t: Math.max(1e-3, (i + offset) / batch) });
    else maskAnswers(weights, masking, b);
    for (let p = 0; p < time; p++) {
      const token = BigInt(b.sequence[p]);
      b.targets[i * time + p] = token;
      b.tokens[i * time + p] = weights[p] > 0 ? mask : token;
    }
  }
  const total = phase === "llada" ? batch * time : b.weights.reduce((x, y) => x + y, 0);
  for (let p = 0; p < b.weights.length; p++) b.weights[p] /= total;
}

/** The LLaDA objective: each token masked with probability t; its cross entropy weighs 1 / t, normalised by the number of all tokens. */
export function maskUniformly(weights: Float32Array, r: Rng, { t }: { readonly t: number }): void {
  for (let p = 0; p < weights.length; p++) weights[p] = r.next() < t ? 1 / t : 0;
}

/**
 * The objective of the first part: three of four statements have all of their answer tokens masked and no other, the tokens of the rest are masked at
 * a rate drawn from 0 to 1/2. Answers weigh 1, other masked tokens 0.1: what must be known is learned before what can be guessed.
 */
export function maskAnswers(
  weights: Float32Array,
  r: Rng,
  { answers, statement }: { readonly answers: Uint8Array; readonly statement: Int32Array },
): void {
  let current = -1;
  let whole = false;
  let rate = 0;
  for (let p = 0; p < weights.length; p++) {
    if (statement[p] !== current) {
      current = statement[p];
      whole = r.next() < 0.75;
      rate = whole ? 0 : 0.5 * r.next();
    }
    const masked = (whole && answers[p] === 1) || r.next() < rate;
    weights[p] = masked ? answers[p] === 1 ? 1 : 0.1 : 0;
  }
}

function feedsOf(a: Architecture, data: (name: string) => Float32Array): Map<string, Feed> {
  return new Map(stateOf(a).map(({ name, shape }): [string, Feed] => [name, { dims: shape, data: data(name) }]));
}
