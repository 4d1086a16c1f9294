/** A model whose attention mixes rounded values: the arithmetic of a value cache of few bits, simulated in float32. */
import { Graph, type Value } from "../onnx/graph.ts";
import { attentionShares, reduceSum, repeatHeads, toGrid } from "../onnx/ops.ts";
import type { Feed, Session } from "../runtime/runtime.ts";
import { attentionWeights, type BlockWeight, blockWeights, weightShape } from "./architecture.ts";
import { attend, block } from "./block.ts";
import type { BlockTensors, Engine } from "./engine.ts";
import { DenseForward } from "./forward.ts";
import type { Hidden, Window, Windowed } from "./hidden.ts";
import { inputParts } from "./parts.ts";
import { rotation, windowBlock, windowFeeds } from "./window.ts";
import type { Weights } from "./weights.ts";

/** The grids of a block's values, for each of its features `[kvHeads · headSize]`: s (q - z) with q from 0 to 2^bits - 1. */
export interface ValueGrids {
  readonly bits: number;
  readonly scales: Float32Array;
  /** Integers. */
  readonly zeros: Float32Array;
}

/** Runs from float32 weights, values rounded to the grids of their block; what is kept of a sequence is rounded too. */
export class RoundedValues extends DenseForward {
  readonly #sessions = new Map<string, Promise<Session>>();

  /** One entry of `grids` for each block. */
  constructor(engine: Engine, weights: Weights, readonly grids: readonly ValueGrids[]) {
    super(engine, weights);
  }

  override async block(layer: number, x: Hidden): Promise<Hidden> {
    const { engine } = this, a = engine.architecture, { bits } = this.grids[layer];
    const session = await this.#session(`block ${bits}`, (g) => {
      const states = g.input("x", "float32", ["batch", "time", a.width]);
      g.output("y", block(g, a, states, inputParts(g, a), rotation(g, a), this.#options(g, bits)));
    });
    const states = { dims: [x.batch, x.time, a.width], data: x.data };
    const { y } = await session.run({ x: states, ...engine.rotations.feeds(0, x.time), ...await this.#feeds(layer) });
    return { ...x, data: y.data };
  }

  override async window(layer: number, x: Hidden, { from, past }: Window): Promise<Windowed> {
    const { engine } = this, a = engine.architecture, { bits } = this.grids[layer];
    const session = await this.#session(`window ${bits}`, (g) => {
      const states = g.input("x", "float32", [1, "time", a.width]);
      g.output("y", windowBlock(g, a, states, inputParts(g, a), rotation(g, a), this.#options(g, bits)));
    });
    const feeds = windowFeeds(a, x, { from, past }, engine.rotations);
    const { y, ownK, ownV } = await session.run({ ...feeds, ...await this.#feeds(layer) });
    return { x: { ...x, data: y.data }, k: ownK.data, v: ownV.data };
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.#sessions.values()) await (await session)[Symbol.asyncDispose]();
    this.#sessions.clear();
  }

  #options(g: Graph, bits: number) {
    const { kvHeads, headSize } = this.engine.architecture;
    const vector = (name: string) => g.input(name, "float32", [kvHeads * headSize]);
    const grid = { scale: vector("valueScales"), zero: vector("valueZeros"), top: 2 ** bits - 1 };
    // The fused attention is not used on webgpu: see `Engine`.
    return { fused: this.engine.runtime.device !== "webgpu", values: (v: Value) => toGrid(g, v, grid) };
  }

  async #feeds(layer: number): Promise<Record<string, Feed>> {
    const { scales, zeros } = this.grids[layer], a = this.engine.architecture;
    const feeds = blockFeeds(this.engine, await this.weights.block(layer), blockWeights(a));
    return { ...feeds, valueScales: vectorFeed(scales), valueZeros: vectorFeed(zeros) };
  }

  #session(name: string, build: (g: Graph) => void): Promise<Session> {
    const session = this.#sessions.get(name) ?? open(this.engine, build);
    this.#sessions.set(name, session);
    return session;
  }
}

/** The values of tokens, and how much attention they get. */
export interface SeenValues {
  /** `[tokens, kvHeads · headSize]`. */
  readonly v: Float32Array;
  /** What each token gets from all of its sequence, by head: column sums of the softmax `[batch, heads, time]`. */
  readonly seen: Float32Array;
}

/** A graph of what `SeenValues` holds, over the weights of a block. */
export async function valueProbe(
  engine: Engine,
): Promise<AsyncDisposable & { run(x: Hidden, w: BlockTensors): Promise<SeenValues> }> {
  const a = engine.architecture, used = attentionWeights(a).filter((name) => name !== "o");
  const session = await open(engine, (g) => {
    const x = g.input("x", "float32", ["batch", "time", a.width]);
    attend(g, a, x, inputParts(g, a), rotation(g, a), {
      until: "out",
      keep({ q, k, v }) {
        g.output("ownV", v);
        const shares = attentionShares(g, q, repeatHeads(g, k, a.kvHeads, a.heads, a.headSize), a.heads);
        g.output("seen", reduceSum(g, shares, [2], { keep: false }));
      },
    });
  });
  return {
    async run(x, w) {
      const states = { dims: [x.batch, x.time, a.width], data: x.data };
      const turns = engine.rotations.feeds(0, x.time);
      const { ownV, seen } = await session.run({ x: states, ...turns, ...blockFeeds(engine, w, used) });
      return { v: ownV.data, seen: seen.data };
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

function open({ runtime }: Engine, build: (g: Graph) => void): Promise<Session> {
  const g = new Graph();
  build(g);
  return runtime.session(g.encode());
}

function blockFeeds({ architecture }: Engine, w: BlockTensors, names: readonly BlockWeight[]): Record<string, Feed> {
  return Object.fromEntries(names.map((name) => [name, { dims: weightShape(architecture, name), data: w[name] }]));
}

const vectorFeed = (data: Float32Array): Feed => ({ dims: [data.length], data });
