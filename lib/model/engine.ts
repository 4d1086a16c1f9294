/** The arithmetic of a model: graphs of its block, of halves and stages of it, and of the head. */
import type { Matrix } from "../tensor/matrix.ts";
import {
  type Architecture,
  attentionWeights,
  type BlockWeight,
  blockWeights,
  feedForwardWeights,
  type Half,
  inputWidth,
  type StageName,
  weightShape,
} from "./architecture.ts";
import { attend, block, feedForward } from "./block.ts";
import type { Hidden, Window, Windowed } from "./hidden.ts";
import { denseParts, inputParts, swiGlu } from "./parts.ts";
import { rotation, Rotations, windowBlock, windowFeeds } from "./window.ts";
import { Graph, type Value } from "../onnx/graph.ts";
import { routing } from "./mixture.ts";
import { matmul, mul, rmsNorm } from "../onnx/ops.ts";
import { addPanel, PANEL } from "./panel.ts";
import type { Feed, Runtime, Session } from "../runtime/runtime.ts";

/** The weights of one block: float32 arrays of the shapes of `weightShape`. */
export type BlockTensors = Readonly<Record<BlockWeight, Float32Array>>;

export type { Hidden };

/** A graph over the weights of a block: all of it, a half, or the way to the input of a stage. */
type GraphPart = "block" | Half | StageName;

/** Memory for the answer. */
interface Into {
  readonly into?: Float32Array;
}

/**
 * The graphs of one architecture on one runtime. Weights enter as inputs, so that one session serves every block and quantised weights need no
 * rebuild. Built on first use and shared by a model and its quantised children.
 *
 * @example
 * ```ts
 * import { openCheckpoint, openRuntime } from "quant-dllm";
 * import { Engine } from "quant-dllm/testbed";
 *
 * const { architecture, weights } = await openCheckpoint("data/nano-llada");
 * await using runtime = await openRuntime();
 * await using engine = new Engine(runtime, architecture);
 * const x = { batch: 1, time: 8, data: new Float32Array(8 * architecture.width).fill(0.1) };
 * const { data } = await engine.block(x, await weights.block(0)); // the output of block 0, of any weights
 * ```
 */
export class Engine implements AsyncDisposable {
  readonly #sessions = new Map<string, Promise<Session>>();
  /** Memory for panels of second moments, used again and again. */
  #panel = new Float32Array(0);
  readonly rotations: Rotations;

  constructor(readonly runtime: Runtime, readonly architecture: Architecture) {
    this.rotations = new Rotations(architecture);
  }

  /** The output of a block. */
  block(x: Hidden, w: BlockTensors): Promise<Hidden> {
    return this.#run("block", x, w);
  }

