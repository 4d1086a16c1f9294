/** The gradient of half a block: what comes back through it, and what its weights get. The half is the one that inference runs. */
import { type Architecture, type Half, weightShape } from "../model/architecture.ts";
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import type { Dimension, Value } from "../onnx/graph.ts";
import type { Feed, Session } from "../runtime/runtime.ts";
import { halfGraph, type Pass, weightsOf } from "./half_graph.ts";

/** What half a block gives back. */
export interface HalfGradients {
  /** With respect to the states that entered, `[batch, time, width]`; holds until the next call. */
  readonly dX: Float32Array;
  /** With respect to each weight of the half, of the shapes of `weightShape`; holds until the next call for the same half. */
  readonly weights: BlockTensors;
}

/** What a forward pass computed that the way back reads, once: its memory is then used again. */
export type Kept = readonly Feed[];

/** A session, and what it takes and gives. */
interface Opened {
  readonly session: Session;
  readonly inputs: readonly string[];
  readonly kept: readonly Value[];
}

/** Half a block with its weights. */
export interface HalfBlock {
  readonly half: Half;
  readonly weights: BlockTensors;
  /** With the attention half: only these rows leave it, flat and ascending, as a batch of single tokens. */
  readonly rows?: Int32Array;
}

/**
 * Gradients of the blocks of one architecture. Weights enter as inputs: one session serves a half of every block; for attention, of states of a shape
 * `[batch, time]`.
 */
export class BlockVjp implements AsyncDisposable {
  readonly #sessions = new Map<string, Promise<Opened>>();
  readonly #unread = new WeakSet<Kept>();
  /** Memory for what is kept, used again once the way back has read it: fresh memory takes longer than most operators. */
  readonly #free = new Map<string, Float32Array[]>();
  /** Outputs, used again and again. */
  readonly #weights: Record<string, Float32Array> = {};
  /** Two of them, since one holds what came back through the half above, which enters here. */
  #states: [Float32Array, Float32Array] = [new Float32Array(0), new Float32Array(0)];

  constructor(readonly engine: Engine) {}

