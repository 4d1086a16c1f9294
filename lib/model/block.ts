/** The block of LLaDA, Dream and their kin (bidirectional Llama: RMSNorm, RoPE, full attention, SwiGLU or experts) as operators of a graph. */
import type { Graph, Value } from "../onnx/graph.ts";
import type { Architecture, StageName } from "./architecture.ts";
import { mixture } from "./mixture.ts";
import {
  add,
  attention,
  fusedAttention,
  headNorm,
  joinTime,
  putRows,
  repeatHeads,
  rmsNorm,
  rope,
  takeRows,
} from "../onnx/ops.ts";
import { type BlockParts, swiGlu } from "./parts.ts";

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

/** RoPE tables as values, each `[time, headSize / 2]`. */
export interface Rotation {
  readonly cos: Value;
  readonly sin: Value;
}

/** Keys and values as values, each `[batch, positions, kvHeads · headSize]`; keys are normed and turned already. */
export interface KeysValues {
  readonly k: Value;
  readonly v: Value;
}

export interface AttendOptions {
  /** The fused attention, which has no gradient. */
  readonly fused?: boolean;
  /** Positions outside of x that are attended to as well. */
  readonly past?: KeysValues;
  /** What becomes of the values of x before they are attended to, or kept. */
  readonly values?: (v: Value) => Value;
  /** Is given the keys and values of x, and its queries. */
  readonly keep?: (fresh: KeysValues & { readonly q: Value }) => void;
}

/** Appends one block: attention, then the feed-forward network. x `[batch, time, width]`. */
export function block(
  g: Graph,
  a: Architecture,
  x: Value,
  parts: BlockParts,
  rotation: Rotation,
  options: AttendOptions = {},
): Value {
  return feedForward(g, a, attend(g, a, x, parts, rotation, options), parts);
}

/**
 * The attention half of a block, residual included; `until` stops at the input of that stage and returns it. With `rows`, int64 `[n]`, only those rows of
 * the states, flat, are computed to the end, as `[n, width]`.
 */
export function attend(
  g: Graph,
  a: Architecture,
  x: Value,
  parts: BlockParts,
  { cos, sin }: Rotation,
  { until, fused = false, rows, past, values = (v) => v, keep }: AttendOptions & {
    readonly until?: StageName;
    readonly rows?: Value;
  } = {},
): Value {
  const h = rmsNorm(g, x, parts.vector("attnNorm"), a.epsilon);
  if (until === "qkv") return h;
  const project = (name: string) => {
    const y = rows && name === "q"
      ? putRows(g, parts.linear(name, takeRows(g, h, rows)), { rows, x })
      : parts.linear(name, h);
    return a.qkvBias ? add(g, y, parts.vector(`${name}Bias`)) : y;
  };
  const turn = (name: string, heads: number) => {
    const y = project(name);
    return rope(g, a.qkNorm ? headNorm(g, y, parts.vector(`${name}Norm`), heads, a.epsilon) : y, cos, sin);
  };
  const q = turn("q", a.heads);
  const fresh = { q, k: turn("k", a.kvHeads), v: values(project("v")) };
  keep?.(fresh);
  const all = (name: "k" | "v") => {
    const y = past ? joinTime(g, [past[name], fresh[name]]) : fresh[name];
    return repeatHeads(g, y, a.kvHeads, a.heads, a.headSize);
  };
  const mixed = (fused ? fusedAttention : attention)(g, q, all("k"), all("v"), a.heads);
  if (until === "out") return mixed;
  if (!rows) return add(g, x, parts.linear("o", mixed));
  return add(g, takeRows(g, x, rows), parts.linear("o", takeRows(g, mixed, rows)));
}

/** The feed-forward half of a block, residual included; `until` stops at the input of that stage and returns it. With experts only at "gateUp". */
export function feedForward(
  g: Graph,
  a: Architecture,
  x: Value,
  parts: BlockParts,
  { until }: { readonly until?: StageName } = {},
): Value {
  const h = rmsNorm(g, x, parts.vector("ffNorm"), a.epsilon);
  if (until === "gateUp") return h;
  if (a.experts) return add(g, x, mixture(g, a, h, parts));
  const active = swiGlu(g, h, parts);
  if (until === "down") return active;
  return add(g, x, parts.linear("down", active));
}