  /** The output of a block for a part of one sequence, and its keys and values. */
  async window(x: Hidden, w: BlockTensors, { from, past }: Window): Promise<Windowed> {
    const a = this.architecture;
    const session = await this.#session("window", (g) => {
      const states = g.input("x", "float32", [1, "time", a.width]);
      g.output("y", windowBlock(g, a, states, inputParts(g, a), rotation(g, a), { fused: this.#fused }));
    });
    const feeds: Record<string, Feed> = windowFeeds(a, x, { from, past }, this.rotations);
    for (const name of blockWeights(a)) feeds[name] = { dims: weightShape(a, name), data: w[name] };
    const { y, ownK, ownV } = await session.run(feeds);
    return { x: { ...x, data: y.data }, k: ownK.data, v: ownV.data };
  }

  /**
   * The attention half of a block: the states between attention and feed-forward network; in `into` when it is given. With `rows`, flat, only those: what
   * they give is a batch of single tokens, which may go through the other half.
   */
  async attend(
    x: Hidden,
    w: BlockTensors,
    { into, rows }: Into & { readonly rows?: Int32Array } = {},
  ): Promise<Hidden> {
    if (!rows) return await this.#run("attention", x, w, into);
    const { data } = await this.#run("attention", x, w, into, rows);
    return { batch: rows.length, time: 1, data };
  }

  /** The feed-forward half of a block, of what `attend` gave; in `into` when it is given. */
  feedForward(x: Hidden, w: BlockTensors, { into }: Into = {}): Promise<Hidden> {
    return this.#run("feedForward", x, w, into);
  }

  /**
   * The input `[batch · time, in]` of the linears of a stage. x enters the block for the stages of its attention half; it is what `attend` gave for
   * those of the other. With experts, "gateUp" gives what the router sees; see `route` and `expertInput`. It is at the start of `into` when that is
   * given: fresh memory for a wide input takes longer than the products behind it.
   */
  async stageInput(
    x: Hidden,
    w: BlockTensors,
    { stage, into }: { readonly stage: StageName } & Into,
  ): Promise<Float32Array> {
    const count = x.batch * x.time * inputWidth(this.architecture, stage);
    return (await this.#run(stage, x, w, into?.subarray(0, count))).data;
  }

  /** Routing weights `[n, experts]` of X `[n, width]`, the inputs of the stage "gateUp": zero where a token does not go. */
  async route(X: Float32Array, w: BlockTensors): Promise<Float32Array> {
    const a = this.architecture;
    const session = await this.#session("route", (g) => {
      const router = g.input("router", "float32", weightShape(a, "router"));
      g.output("R", routing(g, a, g.input("X", "float32", ["n", a.width]), router));
    });
    const feeds = { X: this.#matrix(X, a.width), router: { dims: weightShape(a, "router"), data: w.router } };
    return (await session.run(feeds)).R.data;
  }

  /** The input `[n, hidden]` of the down projection of an expert for X `[n, width]`. */
  async expertInput(X: Float32Array, w: BlockTensors, { expert }: { readonly expert: number }): Promise<Float32Array> {
    const a = this.architecture;
    const session = await this.#session("expert", (g) => {
      const parts = denseParts(g, (name) => g.input(name, "float32", weightShape(a, name)));
      g.output("y", swiGlu(g, g.input("X", "float32", ["n", a.width]), parts));
    });
    const feeds: Record<string, Feed> = { X: this.#matrix(X, a.width) };
    for (const name of ["gate", "up"]) {
      feeds[name] = { dims: weightShape(a, name), data: w[`experts.${expert}.${name}`] };
    }
    return (await session.run(feeds)).y.data;
  }