  /** Half a block as inference runs it, with what the way back would otherwise compute again. */
  async forward(x: Hidden, own: HalfBlock): Promise<{ readonly y: Hidden; readonly kept: Kept }> {
    const count = own.rows?.length ?? x.batch * x.time, into: Record<string, Feed> = {};
    const opened = await this.#session("forward", x, own);
    opened.kept.forEach(({ name, shape }, i) => {
      const dims = shape.map((d) => d === "n" ? count : d);
      if (isKnown(dims)) into[name] = { dims, data: fitted(this.#free.get(`${own.half} ${i}`)?.pop(), size(dims)) };
    });
    const { y, ...others } = await this.#run(opened, x, own, {}, into);
    const [batch, time] = own.rows ? [count, 1] : [x.batch, x.time];
    const kept = opened.kept.map(({ name }) => others[name]);
    this.#unread.add(kept);
    return { y: { batch, time, data: y.data }, kept };
  }

  /**
   * The product of `dOut`, the gradient with respect to what left the half, with the Jacobian of the half at x. What is not `kept` is computed again from x.
   * Without `states`, only the gradients of the weights are, and dX is empty: there is less to compute.
   */
  async run(
    x: Hidden,
    { dOut, kept, states = true, ...own }: HalfBlock & {
      readonly dOut: Float32Array;
      readonly kept?: Kept;
      readonly states?: boolean;
    },
  ): Promise<HalfGradients> {
    const a = this.engine.architecture;
    const length = own.rows ? own.rows.length * a.width : x.data.length;
    if (dOut.length !== length) {
      throw new TypeError(
        `Cannot go back through half a block: the gradient has ${dOut.length} numbers, its output ${length}`,
      );
    }
    if (kept && !this.#unread.delete(kept)) {
      throw new RangeError("Cannot go back through half a block: what its forward pass kept was read already");
    }
    const into: Record<string, Feed> = {};
    if (states) into.dX = { dims: dimsOf(a, x, own.half), data: this.#nextStates(x.data.length) };
    const gradients: Record<string, Float32Array> = {};
    for (const name of weightsOf(a, own.half)) {
      gradients[name] = this.#weights[name] ??= new Float32Array(own.weights[name].length);
      into[`d.${name}`] = { dims: weightShape(a, name), data: gradients[name] };
    }
    const dims = own.rows ? [own.rows.length, a.width] : dimsOf(a, x, own.half);
    const opened = await this.#session(kept ? "backward" : "whole", x, own, states);
    const given = Object.fromEntries(opened.kept.map(({ name }, i) => [name, kept![i]]));
    await this.#run(opened, x, own, { ...given, dOut: { dims, data: dOut } }, into);
    opened.kept.forEach(({ shape }, i) => {
      if (isKnown(shape.map((d) => d === "n" ? 1 : d))) this.#give(`${own.half} ${i}`, kept![i].data as Float32Array);
    });
    return { dX: into.dX?.data as Float32Array ?? new Float32Array(0), weights: gradients };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(async (s) => (await s).session[Symbol.asyncDispose]()));
    this.#sessions.clear();
  }

  #run(
    { session, inputs }: Opened,
    x: Hidden,
    { half, weights, rows }: HalfBlock,
    more: Readonly<Record<string, Feed>>,
    into: Readonly<Record<string, Feed>>,
  ) {
    const a = this.engine.architecture;
    const feeds: Record<string, Feed> = { ...more, x: { dims: dimsOf(a, x, half), data: x.data } };
    if (rows) feeds.rows = { dims: [rows.length], data: BigInt64Array.from(rows, BigInt) };
    for (const name of weightsOf(a, half)) feeds[name] = { dims: weightShape(a, name), data: weights[name] };
    return session.run(Object.fromEntries(inputs.map((name) => [name, feeds[name]])), into);
  }

  /** The other one of the two arrays for dX. */
  #nextStates(length: number): Float32Array {
    const [last, other] = this.#states;
    this.#states = [fitted(other, length), last];
    return this.#states[0];
  }

  #session(pass: Pass, { batch, time }: Hidden, { half, rows }: HalfBlock, states = true): Promise<Opened> {
    const { architecture, runtime } = this.engine;
    if (time > architecture.maxLength) {
      throw new RangeError(`Cannot run ${time} tokens: the model's longest sequence is ${architecture.maxLength}`);
    }
    const how = { pass, half, rows: rows !== undefined, states, ...(half === "attention" && { batch, time }) };
    const key = JSON.stringify(how);
    let opened = this.#sessions.get(key);
    if (!opened) {
      const { g, kept } = halfGraph(architecture, { ...how, batch, time });
      const lean = architecture.width >= WIDE;
      const open = async () => ({ session: await runtime.session(g.encode(), [], { lean }), inputs: g.inputs, kept });
      this.#sessions.set(key, opened = open());
    }
    return opened;
  }

  #give(key: string, data: Float32Array): void {
    const held = this.#free.get(key);
    if (held) held.push(data);
    else this.#free.set(key, [data]);
  }
}

/** Width from which products take so long that fresh memory costs little beside them, and kept memory is gigabytes. */
const WIDE = 2048;

/** The feed-forward half sees rows. */
const dimsOf = ({ width }: Architecture, { batch, time }: Hidden, half: Half) =>
  half === "attention" ? [batch, time, width] : [batch * time, width];

/** An array of that length, in the memory of another where that is large enough. */
function fitted(held: Float32Array | undefined, length: number): Float32Array {
  const { buffer } = held ?? {};
  return buffer && buffer.byteLength >= 4 * length ? new Float32Array(buffer, 0, length) : new Float32Array(length);
}

const isKnown = (dims: readonly Dimension[]): dims is readonly number[] => dims.every((d) => typeof d === "number");
const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
