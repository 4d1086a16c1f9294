/** The block of LLaDA, Dream and their kin (bidirectional Llama: RMSNorm, RoPE, full attention, SwiGLU or experts) as operators of a graph. */
import type { Graph, Value } from "../onnx/graph.ts";
import { mixture } from "./mixture.ts";
import {
  add,
  attention,
  fusedAttention,
  headNorm,
  linear,
  matmul,
  mul,
  repeatHeads,
  rmsNorm,
  rope,
  sigmoid,
} from "../onnx/ops.ts";

/** The numbers of a model's shape that the graphs need. */
export interface Architecture {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  /** Fewer than `heads` under grouped-query attention. */
  readonly kvHeads: number;
  readonly headSize: number;
  /** Width of the SwiGLU hidden layer; of one expert where there are experts. */
  readonly hidden: number;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly epsilon: number;
  readonly ropeTheta: number;
  readonly maskId: number;
  /** Biases on q, k and v (Qwen2, Dream). */
  readonly qkvBias?: boolean;
  /** RMSNorm over each head of q and k before RoPE (Qwen3, LLaDA-MoE). */
  readonly qkNorm?: boolean;
  /** The head is the embedding. */
  readonly tiedHead?: boolean;
  /** The logits at position i predict token i + 1 (Dream). */
  readonly logitShift?: boolean;
  /** A router sends each token to `active` of `count` SwiGLU networks; `renormalise` scales the chosen weights to a sum of one. */
  readonly experts?: { readonly count: number; readonly active: number; readonly renormalise: boolean };
}

/** Name of a linear of a block: `q`, `k`, `v`, `o`, `gate`, `up`, `down`; the last three as `experts.3.gate` where there are experts. */
export type Linear = string;
/** Name of any weight of a block. */
export type BlockWeight = string;

/**
 * The linears of a block by stage. A stage is quantised on inputs that pass through the quantised stages before it; within a stage, linears that share an
 * input form a group (one second moment each).
 */
export function stages(a: Architecture): readonly (readonly (readonly Linear[])[])[] {
  const networks = Array.from({ length: a.experts?.count ?? 1 }, (_, e) => a.experts ? `experts.${e}.` : "");
  return [[["q", "k", "v"]], [["o"]], networks.map((n) => [`${n}gate`, `${n}up`]), networks.map((n) => [`${n}down`])];
}

/** The linears of a block in natural order: q, k, v, o, gate, up, down. */
export const linears = (a: Architecture): readonly Linear[] => stages(a).flat(2);

/** Every weight of a block: norms, biases, the router, and the linears. */
export function blockWeights(a: Architecture): readonly BlockWeight[] {
  return [...attentionWeights(a), ...feedForwardWeights(a)];
}

/** The weights of the attention half of a block. */
export function attentionWeights(a: Architecture): readonly BlockWeight[] {
  return ["attnNorm", "q", "k", "v", ...(a.qkvBias ? biases : []), ...(a.qkNorm ? ["qNorm", "kNorm"] : []), "o"];
}

/** The weights of the feed-forward half of a block. */
export function feedForwardWeights(a: Architecture): readonly BlockWeight[] {
  return ["ffNorm", ...(a.experts ? ["router"] : []), ...stages(a).slice(2).flat(2)];
}

const biases = ["qBias", "kBias", "vBias"];

/** `[rows, cols]` of a block weight; norms and biases are vectors. */
export function weightShape(a: Architecture, name: BlockWeight): readonly number[] {
  const [q, kv] = [a.heads * a.headSize, a.kvHeads * a.headSize];
  switch (name.replace(/^experts\.\d+\./, "")) {
    case "attnNorm":
    case "ffNorm":
      return [a.width];
    case "qNorm":
    case "kNorm":
      return [a.headSize];
    case "qBias":
      return [q];
    case "kBias":
    case "vBias":
      return [kv];
    case "router":
      return [a.experts!.count, a.width];
    case "q":
      return [q, a.width];
    case "k":
    case "v":
      return [kv, a.width];
    case "o":
      return [a.width, q];
    case "gate":
    case "up":
      return [a.hidden, a.width];
    case "down":
      return [a.width, a.hidden];
  }
  throw new RangeError(`Cannot tell the shape of a block weight ${JSON.stringify(name)}`);
}

