/** The head from its stored codes: final norm and logits, in sessions of some rows of the vocabulary each, so that few bytes are in memory twice. */
import type { QuantizedLinear } from "../quant/method.ts";
import { rowsOf } from "../quant/forms/rows_of.ts";
import type { Architecture } from "../model/architecture.ts";
import type { Hidden } from "../model/engine.ts";
import type { RawLogits } from "../model/forward.ts";
import { Graph } from "../onnx/graph.ts";
import { gather, rmsNorm } from "../onnx/ops.ts";
import { ownArrays, packedLinear, packLinear, type PackLinearOptions } from "./linear.ts";
import type { Session } from "../runtime/runtime.ts";
import type { SessionOpener } from "../runtime/session_host.ts";

/** Rows of the vocabulary per session. */
const ROWS = 32768;

export class PackedHead implements AsyncDisposable {
  private constructor(readonly architecture: Architecture, readonly sessions: readonly Session[]) {}

  /** Sessions go to `openers` in turn. `q` is the head `[vocab, width]` in any stored form. */
  static async open(
    openers: readonly SessionOpener[],
    a: Architecture,
    finalNorm: Float32Array,
    q: QuantizedLinear,
    { rowsPerSession = ROWS, ...options }: PackLinearOptions & { readonly rowsPerSession?: number } = {},
  ): Promise<PackedHead> {
    const sessions: Session[] = [];
    for (let from = 0; from < a.vocabSize; from += rowsPerSession) {
      const rows = rowsOf(q, { from, to: Math.min(from + rowsPerSession, a.vocabSize) });
      const opener = openers[sessions.length % openers.length];
      const packed = packLinear(rows, options);
      const g = new Graph();
      const x = g.input("x", "float32", ["n", a.width]);
      const chosen = gather(g, x, g.input("rows", "int64", ["m"]));
      const normed = rmsNorm(g, chosen, g.weight(finalNorm.slice(), [a.width]), a.epsilon);
      g.output("logits", packedLinear(g, normed, opener.takesArrays ? ownArrays(packed) : packed));
      sessions.push(await opener.session(g.encode(), g.external));
    }
    return new PackedHead(a, sessions);
  }

  /** Logits at flat positions `rows` (all by default). */
  async logits(x: Hidden, rows?: Int32Array): Promise<RawLogits> {
    const { width, vocabSize } = this.architecture;
    const tokens = x.batch * x.time, count = rows?.length ?? tokens;
    const feeds = {
      x: { dims: [tokens, width], data: x.data },
      rows: { dims: [count], data: BigInt64Array.from(rows ?? Array(tokens).keys(), BigInt) },
    };
    if (this.sessions.length === 1) {
      return { shape: [count, vocabSize], data: (await this.sessions[0].run(feeds)).logits.data };
    }
    const all = new Float32Array(count * vocabSize);
    let at = 0;
    for (const session of this.sessions) {
      const { logits: { data: part, dims: [, columns] } } = await session.run(feeds);
      for (let i = 0; i < count; i++) all.set(part.subarray(i * columns, (i + 1) * columns), i * vocabSize + at);
      at += columns;
    }
    return { shape: [count, vocabSize], data: all };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const session of this.sessions) await session[Symbol.asyncDispose]();
  }
}
