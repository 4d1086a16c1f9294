/** Second moments of what linears read: H = (2 / N) Σ x xᵀ over the tokens of N windows (Eq. 4), one per set of linears that share an input and its weights. */
import { concat } from "../tensor/concat.ts";
import type { Kernels } from "../tensor/kernels.ts";
import { type Matrix, matrix } from "../tensor/matrix.ts";
import { inputWidth, type Linear, type Stage } from "../model/architecture.ts";
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import type { HiddenStates } from "./hidden.ts";

export interface Moment {
  /** The linears that it is of: those that share an input, or one alone where a guide weighs tokens for each. */
  readonly linears: readonly Linear[];
  /** One, or one for each group of rows that a guide has. */
  readonly groups: readonly GroupMoment[];
  /** What the reports of its linears say: tokens behind H, and why they are not those that the router sends. */
  readonly report: Readonly<Record<string, number | string>>;
}

export interface GroupMoment {
  readonly H: Matrix;
  /** (2 / N) Σ (x̃ - x) xᵀ, x̃ being what full precision reads there; where a method wants it. */
  readonly D?: Matrix;
  /** Some of the inputs `[tokens, in]`, evenly from all; where a method wants them. */
  readonly X?: Matrix;
  /** Of the windows that were held out; absent when there are none. */
  readonly heldOut?: Matrix;
}

/** What is taken beside the second moments. */
export interface Extra {
  /** Rows of X at most. */
  readonly inputs?: number;
  /** The states of the full-precision model at the same place, its weights there, and the arithmetic for D. */
  readonly reference?: { readonly states: HiddenStates; readonly block: BlockTensors; readonly kernels: Kernels };
}

/**
 * The second moments of the linears of a stage, the states being at the input of its half. `block` are the weights of the block as they are by now.
 *
 * An expert sees a share of the tokens only. Where that is fewer than a quarter of its inputs, its H would be mostly damping: such an expert is
 * calibrated on all tokens, and the report of its linears says so.
 */
export async function stageMoments(
  engine: Engine,
  states: HiddenStates,
  { layer, stage: { name, half, sets }, block: w, extra = {} }: {
    readonly layer: number;
    readonly stage: Stage;
    readonly block: BlockTensors;
    readonly extra?: Extra;
  },
): Promise<Moment[]> {
  const a = engine.architecture;
  const inputs = inputWidth(a, name);
  const scale = 2 / states.windows;
  const heldOut = states.parts.some((part) => part.heldOut);
  const blank = () => matrix(inputs, inputs);
  const sums = sets.map((set) =>
    guided(states, layer, set).map(({ linears, guides }) => ({
      linears,
      guides,
      groups: guides.map(() => ({
        H: blank(),
        heldOut: heldOut ? blank() : undefined,
        ...(extra.reference ? { D: blank() } : {}),
      })),
    }))
  );
  const samples = sets.map(() => extra.inputs === undefined ? undefined : new Sample(extra.inputs, inputs));
  const add = async (set: number, i: number, X: Float32Array, rows?: readonly number[], full?: Float32Array) => {
    const part = states.parts[i], count = X.length / inputs;
    if (!part.heldOut) samples[set]?.add(X);
    const own = (all?: Float32Array) => all && rows ? take(all, rows, 1) : all;
    const common = [own(part.weights), states.inverseNorm ? inverseNorms(X, inputs) : undefined];
    for (const { guides, groups } of sums[set]) {
      for (const [k, group] of groups.entries()) {
        const tokens = rows ? undefined : part.start + count;
        const weights = product([...common, own(guides[k]?.subarray(part.start, tokens))]);
        await engine.addSecondMoment(X, part.heldOut ? group.heldOut! : group.H, { scale, weights });
        if (full && !part.heldOut) {
          await addDrift(group.D!, X, full, { scale, weights, kernels: extra.reference!.kernels });
        }
      }
    }
  };
  if (!a.experts || half === "attention") {
    // One memory for all parts, and none that another walk on the same engine writes into.
    let into = new Float32Array(0);
    for (const i of states.parts.keys()) {
      const x = await states.get(i), count = x.batch * x.time * inputs;
      if (into.length < count) into = new Float32Array(count);
      const X = await engine.stageInput(x, w, { stage: name, into });
      const full = extra.reference &&
        await engine.stageInput(await extra.reference.states.get(i), extra.reference.block, { stage: name });
      await add(0, i, X, undefined, full);
    }
    return sums[0].map(({ linears, groups }) => ({ linears, groups: withSample(groups, samples[0]), report: {} }));
  }
  const counts = await expertCounts(engine, states, w);
  const wanted = inputs / 4;
  for (const i of states.parts.keys()) {
    const { X, R } = await routed(engine, await states.get(i), w);
    const { reference } = extra;
    const full = reference &&
      await engine.stageInput(await reference.states.get(i), reference.block, { stage: "gateUp" });
    for (let e = 0; e < sets.length; e++) {
      const rows = counts[e] < wanted ? undefined : rowsOf(R, e, a.experts.count);
      if (rows?.length === 0) continue;
      const seen = rows ? take(X, rows, a.width) : X;
      const at = async (read: Float32Array, block: BlockTensors) =>
        name === "gateUp" ? read : await engine.expertInput(read, block, { expert: e });
      // Token by token the same: those that the quantised router sends there.
      const aim = full && await at(rows ? take(full, rows, a.width) : full, reference.block);
      await add(e, i, await at(seen, w), rows, aim);
    }
  }
  return sums.flatMap((set, e) => {
    const report: Record<string, number | string> = { tokens: counts[e] };
    if (counts[e] < wanted) {
      report.calibrationFallback = `all tokens: the router sends ${counts[e]}, fewer than ${wanted}`;
    }
    return set.map(({ linears, groups }) => ({ linears, groups: withSample(groups, samples[e]), report }));
  });
}