/** `[out, in]` of a linear. */
export function linearShape(a: Architecture, name: Linear): readonly [number, number] {
  return weightShape(a, name) as readonly [number, number];
}

/** RoPE tables for positions 0..length-1: cos and sin of position · theta^(-2i / headSize), each `[length, headSize / 2]` float32. */
export function ropeTables(a: Architecture, length: number): { cos: Float32Array; sin: Float32Array } {
  const half = a.headSize / 2;
  const cos = new Float32Array(length * half);
  const sin = new Float32Array(length * half);
  for (let i = 0; i < half; i++) {
    const frequency = a.ropeTheta ** (-i / half);
    for (let p = 0; p < length; p++) {
      // The official code forms the angle in float32; at long positions a float64 angle would differ visibly.
      const angle = Math.fround(p * Math.fround(frequency));
      cos[p * half + i] = Math.cos(angle);
      sin[p * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** How a graph gets at the weights of a block: dense inputs, or packed nodes. */
export interface BlockParts {
  /** A norm or bias. */
  vector(name: BlockWeight): Value;
  /** x Wᵀ of a linear; x `[batch, time, in]`, or `[n, in]` for experts and the router. */
  linear(name: Linear, x: Value): Value;
}

/** RoPE tables as values, each `[time, headSize / 2]`. */
export interface Rotation {
  readonly cos: Value;
  readonly sin: Value;
}

/** Parts over float32 weights of the shapes that `weightShape` gives. */
export function denseParts(g: Graph, weight: (name: BlockWeight) => Value): BlockParts {
  return {
    vector: weight,
    linear: (name, x) =>
      x.shape.length === 2 ? matmul(g, x, weight(name), { transB: true }) : linear(g, x, weight(name)),
  };
}

/** Appends one block: attention, then the feed-forward network. x `[batch, time, width]`. `fused` takes the fused attention, which has no gradient. */
export function block(
  g: Graph,
  a: Architecture,
  x: Value,
  parts: BlockParts,
  rotation: Rotation,
  { fused = false }: { readonly fused?: boolean } = {},
): Value {
  return feedForward(g, a, attend(g, a, x, parts, rotation, { fused }), parts);
}

/** The attention half of a block, residual included; `until` 0 or 1 stops at the input of that stage (q, k, v; o) and returns it. */
export function attend(
  g: Graph,
  a: Architecture,
  x: Value,
  parts: BlockParts,
  { cos, sin }: Rotation,
  { until, fused = false }: { readonly until?: number; readonly fused?: boolean } = {},
): Value {
  const h = rmsNorm(g, x, parts.vector("attnNorm"), a.epsilon);
  if (until === 0) return h;
  const project = (name: string) => {
    const y = parts.linear(name, h);
    return a.qkvBias ? add(g, y, parts.vector(`${name}Bias`)) : y;
  };
  const turn = (name: string, heads: number) => {
    const y = project(name);
    return rope(g, a.qkNorm ? headNorm(g, y, parts.vector(`${name}Norm`), heads, a.epsilon) : y, cos, sin);
  };
  const q = turn("q", a.heads);
  const k = turn("k", a.kvHeads);
  const widen = (y: Value) => repeatHeads(g, y, a.kvHeads, a.heads, a.headSize);
  const mixed = (fused ? fusedAttention : attention)(g, q, widen(k), widen(project("v")), a.heads);
  if (until === 1) return mixed;
  return add(g, x, parts.linear("o", mixed));
}

/** The feed-forward half of a block, residual included; `until` 2 or 3 stops at the input of that stage (gate, up; down). With experts only 2. */
export function feedForward(
  g: Graph,
  a: Architecture,
  x: Value,
  parts: BlockParts,
  { until }: { readonly until?: number } = {},
): Value {
  const h = rmsNorm(g, x, parts.vector("ffNorm"), a.epsilon);
  if (until === 2) return h;
  if (a.experts) return add(g, x, mixture(g, a, h, parts));
  const active = swiGlu(g, h, parts);
  if (until === 3) return active;
  return add(g, x, parts.linear("down", active));
}

/** silu(gate x) · up x of the network whose linears are called `prefix` and gate, up. */
export function swiGlu(g: Graph, x: Value, parts: BlockParts, prefix = ""): Value {
  const gate = parts.linear(`${prefix}gate`, x);
  return mul(g, mul(g, gate, sigmoid(g, gate)), parts.linear(`${prefix}up`, x));
}
