/** The forward pass of every family in float64 plain loops, written from its formulas: the second opinion on graphs, gradients and second moments. */
import type { Architecture, BlockWeight } from "../../lib/model/architecture.ts";

type Numbers = ArrayLike<number>;

/** Weights as the library orders them, of any float type. */
export interface ReferenceWeights {
  readonly embed: Numbers;
  readonly finalNorm: Numbers;
  readonly head: Numbers;
  readonly blocks: readonly Readonly<Record<BlockWeight, Numbers>>[];
}

export interface ReferencePass {
  /** `[vocab]` per position. */
  readonly logits: Float64Array[];
  /** The states that enter block l, and after the last one those that leave it: `states[l][position]` `[width]`. */
  readonly states: Float64Array[][];
  /** The inputs of the linears of block l at each of its four stages: `inputs[l][stage][position]`. */
  readonly inputs: Float64Array[][][];
  /** What attention each position gets of each head of block l, from all positions: `seen[l][head][position]`. */
  readonly seen: Float64Array[][];
  /** Its values, before `values` changes them: `values[l][position]`. */
  readonly values: Float64Array[][];
}

/** A change of one number that a linear of a dense block gives, at one position. */
export interface Bump {
  readonly layer: number;
  readonly linear: string;
  readonly position: number;
  readonly row: number;
  readonly by: number;
}

/** One sequence through the model; `change` is what becomes of a row of values before it is attended to. */
export function referencePass(
  a: Architecture,
  w: ReferenceWeights,
  tokens: Numbers,
  bump?: Bump,
  change: (layer: number, v: Float64Array) => Float64Array = (_, v) => v,
): ReferencePass {
  const { width, headSize, epsilon } = a;
  let x: Float64Array[] = Array.from(
    tokens,
    (t) => Float64Array.from({ length: width }, (_, j) => w.embed[t * width + j]),
  );
  const states = [x];
  const inputs: Float64Array[][][] = [], seen: Float64Array[][] = [], values: Float64Array[][] = [];
  for (const [layer, b] of w.blocks.entries()) {
    const linear = (name: string, row: Float64Array, p: number) => {
      const z = apply(b[name], row);
      if (bump && bump.layer === layer && bump.linear === name && bump.position === p) z[bump.row] += bump.by;
      return z;
    };
    const h = x.map((row) => rmsNorm(row, b.attnNorm, epsilon));
    const project = (name: string, row: Float64Array, p: number) => {
      const y = linear(name, row, p);
      return a.qkvBias ? sum(y, Float64Array.from(b[`${name}Bias`])) : y;
    };
    const turn = (name: string, row: Float64Array, p: number) => {
      const y = project(name, row, p);
      for (let at = 0; a.qkNorm && at < y.length; at += headSize) {
        y.set(rmsNorm(y.slice(at, at + headSize), b[`${name}Norm`], epsilon), at);
      }
      return rotate(y, p, a);
    };
    const q = h.map((row, p) => turn("q", row, p));
    const k = h.map((row, p) => turn("k", row, p));
    values.push(h.map((row, p) => project("v", row, p)));
    const v = values[layer].map((row) => change(layer, row));
    seen.push(Array.from({ length: a.heads }, () => new Float64Array(x.length)));
    const mixed = x.map(() => new Float64Array(a.heads * headSize));
    for (let head = 0; head < a.heads; head++) {
      const shared = Math.floor(head * a.kvHeads / a.heads);
      const [mine, theirs] = [head * headSize, shared * headSize];
      for (let p = 0; p < x.length; p++) {
        const scores = k.map((key) => {
          let dot = 0;
          for (let i = 0; i < headSize; i++) dot += q[p][mine + i] * key[theirs + i];
          return dot / Math.sqrt(headSize);
        });
        logSoftmax(scores).forEach((score, s) => {
          seen[layer][head][s] += Math.exp(score);
          for (let i = 0; i < headSize; i++) mixed[p][mine + i] += Math.exp(score) * v[s][theirs + i];
        });
      }
    }
    const x1 = x.map((row, p) => sum(row, linear("o", mixed[p], p)));
    const h2 = x1.map((row) => rmsNorm(row, b.ffNorm, epsilon));
    const network = (row: Float64Array, p: number, prefix = "") => {
      const up = linear(`${prefix}up`, row, p);
      return linear(`${prefix}gate`, row, p).map((gate, i) => gate / (1 + Math.exp(-gate)) * up[i]);
    };
    const active = a.experts ? [] : h2.map((row, p) => network(row, p));
    x = x1.map((row, p) => {
      if (!a.experts) return sum(row, linear("down", active[p], p));
      let out = row;
      for (const [e, weight] of chosenExperts(a, apply(b.router, h2[p]))) {
        out = sum(out, apply(b[`experts.${e}.down`], network(h2[p], p, `experts.${e}.`)).map((y) => weight * y));
      }
      return out;
    });
    inputs.push([h, mixed, h2, active]);
    states.push(x);
  }
  const raw = x.map((row) => apply(w.head, rmsNorm(row, w.finalNorm, epsilon)));
  const logits = a.logitShift ? [raw[0], ...raw.slice(0, -1)] : raw;
  return { logits, states, inputs, seen, values };
}

/** The experts of a token by falling router logit, each with its softmax weight over all experts. */
export function chosenExperts({ experts }: Architecture, logits: Float64Array): [number, number][] {
  const p = logSoftmax(logits).map(Math.exp);
  const order = Array.from(p.keys()).sort((i, j) => p[j] - p[i] || i - j).slice(0, experts!.active);
  const total = experts!.renormalise ? order.reduce((s, e) => s + p[e], 0) : 1;
  return order.map((e) => [e, p[e] / total]);
}

/** log softmax of the numbers. */
export function logSoftmax(x: Numbers): Float64Array {
  const values = Float64Array.from(x);
  const max = values.reduce((m, y) => Math.max(m, y), -Infinity);
  const total = max + Math.log(values.reduce((s, y) => s + Math.exp(y - max), 0));
  return values.map((y) => y - total);
}

function rmsNorm(x: Float64Array, weight: Numbers, epsilon: number): Float64Array {
  const mean = x.reduce((s, y) => s + y * y, 0) / x.length;
  return x.map((y, j) => y / Math.sqrt(mean + epsilon) * weight[j]);
}

/** W x, W `[out, in]` row-major. */
function apply(W: Numbers, x: Float64Array): Float64Array<ArrayBuffer> {
  const n = x.length;
  return Float64Array.from({ length: W.length / n }, (_, i) => {
    let dot = 0;
    for (let j = 0; j < n; j++) dot += W[i * n + j] * x[j];
    return dot;
  });
}

/** RoPE: the halves (a, b) of each head turn by position · theta^(-2i / headSize). */
function rotate(x: Float64Array, position: number, { headSize, ropeTheta }: Architecture): Float64Array {
  const half = headSize / 2;
  const out = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += headSize) {
    for (let i = 0; i < half; i++) {
      const angle = position * ropeTheta ** (-2 * i / headSize);
      const [a, b] = [x[start + i], x[start + half + i]];
      out[start + i] = a * Math.cos(angle) - b * Math.sin(angle);
      out[start + half + i] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return out;
}

const sum = (a: Float64Array, b: Float64Array) => a.map((y, j) => y + b[j]) as Float64Array<ArrayBuffer>;
