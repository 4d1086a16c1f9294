/** The gradient of half a block: what comes back through it, and what its weights get. The half is the one that inference runs, computed again from its input. */
import {
  type Architecture,
  attentionWeights,
  type BlockWeight,
  feedForwardWeights,
  type Half,
  weightShape,
} from "../model/architecture.ts";
import { attend, feedForward, ropeTables } from "../model/block.ts";
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import { denseParts } from "../model/parts.ts";
import { gradients } from "../onnx/autodiff.ts";
import { Graph } from "../onnx/graph.ts";
import type { Feed, Session } from "../runtime/runtime.ts";

/** What half a block gives back. */
export interface HalfGradients {
  /** With respect to the states that entered, `[batch, time, width]`; holds until the next call. */
  readonly dX: Float32Array;
  /** With respect to each weight of the half, of the shapes of `weightShape`; holds until the next call for the same half. */
  readonly weights: BlockTensors;
}

/** Gradients of the blocks of one architecture. Weights enter as inputs: one session serves a half of every block, for states of a shape `[batch, time]`. */
export class BlockVjp implements AsyncDisposable {
  readonly #sessions = new Map<string, Promise<Session>>();
  /** Outputs, used again and again. */
  readonly #weights: Record<BlockWeight, Float32Array> = {};
  /** Two of them, since one holds what came back through the half above, which enters here. */
  #states: [Float32Array, Float32Array] = [new Float32Array(0), new Float32Array(0)];

  constructor(readonly engine: Engine) {}

  /** The product of `dOut` `[batch, time, width]`, the gradient with respect to what left the half, with the Jacobian of the half at x with the block's `weights`. */
  async run(
    x: Hidden,
    { half, dOut, weights }: { readonly half: Half; readonly dOut: Float32Array; readonly weights: BlockTensors },
  ): Promise<HalfGradients> {
    const a = this.engine.architecture;
    const dims = [x.batch, x.time, a.width];
    if (dOut.length !== x.data.length) {
      throw new TypeError(
        `Cannot go back through half a block: the gradient has ${dOut.length} numbers, its output ${x.data.length}`,
      );
    }
    if (x.time > a.maxLength) {
      throw new RangeError(`Cannot run ${x.time} tokens: the model's longest sequence is ${a.maxLength}`);
    }
    const session = await this.#session(half, x);
    const feeds: Record<string, Feed> = { x: { dims, data: x.data }, dOut: { dims, data: dOut } };
    const into: Record<string, Feed> = { dX: { dims, data: this.#nextStates(x.data.length) } };
    const gradients: Record<BlockWeight, Float32Array> = {};
    for (const name of weightsOf(a, half)) {
      const shape = weightShape(a, name);
      feeds[name] = { dims: shape, data: weights[name] };
      gradients[name] = this.#weights[name] ??= new Float32Array(weights[name].length);
      into[`d.${name}`] = { dims: shape, data: gradients[name] };
    }
    await session.run(feeds, into);
    return { dX: into.dX.data as Float32Array, weights: gradients };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(async (s) => (await s)[Symbol.asyncDispose]()));
    this.#sessions.clear();
  }

  /** The other one of the two arrays for dX. */
  #nextStates(length: number): Float32Array {
    const [last, other] = this.#states;
    this.#states = [other.length === length ? other : new Float32Array(length), last];
    return this.#states[0];
  }

  #session(half: Half, { batch, time }: Hidden): Promise<Session> {
    const key = `${half} ${batch} x ${time}`;
    let session = this.#sessions.get(key);
    if (!session) {
      const graph = graphOf(this.engine.architecture, { half, batch, time });
      this.#sessions.set(key, session = this.engine.runtime.session(graph));
    }
    return session;
  }
}

const weightsOf = (a: Architecture, half: Half) => half === "attention" ? attentionWeights(a) : feedForwardWeights(a);

function graphOf(
  a: Architecture,
  { half, batch, time }: { readonly half: Half; readonly batch: number; readonly time: number },
): Uint8Array {
  const g = new Graph();
  const x = g.input("x", "float32", [batch, time, a.width]);
  const dOut = g.input("dOut", "float32", [batch, time, a.width]);
  const names = weightsOf(a, half);
  const weights = new Map(names.map((name) => [name, g.input(name, "float32", weightShape(a, name))]));
  const parts = denseParts(g, (name) => weights.get(name)!);
  const output = () => {
    if (half === "feedForward") return feedForward(g, a, x, parts);
    const tables = ropeTables(a, time), shape = [time, a.headSize / 2];
    return attend(g, a, x, parts, { cos: g.constant(tables.cos, shape), sin: g.constant(tables.sin, shape) });
  };
  const [dX, ...rest] = gradients(g, output(), [x, ...weights.values()], { dy: dOut });
  g.output("dX", dX);
  names.forEach((name, i) => g.output(`d.${name}`, rest[i]));
  return g.encode();
}
