/** What a tuning gives: stored linears, norms and biases by the names of their tensors, and the model that has them. */
import { HeldWeights, overlay, StreamedWeights, type Weights } from "../model/weights.ts";
import { blockWeights } from "../model/architecture.ts";
import type { Model } from "../model/model.ts";
import type { QuantizedLinear } from "../quant/method.ts";

export interface Moved {
  readonly forms: ReadonlyMap<string, QuantizedLinear>;
  /** Norms and biases as float32 numbers of the type that they are stored in. */
  readonly vectors: ReadonlyMap<string, Float32Array>;
}

/** A new model with what moved in its place. Throws `TypeError` for a model that does not run from its weights. */
export function withMoved(
  model: Model,
  { forms, vectors }: Moved,
  provenance: Readonly<Record<string, string | number>>,
): Model {
  const { family: { names }, architecture } = model;
  const weights = overlay(withVectors(model, vectors), forms, { names, architecture });
  return model.with(new Map([...model.quantized, ...forms]), provenance, { weights });
}

function withVectors({ weights, family: { names }, architecture: a }: Model, vectors: Moved["vectors"]): Weights {
  if (weights instanceof StreamedWeights) {
    const { source } = weights;
    const readFloat = (name: string) => {
      const own = vectors.get(name);
      return own ? Promise.resolve(own.slice()) : source.readFloat(name);
    };
    const readRows = (name: string, from: number, to: number) => source.readRows(name, from, to);
    return new StreamedWeights({ readFloat, readRows }, { names, architecture: a });
  }
  if (!(weights instanceof HeldWeights)) return weights;
  const { arrays } = weights;
  const blocks = arrays.blocks.map((block, layer) =>
    Object.fromEntries(blockWeights(a).map((name) => [name, vectors.get(names.block(layer, name)) ?? block[name]]))
  );
  return new HeldWeights({ ...arrays, finalNorm: vectors.get(names.finalNorm) ?? arrays.finalNorm, blocks });
}