/** Rows evenly from a stream whose length is not known: when there are too many, every other one goes. */
class Sample {
  #rows: Float32Array[] = [];
  #stride = 1;
  #seen = 0;

  constructor(readonly most: number, readonly width: number) {}

  add(X: Float32Array): void {
    for (let at = 0; at < X.length; at += this.width, this.#seen++) {
      if (this.#seen % this.#stride !== 0) continue;
      if (this.#rows.length === this.most) {
        this.#rows = this.#rows.filter((_, k) => k % 2 === 0);
        this.#stride *= 2;
        if (this.#seen % this.#stride !== 0) continue;
      }
      this.#rows.push(X.slice(at, at + this.width));
    }
  }

  matrix(): Matrix {
    return matrix(this.#rows.length, this.width, concat(this.#rows, Float32Array));
  }
}

function withSample(groups: readonly GroupMoment[], sample?: Sample): readonly GroupMoment[] {
  if (!sample) return groups;
  const X = sample.matrix();
  return groups.map((group) => ({ ...group, X }));
}

/** D += scale Σ w (x̃ - x) xᵀ. */
async function addDrift(
  D: Matrix,
  X: Float32Array,
  full: Float32Array,
  { scale, weights, kernels }: { readonly scale: number; readonly weights?: Float32Array; readonly kernels: Kernels },
): Promise<void> {
  const n = D.cols, count = X.length / n;
  const moved = full.map((x, k) => scale * (weights ? weights[Math.floor(k / n)] : 1) * (x - X[k]));
  const sum = await kernels.gemm(matrix(count, n, moved), matrix(count, n, X.subarray(0, count * n)), { transA: true });
  for (let k = 0; k < D.data.length; k++) D.data[k] += sum.data[k];
}

/** The one second moment of a linear. Throws `TypeError` where its rows have several. */
export function wholeMoment({ linears, groups }: Moment): Matrix {
  if (groups.length === 1) return groups[0].H;
  throw new TypeError(
    `Cannot give the second moment of ${linears.join(", ")}: its rows are in ${groups.length} groups; guide with one`,
  );
}

/** The linears of a set that share a moment, with the weights that a guide has for each group of their rows: none without a guide. */
function guided({ guide }: HiddenStates, layer: number, set: readonly Linear[]) {
  if (!guide) return [{ linears: set, guides: [undefined] }];
  return set.map((linear) => {
    const guides = guide[`${layer}.${linear}`];
    if (guides) return { linears: [linear], guides };
    throw new RangeError(
      `Cannot calibrate ${layer}.${linear}: the guide has no weights of it; guide with the model that is quantised`,
    );
  });
}

/** 1 / mean(x²) of each row of X, zero where the row is. */
function inverseNorms(X: Float32Array, width: number): Float32Array {
  return Float32Array.from({ length: X.length / width }, (_, row) => {
    let sum = 0;
    for (let at = row * width; at < (row + 1) * width; at++) sum += X[at] * X[at];
    return sum === 0 ? 0 : width / sum;
  });
}

/** The factors multiplied place by place; undefined when there are none. */
function product(factors: readonly (Float32Array | undefined)[]): Float32Array | undefined {
  const [first, ...rest] = factors.filter((factor) => factor !== undefined);
  return rest.reduce((out, factor) => out.map((x, i) => x * factor[i]), first);
}

/** Tokens that the router sends to each expert, held-out windows not counted. */
async function expertCounts(engine: Engine, states: HiddenStates, w: BlockTensors): Promise<number[]> {
  const { count } = engine.architecture.experts!;
  const counts = new Array<number>(count).fill(0);
  for (const [i, { heldOut }] of states.parts.entries()) {
    if (heldOut) continue;
    const { R } = await routed(engine, await states.get(i), w);
    R.forEach((weight, k) => counts[k % count] += weight === 0 ? 0 : 1);
  }
  return counts;
}

async function routed(engine: Engine, x: Hidden, w: BlockTensors): Promise<{ X: Float32Array; R: Float32Array }> {
  const X = await engine.stageInput(x, w, { stage: "gateUp" });
  return { X, R: await engine.route(X, w) };
}

function rowsOf(R: Float32Array, expert: number, count: number): number[] {
  const rows: number[] = [];
  for (let i = 0; i * count < R.length; i++) if (R[i * count + expert] !== 0) rows.push(i);
  return rows;
}

function take(X: Float32Array, rows: readonly number[], width: number): Float32Array {
  const out = new Float32Array(rows.length * width);
  rows.forEach((row, i) => out.set(X.subarray(row * width, (row + 1) * width), i * width));
  return out;
}
