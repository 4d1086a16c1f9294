/** One block from its stored codes: what is read of the checkpoint, and the graph made of it. */
import type { QuantizedLinear } from "../quant/method.ts";
import { type Architecture, blockWeights, linears, weightShape } from "../model/architecture.ts";
import type { BlockParts } from "../model/parts.ts";
import { rotation, windowBlock } from "../model/window.ts";
import type { Names } from "../model/families/family.ts";
import { Graph, type Value } from "../onnx/graph.ts";
import { linear, matmul } from "../onnx/ops.ts";
import { ownArrays, type PackedLinear, packedLinear, packLinear, type PackLinearOptions } from "./linear.ts";
import { meanPlanes, type Route, routeOf, runsFromCodes } from "./route.ts";
import { decodeStored, type QuantizedSource, readStored } from "../model/weights.ts";

/** The weights of a block, ready for a graph. */
export interface PackedBlockWeights {
  readonly packed: ReadonlyMap<string, PackedLinear>;
  /** Norms, biases, and linears that are stored in full precision or in a form that no kernel reads. */
  readonly floats: ReadonlyMap<string, Float32Array>;
  readonly routes: readonly Route[];
  /** Weights of all linears. */
  readonly size: number;
  /** `meanPlanes` over all linears, by their weights. */
  readonly planes: number;
}

/** Reads and packs the weights of a block. Throws `TypeError` when a stored form has another shape than the model. */
export async function readPackedBlock(
  source: QuantizedSource,
  names: Names,
  a: Architecture,
  layer: number,
  options: PackLinearOptions,
): Promise<PackedBlockWeights> {
  const floats = new Map<string, Float32Array>(), packed = new Map<string, PackedLinear>();
  const routes: Route[] = [];
  const quantisable = new Set(linears(a));
  let size = 0, products = 0;
  for (const weight of blockWeights(a)) {
    const name = names.block(layer, weight), shape = weightShape(a, weight);
    const q = quantisable.has(weight) ? await source.lookup(name) : undefined;
    const file = source.base.name;
    if (q) checkedShape(q, shape);
    if (q && runsFromCodes(q)) packed.set(weight, readStored(q, file, () => packLinear(q, options)));
    else if (q) floats.set(weight, decodeStored(q, file).data);
    else floats.set(weight, await source.readFloat(name));
    if (!quantisable.has(weight)) continue;
    routes.push(routeOf(name, q));
    size += shape[0] * shape[1];
    products += shape[0] * shape[1] * meanPlanes(q);
  }
  return { packed, floats, routes, size, planes: products / size };
}

/** The graph of a block: x `[batch, time, width]` the tables cos, sin and the past, empty for a whole sequence, to y, and its keys and values ownK, ownV. With `own` the weights beside it are arrays of its own. */
export function packedBlockGraph(
  a: Architecture,
  { packed, floats }: PackedBlockWeights,
  { fused, own }: { readonly fused: boolean; readonly own: boolean },
): Graph {
  const g = new Graph();
  const x = g.input("x", "float32", ["batch", "time", a.width]);
  const held = (name: string): Value => {
    const data = floats.get(name)!;
    return g.weight(own ? data.slice() : data, weightShape(a, name));
  };
  const parts: BlockParts = {
    vector: held,
    linear: (name, input) => {
      const stored = packed.get(name);
      if (stored) return packedLinear(g, input, own ? ownArrays(stored) : stored);
      return input.shape.length === 2 ? matmul(g, input, held(name), { transB: true }) : linear(g, input, held(name));
    },
  };
  g.output("y", windowBlock(g, a, x, parts, rotation(g, a), { fused }));
  return g;
}

/** `q`, when it has the shape that the model wants. */
export function checkedShape(q: QuantizedLinear, shape: readonly number[]): QuantizedLinear {
  if (q.shape.join() === shape.join()) return q;
  throw new TypeError(`Cannot run "${q.name}" packed: it is [${q.shape}], the model wants [${shape}]`);
}
