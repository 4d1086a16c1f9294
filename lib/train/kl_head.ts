/** Where a student's gradient begins: the divergence of its predictions from a teacher's, by chunks of rows, so that logits are never all there. */
import type { Engine, Hidden } from "../model/engine.ts";
import type { RawLogits } from "../model/forward.ts";
import { gradients } from "../onnx/autodiff.ts";
import { Graph } from "../onnx/graph.ts";
import { logSoftmax, matmul, mul, reduceSum, rmsNorm, softmax, sub } from "../onnx/ops.ts";
import type { Session } from "../runtime/runtime.ts";

export interface KlInputs {
  /** The rows of the states that are compared, flat. Those behind the masked positions: `Model.rowsBehind`. */
  readonly rows: Int32Array;
  /** How much each row counts, `[rows]`. */
  readonly weights: Float32Array;
  /** Logits of the teacher at rows of its own states, `[rows, vocab]`. */
  readonly teacher: (rows: Int32Array) => Promise<RawLogits>;
  /** The student's final norm `[width]` and head `[vocab, width]`. */
  readonly norm: Float32Array;
  readonly head: Float32Array;
}

export interface KlGradient {
  /** Σ weight · KL(teacher || student), in nats. */
  readonly kl: number;
  /** With respect to the student's states, `[batch, time, width]`; zero outside `rows`. */
  readonly dX: Float32Array;
  /** With respect to its final norm. */
  readonly dNorm: Float32Array;
}

/** Logits of a chunk take at most so many numbers. */
const CHUNK = 2 ** 23;

export class KlHead implements AsyncDisposable {
  #session?: Promise<Session>;

  constructor(readonly engine: Engine) {}

  /** The divergence at `rows` of the student's last states x, and its gradient. `chunk` rows have their logits at once; by default what 32 MiB hold. */
  async run(
    x: Hidden,
    { rows, weights, teacher, norm, head }: KlInputs,
    { chunk }: { readonly chunk?: number } = {},
  ): Promise<KlGradient> {
    const { width, vocabSize } = this.engine.architecture;
    const size = chunk ?? Math.max(1, Math.floor(CHUNK / vocabSize));
    this.#session ??= this.engine.runtime.session(this.#graph());
    const session = await this.#session;
    const dX = new Float32Array(x.data.length), dNorm = new Float32Array(width);
    let kl = 0;
    for (let from = 0; from < rows.length; from += size) {
      const own = rows.subarray(from, from + size), n = own.length;
      const states = new Float32Array(n * width);
      own.forEach((row, i) => states.set(x.data.subarray(row * width, (row + 1) * width), i * width));
      const wanted = await teacher(own);
      const out = await session.run({
        x: { dims: [n, width], data: states },
        teacher: { dims: [n, vocabSize], data: wanted.data },
        weights: { dims: [n, 1], data: weights.subarray(from, from + n) },
        norm: { dims: [width], data: norm },
        head: { dims: [vocabSize, width], data: head },
      });
      for (const value of out.kl.data) kl += value;
      own.forEach((row, i) => add(dX.subarray(row * width, (row + 1) * width), out.dX.data.subarray(i * width)));
      add(dNorm, out.dNorm.data);
    }
    return { kl, dX, dNorm };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#session)?.[Symbol.asyncDispose]();
    this.#session = undefined;
  }

  /** KL = Σ p (log p - log q), and its gradient in the student's logits, q - p. */
  #graph(): Uint8Array {
    const { width, vocabSize, epsilon } = this.engine.architecture;
    const g = new Graph();
    const x = g.input("x", "float32", ["n", width]), norm = g.input("norm", "float32", [width]);
    const head = g.input("head", "float32", [vocabSize, width]);
    const teacher = g.input("teacher", "float32", ["n", vocabSize]), weights = g.input("weights", "float32", ["n", 1]);
    const logits = matmul(g, rmsNorm(g, x, norm, epsilon), head, { transB: true });
    const p = softmax(g, teacher);
    const gap = sub(g, logSoftmax(g, teacher), logSoftmax(g, logits));
    g.output("kl", mul(g, reduceSum(g, mul(g, p, gap), [1]), weights));
    const dLogits = mul(g, sub(g, softmax(g, logits), p), weights);
    const [dX, dNorm] = gradients(g, logits, [x, norm], { dy: dLogits });
    g.output("dX", dX);
    g.output("dNorm", dNorm);
    return g.encode();
  }
}

function add(sum: Float32Array, part: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += part[i];
}
