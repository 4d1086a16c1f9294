/**
 * The graphs of one architecture on one runtime. Weights enter as inputs, so that one session serves every block and quantised weights need no
 * rebuild. Built on first use and shared by a model and its quantised children.
 */
import type { Matrix } from "../tensor/matrix.ts";
import { type Architecture, block, type BlockWeight, ropeTables, stages, weightShape } from "./block.ts";
import { Graph, type Value } from "./graph.ts";
import { add, gather, matmul, mul, reshape, rmsNorm } from "./ops.ts";
import type { Feed, Runtime, Session } from "./runtime.ts";

/** The weights of one block: float32 arrays of the shapes of `weightShape`. */
export type BlockTensors = Readonly<Record<BlockWeight, Float32Array>>;

/** Hidden states of a batch: `[batch, time, width]` float32. */
export interface Hidden {
  readonly batch: number;
  readonly time: number;
  readonly data: Float32Array;
}

export class Engine implements AsyncDisposable {
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #tables: { readonly cos: Float32Array; readonly sin: Float32Array };

  constructor(readonly runtime: Runtime, readonly architecture: Architecture) {
    this.#tables = ropeTables(architecture, architecture.maxLength);
  }

  /** Rows of the embedding `[vocab, width]` at `tokens` (batch · time of them). */
  async embed(tokens: Int32Array, batch: number, table: Float32Array): Promise<Hidden> {
    const { vocabSize, width } = this.architecture;
    const session = await this.#session("embed", (g) => {
      const embedding = g.input("table", "float32", [vocabSize, width]);
      g.output("x", gather(g, embedding, g.input("tokens", "int64", ["n"])));
    });
    const { x } = await session.run({
      table: { dims: [vocabSize, width], data: table },
      tokens: { dims: [tokens.length], data: BigInt64Array.from(tokens, BigInt) },
    });
    return { batch, time: tokens.length / batch, data: x.data };
  }

  /** The output of a block. */
  async block(x: Hidden, w: BlockTensors): Promise<Hidden> {
    const session = await this.#session("block", (g) => g.output("y", this.#block(g)));
    const { y } = await session.run(this.#feeds(x, w));
    return { ...x, data: y.data };
  }

  /** The input of the linears of a stage (index into `stages`) in a block, `[batch · time, in]`. */
  async stageInput(stage: number, x: Hidden, w: BlockTensors): Promise<Float32Array> {
    const session = await this.#session(`input${stage}`, (g) => g.output("y", this.#block(g, stage)));
    return (await session.run(this.#feeds(x, w, stage))).y.data;
  }

  /** Adds `scale` · XᵀX to `H` `[in, in]` in place, X the inputs of a stage's linears. With `weights` `[batch · time]`, row i of X counts weights[i] times. */
  async addSecondMoment(
    stage: number,
    x: Hidden,
    w: BlockTensors,
    H: Matrix,
    scale: number,
    weights?: Float32Array,
  ): Promise<void> {
    const session = await this.#session(`moment${stage}${weights ? "w" : ""}`, (g) => {
      const X = reshape(g, this.#block(g, stage), ["n", H.cols]);
      const before = g.input("H", "float32", [H.rows, H.cols]);
      const scaled = mul(g, X, weights ? g.input("weights", "float32", ["n", 1]) : g.input("scale", "float32", []));
      g.output("sum", add(g, before, matmul(g, scaled, X, { transA: true })));
    });
    const feeds: Record<string, Feed> = { ...this.#feeds(x, w, stage), H: { dims: H.shape, data: H.data } };
    if (weights) feeds.weights = { dims: [weights.length, 1], data: weights.map((v) => v * scale) };
    else feeds.scale = { dims: [], data: Float32Array.of(scale) };
    const { sum } = await session.run(feeds);
    H.data.set(sum.data);
  }

  /** Logits `[rows, vocab]` of the hidden states at flat positions `rows` (all by default). */
  async head(
    x: Hidden,
    norm: Float32Array,
    head: Float32Array,
    rows?: Int32Array,
  ): Promise<{ shape: readonly [number, number]; data: Float32Array }> {
    const { width, vocabSize, epsilon } = this.architecture;
    const session = await this.#session("head", (g) => {
      const states = g.input("x", "float32", ["m", width]);
      const normed = rmsNorm(g, states, g.input("norm", "float32", [width]), epsilon);
      g.output("logits", matmul(g, normed, g.input("head", "float32", [vocabSize, width]), { transB: true }));
    });
    const states = rows ? takeRows(x.data, rows, width) : x.data;
    const count = states.length / width;
    const { logits } = await session.run({
      x: { dims: [count, width], data: states },
      norm: { dims: [width], data: norm },
      head: { dims: [vocabSize, width], data: head },
    });
    return { shape: [count, vocabSize], data: logits.data };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(async (s) => (await s)[Symbol.asyncDispose]()));
    this.#sessions.clear();
  }

  #session(name: string, build: (g: Graph) => void): Promise<Session> {
    let session = this.#sessions.get(name);
    if (!session) {
      const g = new Graph();
      build(g);
      this.#sessions.set(name, session = this.runtime.session(g.encode()));
    }
    return session;
  }

  #block(g: Graph, until?: number): Value {
    const a = this.architecture;
    const x = g.input("x", "float32", ["batch", "time", a.width]);
    const w = Object.fromEntries(usedBy(until).map((name) => [name, g.input(name, "float32", weightShape(a, name))]));
    const shape = ["time", a.headSize / 2];
    const tables = until === 0 ? { cos: x, sin: x } : {
      cos: g.input("cos", "float32", shape),
      sin: g.input("sin", "float32", shape),
    };
    // On webgpu the fused attention is wrong under software Vulkan (errors of 0.02 on inputs of size 0.5), so it is not used there.
    return block(g, a, x, w as Record<BlockWeight, Value>, tables, { until, fused: this.runtime.device !== "webgpu" });
  }

  #feeds(x: Hidden, w: BlockTensors, until?: number): Record<string, Feed> {
    const a = this.architecture;
    if (x.time > a.maxLength) {
      throw new RangeError(`Cannot run ${x.time} tokens: max_sequence_length is ${a.maxLength}`);
    }
    const feeds: Record<string, Feed> = { x: { dims: [x.batch, x.time, a.width], data: x.data } };
    for (const name of usedBy(until)) feeds[name] = { dims: weightShape(a, name), data: w[name] };
    if (until !== 0) {
      const half = a.headSize / 2;
      feeds.cos = { dims: [x.time, half], data: this.#tables.cos.subarray(0, x.time * half) };
      feeds.sin = { dims: [x.time, half], data: this.#tables.sin.subarray(0, x.time * half) };
    }
    return feeds;
  }
}

/** The block weights that the graph up to the input of a stage reads: a session refuses feeds that its graph does not declare. */
function usedBy(until = stages.length): readonly BlockWeight[] {
  const norms: BlockWeight[] = until < 2 ? ["attnNorm"] : ["attnNorm", "ffNorm"];
  return [...norms, ...stages.slice(0, until).flat()];
}

function takeRows(x: Float32Array, rows: Int32Array, width: number): Float32Array {
  const out = new Float32Array(rows.length * width);
  rows.forEach((row, i) => out.set(x.subarray(row * width, (row + 1) * width), i * width));
  return out;
}