  /** Adds `scale` · XᵀX to the symmetric `H` `[in, in]` in place, X `[n, in]`. With `weights` `[n]`, row i of X counts weights[i] times. */
  async addSecondMoment(
    X: Float32Array,
    H: Matrix,
    { scale, weights }: { readonly scale: number; readonly weights?: Float32Array },
  ): Promise<void> {
    const n = H.cols;
    const session = await this.#session(`moment ${n}${weights ? " weighted" : ""}`, (g) => {
      const all = g.input("X", "float32", ["n", n]);
      const from = g.input("from", "int64", [1]), to = g.input("to", "int64", [1]);
      const panel = g.append("Slice", [all, from, to, g.ints(1)], [{ shape: ["n", "panel"] }])[0];
      const before = g.append("Slice", [all, g.ints(0), to, g.ints(1)], [{ shape: ["n", "to"] }])[0];
      const factor = weights ? g.input("weights", "float32", ["n", 1]) : g.input("scale", "float32", []);
      g.output("sum", matmul(g, mul(g, panel, factor), before, { transA: true }));
    });
    const feeds: Record<string, Feed> = { X: this.#matrix(X, n) };
    if (weights) feeds.weights = { dims: [weights.length, 1], data: weights.map((v) => v * scale) };
    else feeds.scale = { dims: [], data: Float32Array.of(scale) };
    // Taken away while it is in use: whoever comes at the same time gets memory of its own.
    const size = Math.min(PANEL, n) * n;
    const panel = this.#panel.length < size ? new Float32Array(size) : this.#panel;
    this.#panel = new Float32Array(0);
    for (let start = 0; start < n; start += PANEL) {
      const end = Math.min(start + PANEL, n);
      const sum = panel.subarray(0, (end - start) * end);
      const into = { sum: { dims: [end - start, end], data: sum } };
      await session.run({ ...feeds, from: index(start), to: index(end) }, into);
      addPanel(H, sum, { start, end });
    }
    this.#panel = panel;
  }

  /** Logits `[rows, vocab]` of the hidden states at flat positions `rows` (all by default); the head comes in chunks of its rows. */
  async head(
    x: Hidden,
    { norm, head, rows }: {
      readonly norm: Float32Array;
      readonly head: AsyncIterable<Float32Array> | Iterable<Float32Array>;
      readonly rows?: Int32Array;
    },
  ): Promise<{ shape: readonly [number, number]; data: Float32Array }> {
    const { width, vocabSize, epsilon } = this.architecture;
    const session = await this.#session("head", (g) => {
      const states = g.input("x", "float32", ["m", width]);
      const normed = rmsNorm(g, states, g.input("norm", "float32", [width]), epsilon);
      g.output("logits", matmul(g, normed, g.input("head", "float32", ["rows", width]), { transB: true }));
    });
    const feeds = {
      x: this.#matrix(rows ? takeRows(x.data, rows, width) : x.data, width),
      norm: { dims: [width], data: norm },
    };
    const count = feeds.x.dims[0];
    let all: Float32Array | undefined;
    let at = 0;
    for await (const chunk of head) {
      const { logits } = await session.run({ ...feeds, head: this.#matrix(chunk, width) });
      const columns = chunk.length / width;
      if (columns === vocabSize) return { shape: [count, vocabSize], data: logits.data };
      all ??= new Float32Array(count * vocabSize);
      for (let i = 0; i < count; i++) {
        all.set(logits.data.subarray(i * columns, (i + 1) * columns), i * vocabSize + at);
      }
      at += columns;
    }
    return { shape: [count, vocabSize], data: all! };
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

  /** Runs a graph from the states x; its session refuses feeds that it does not declare. */
  async #run(part: GraphPart, x: Hidden, w: BlockTensors, into?: Float32Array, rows?: Int32Array): Promise<Hidden> {
    const a = this.architecture;
    const turn = this.rotations.feeds(0, x.time);
    const used = weightsOf(a, part);
    const turns = used.includes("q");
    const session = await this.#session(rows ? `${part} of rows` : part, (g) => {
      const chosen = rows && g.input("rows", "int64", ["n"]);
      g.output("y", this.#part(g, part, turns, chosen));
    });
    const feeds: Record<string, Feed> = { x: { dims: [x.batch, x.time, a.width], data: x.data } };
    for (const name of used) feeds[name] = { dims: weightShape(a, name), data: w[name] };
    if (turns) Object.assign(feeds, turn);
    if (rows) feeds.rows = { dims: [rows.length], data: BigInt64Array.from(rows, BigInt) };
    const count = rows?.length ?? x.batch * x.time;
    const dims = into && [...(rows ? [count] : [x.batch, x.time]), into.length / count];
    const { y } = await session.run(feeds, into && { y: { dims: dims!, data: into } });
    return { batch: x.batch, time: x.time, data: into ?? y.data };
  }

  #part(g: Graph, part: GraphPart, turns: boolean, rows?: Value): Value {
    const a = this.architecture;
    const x = g.input("x", "float32", ["batch", "time", a.width]);
    const parts = inputParts(g, a), turn = turns ? rotation(g, a) : { cos: x, sin: x }, fused = this.#fused;
    switch (part) {
      case "block":
        return block(g, a, x, parts, turn, { fused });
      case "attention":
        return attend(g, a, x, parts, turn, { fused, rows });
      case "feedForward":
        return feedForward(g, a, x, parts);
      case "qkv":
      case "out":
        return attend(g, a, x, parts, turn, { until: part, fused });
      default:
        return feedForward(g, a, x, parts, { until: part });
    }
  }

  /** On webgpu the fused attention is wrong under software Vulkan (errors of 0.02 on inputs of size 0.5), so it is not used there. */
  get #fused(): boolean {
    return this.runtime.device !== "webgpu";
  }

  #matrix(data: Float32Array, columns: number): Feed {
    return { dims: [data.length / columns, columns], data };
  }
}

/** The block weights that a graph reads; those of a stage end at its input. */
function weightsOf(a: Architecture, part: GraphPart): readonly BlockWeight[] {
  switch (part) {
    case "block":
      return blockWeights(a);
    case "attention":
      return attentionWeights(a);
    case "feedForward":
      return feedForwardWeights(a);
    case "qkv":
      return ["attnNorm"];
    case "out":
      return attentionWeights(a).filter((name) => name !== "o");
    case "gateUp":
      return ["ffNorm"];
    case "down":
      return ["ffNorm", "gate", "up"];
  }
}

function index(value: number): Feed {
  return { dims: [1], data: BigInt64Array.of(BigInt(value)) };
}

function takeRows(x: Float32Array, rows: Int32Array, width: number): Float32Array {
  const out = new Float32Array(rows.length * width);
  rows.forEach((row, i) => out.set(x.subarray(row * width, (row + 1) * width), i * width));
  return out;
}
