/** The LLaDA block (bidirectional Llama: RMSNorm, RoPE, full attention, SwiGLU) as operators of a graph. */
import type { Graph, Value } from "./graph.ts";
import { add, attention, fusedAttention, linear, mul, repeatHeads, rmsNorm, rope, sigmoid } from "./ops.ts";

/** The numbers of a model's shape that the graphs need. */
export interface Architecture {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  /** Fewer than `heads` under grouped-query attention. */
  readonly kvHeads: number;
  readonly headSize: number;
  /** Width of the SwiGLU hidden layer. */
  readonly hidden: number;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly epsilon: number;
  readonly ropeTheta: number;
  readonly maskId: number;
}

/** The seven linears of a block, in natural order. */
export const linears = ["q", "k", "v", "o", "gate", "up", "down"] as const;
export type Linear = typeof linears[number];
/** Every weight of a block. */
export const blockWeights = ["attnNorm", ...linears, "ffNorm"] as const;
export type BlockWeight = typeof blockWeights[number];

/** The linears that share an input are quantised together: one stage each, in natural order. */
export const stages: readonly (readonly Linear[])[] = [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]];

/** `[rows, cols]` of a block weight; norms are vectors. */
export function weightShape(a: Architecture, name: BlockWeight): readonly number[] {
  const kv = a.kvHeads * a.headSize;
  switch (name) {
    case "attnNorm":
    case "ffNorm":
      return [a.width];
    case "q":
      return [a.heads * a.headSize, a.width];
    case "k":
    case "v":
      return [kv, a.width];
    case "o":
      return [a.width, a.heads * a.headSize];
    case "gate":
    case "up":
      return [a.hidden, a.width];
    case "down":
      return [a.width, a.hidden];
  }
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

/**
 * Appends one block. x `[batch, time, width]`; weights as `weightShape` says; `cos`, `sin` from `ropeTables`.
 * `until` stops at the input of that stage (0: q, k, v; 1: o; 2: gate, up; 3: down) and returns it; without, the output of the block.
 * `fused` takes the fused attention, which has no gradient.
 */
export function block(
  g: Graph,
  a: Architecture,
  x: Value,
  w: Readonly<Record<BlockWeight, Value>>,
  { cos, sin }: { readonly cos: Value; readonly sin: Value },
  { until, fused = false }: { readonly until?: number; readonly fused?: boolean } = {},
): Value {
  const h = rmsNorm(g, x, w.attnNorm, a.epsilon);
  if (until === 0) return h;
  const q = rope(g, linear(g, h, w.q), cos, sin);
  const k = rope(g, linear(g, h, w.k), cos, sin);
  const widen = (y: Value) => repeatHeads(g, y, a.kvHeads, a.heads, a.headSize);
  const attend = fused ? fusedAttention : attention;
  const mixed = attend(g, q, widen(k), widen(linear(g, h, w.v)), a.heads);
  if (until === 1) return mixed;
  const x1 = add(g, x, linear(g, mixed, w.o));
  const h2 = rmsNorm(g, x1, w.ffNorm, a.epsilon);
  if (until === 2) return h2;
  const gate = linear(g, h2, w.gate);
  const active = mul(g, mul(g, gate, sigmoid(g, gate)), linear(g, h2, w.up));
  if (until === 3) return active;
  return add(g, x1, linear(g, active, w.down));
}
