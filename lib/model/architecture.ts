/** What a model is made of: the numbers of its shape, and the names and shapes of the weights of a block. */

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

/** The parts of a block between which only the residual stream goes on. */
export type Half = "attention" | "feedForward";
/** What reads one kind of input: q, k and v; o; gate and up; down. */
export type StageName = "qkv" | "out" | "gateUp" | "down";

/** A stage of a block: quantised at once, on inputs that pass through the quantised stages before it. */
export interface Stage {
  readonly name: StageName;
  readonly half: Half;
  /** Linears that share an input, and with it one second moment: one set, or one for each expert. */
  readonly sets: readonly (readonly Linear[])[];
}

/** The stages of a block, in the order of the forward pass. */
export function stages(a: Architecture): readonly Stage[] {
  const networks = Array.from({ length: a.experts?.count ?? 1 }, (_, e) => a.experts ? `experts.${e}.` : "");
  return [
    { name: "qkv", half: "attention", sets: [["q", "k", "v"]] },
    { name: "out", half: "attention", sets: [["o"]] },
    { name: "gateUp", half: "feedForward", sets: networks.map((n) => [`${n}gate`, `${n}up`]) },
    { name: "down", half: "feedForward", sets: networks.map((n) => [`${n}down`]) },
  ];
}

/** Half a block of a model. */
export interface HalfBlock {
  readonly layer: number;
  readonly half: Half;
  readonly stages: readonly Stage[];
}

/** The halves of all blocks, in the order of the forward pass. */
export function halfBlocks(a: Architecture): readonly HalfBlock[] {
  const all = stages(a);
  const halves = (["attention", "feedForward"] as const).map((half) => ({
    half,
    stages: all.filter((stage) => stage.half === half),
  }));
  return Array.from({ length: a.layers }, (_, layer) => halves.map((half) => ({ layer, ...half }))).flat();
}

/** The linears of a block in natural order: q, k, v, o, gate, up, down. */
export const linears = (a: Architecture): readonly Linear[] => stages(a).flatMap(({ sets }) => sets.flat());

/** `[tokens, in]` of a stage's input has so many columns. */
export const inputWidth = (a: Architecture, name: StageName): number =>
  linearShape(a, stages(a).find((stage) => stage.name === name)!.sets[0][0])[1];

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
  const own = stages(a).filter(({ half }) => half === "feedForward").flatMap(({ sets }) => sets.flat());
  return ["ffNorm", ...(a.experts ? ["router"] : []), ...own];
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
