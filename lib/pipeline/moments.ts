/** Second moments of what linears read: H = (2 / N) Σ x xᵀ over the tokens of N windows (Eq. 4), one per set of linears that share an input. */
import { type Matrix, matrix } from "../tensor/matrix.ts";
import { inputWidth, type Stage } from "../model/architecture.ts";
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import type { HiddenStates } from "./hidden.ts";

export interface Moment {
  readonly H: Matrix;
  /** Of the windows that were held out; absent when there are none. */
  readonly heldOut?: Matrix;
  /** What the reports of its linears say: tokens behind H, and why they are not those that the router sends. */
  readonly report: Readonly<Record<string, number | string>>;
}

/**
 * The second moment of each set of linears of a stage, the states being at the input of its half. `block` are the weights of the block as they are by now.
 *
 * An expert sees a share of the tokens only. Where that is fewer than a quarter of its inputs, its H would be mostly damping: such an expert is
 * calibrated on all tokens, and the report of its linears says so.
 */
export async function stageMoments(
  engine: Engine,
  states: HiddenStates,
  { stage: { name, half, sets }, block: w }: { readonly stage: Stage; readonly block: BlockTensors },
): Promise<Moment[]> {
  const a = engine.architecture;
  const inputs = inputWidth(a, name);
  const scale = 2 / states.windows;
  const blank = () => matrix(inputs, inputs);
  const heldOut = states.parts.some((part) => part.heldOut);
  const sums = sets.map(() => ({ H: blank(), heldOut: heldOut ? blank() : undefined }));
  const add = async (set: number, part: number, X: Float32Array, weights?: Float32Array) => {
    const into = states.parts[part].heldOut ? sums[set].heldOut! : sums[set].H;
    await engine.addSecondMoment(X, into, { scale, weights });
  };
  if (!a.experts || half === "attention") {
    // One memory for all parts, and none that another walk on the same engine writes into.
    let into = new Float32Array(0);
    for (const [i, { weights }] of states.parts.entries()) {
      const x = await states.get(i), count = x.batch * x.time * inputs;
      if (into.length < count) into = new Float32Array(count);
      await add(0, i, await engine.stageInput(x, w, { stage: name, into }), weights);
    }
    return sums.map((sum) => ({ ...sum, report: {} }));
  }
  const counts = await expertCounts(engine, states, w);
  const wanted = inputs / 4;
  for (const [i, { weights }] of states.parts.entries()) {
    const { X, R } = await routed(engine, await states.get(i), w);
    for (let e = 0; e < sets.length; e++) {
      const rows = counts[e] < wanted ? undefined : rowsOf(R, e, a.experts.count);
      if (rows?.length === 0) continue;
      const seen = rows ? take(X, rows, a.width) : X;
      await add(
        e,
        i,
        name === "gateUp" ? seen : await engine.expertInput(seen, w, { expert: e }),
        rows && weights ? take(weights, rows, 1) : weights,
      );
    }
  }
  return sums.map((sum, e) => {
    const report: Record<string, number | string> = { tokens: counts[e] };
    if (counts[e] < wanted) {
      report.calibrationFallback = `all tokens: the router sends ${counts[e]}, fewer than ${wanted}`;
    }
    return { ...sum, report };
  });
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
