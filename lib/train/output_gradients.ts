/** How much a loss feels the output of each linear of half a block, token by token: the squares of its gradient, and what goes on back through the half. */
import {
  type Architecture,
  attentionWeights,
  feedForwardWeights,
  type Half,
  type Linear,
  weightShape,
} from "../model/architecture.ts";
import { attend, feedForward, ropeTables } from "../model/block.ts";
import type { BlockTensors, Engine, Hidden } from "../model/engine.ts";
import { denseParts } from "../model/parts.ts";
import { gradients } from "../onnx/autodiff.ts";
import { Graph, type Value } from "../onnx/graph.ts";
import { mul, reduceSum, reshape } from "../onnx/ops.ts";
import type { Feed, Session } from "../runtime/runtime.ts";

export interface OutputSquares {
  /** With respect to the states that entered, `[batch, time, width]`. */
  readonly dX: Float32Array;
  /** Of each linear z = W x of the half: the mean of (dl/dz)² over each group of its rows, equal runs of them, `[tokens, groups]`. */
  readonly squares: Readonly<Record<Linear, Float32Array>>;
}

/** Gradients of the blocks of one architecture with respect to what their linears give; those of the weights are not taken. No experts. */
export class OutputGradients implements AsyncDisposable {
  readonly #sessions = new Map<string, Promise<Session>>();

  /** Throws `TypeError` for an architecture with experts, RangeError when the rows of a linear do not divide into `groups`. */
  constructor(readonly engine: Engine, readonly groups: number) {
    const a = engine.architecture;
    if (a.experts) {
      throw new TypeError("Cannot take gradients at the outputs of experts: which tokens they see is not known before");
    }
    if (!(Number.isInteger(groups) && groups > 0)) {
      throw new RangeError(`Cannot cut rows into ${groups} groups: wanted a positive integer`);
    }
    for (const half of ["attention", "feedForward"] as const) {
      const odd = weightsOf(a, half).find((name) => isLinear(a, name) && weightShape(a, name)[0] % groups !== 0);
      if (odd === undefined) continue;
      throw new RangeError(
        `Cannot cut the ${weightShape(a, odd)[0]} rows of ${odd} into ${groups} equal groups: choose a divisor`,
      );
    }
  }

  /** Goes back through a half from `dOut` `[batch, time, width]`, the gradient with respect to what left it when x entered. */
  async run(
    x: Hidden,
    { half, dOut, weights }: { readonly half: Half; readonly dOut: Float32Array; readonly weights: BlockTensors },
  ): Promise<OutputSquares> {
    const a = this.engine.architecture, dims = [x.batch, x.time, a.width];
    const feeds: Record<string, Feed> = { x: { dims, data: x.data }, dOut: { dims, data: dOut } };
    for (const name of weightsOf(a, half)) feeds[name] = { dims: weightShape(a, name), data: weights[name] };
    const { dX, ...squares } = await (await this.#session(half, x)).run(feeds);
    return {
      dX: dX.data,
      squares: Object.fromEntries(Object.entries(squares).map(([name, { data }]) => [name.slice(2), data])),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(async (s) => (await s)[Symbol.asyncDispose]()));
    this.#sessions.clear();
  }

  #session(half: Half, { batch, time }: Hidden): Promise<Session> {
    const key = `${half} ${batch} x ${time}`;
    let session = this.#sessions.get(key);
    if (!session) {
      const graph = graphOf(this.engine.architecture, { half, batch, time, groups: this.groups });
      this.#sessions.set(key, session = this.engine.runtime.session(graph));
    }
    return session;
  }
}

const weightsOf = (a: Architecture, half: Half) => half === "attention" ? attentionWeights(a) : feedForwardWeights(a);
const isLinear = (a: Architecture, name: string) => weightShape(a, name).length === 2;

function graphOf(
  a: Architecture,
  { half, batch, time, groups }: {
    readonly half: Half;
    readonly batch: number;
    readonly time: number;
    readonly groups: number;
  },
): Uint8Array {
  const g = new Graph();
  const x = g.input("x", "float32", [batch, time, a.width]), dOut = g.input("dOut", "float32", [batch, time, a.width]);
  const weights = new Map(weightsOf(a, half).map((name) => [name, g.input(name, "float32", weightShape(a, name))]));
  const plain = denseParts(g, (name) => weights.get(name)!), outputs = new Map<Linear, Value>();
  const parts = {
    ...plain,
    linear(name: Linear, input: Value) {
      const z = plain.linear(name, input);
      outputs.set(name, z);
      return z;
    },
  };
  const output = () => {
    if (half === "feedForward") return feedForward(g, a, x, parts);
    const tables = ropeTables(a, time), shape = [time, a.headSize / 2];
    return attend(g, a, x, parts, { cos: g.constant(tables.cos, shape), sin: g.constant(tables.sin, shape) });
  };
  const y = output();
  const [dX, ...dZ] = gradients(g, y, [x, ...outputs.values()], { dy: dOut });
  g.output("dX", dX);
  [...outputs.keys()].forEach((name, i) => {
    const size = weightShape(a, name)[0] / groups;
    const rows = reshape(g, dZ[i], [batch * time, groups, size]);
    const squares = reduceSum(g, mul(g, rows, rows), [2], { keep: false });
    g.output(`s.${name}`, mul(g, squares, g.scalar(1 / size)));
  });
  return g.encode();
}
