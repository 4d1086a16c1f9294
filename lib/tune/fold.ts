/**
 * Column factors of linears folded into what comes before them (AWQ, arXiv 2306.00978 §3.2): into the norm that their set reads behind, or into the rows of the
 * linear whose output they read. The model answers as before, up to the types that norms and scales are stored in, and no factor is stored.
 */
import type { QuantizedLinear } from "../quant/method.ts";
import { foldRows, inScaleOf, withoutInScale } from "../quant/forms/in_scale.ts";
import { type Architecture, type BlockWeight, type Linear, stages } from "../model/architecture.ts";
import type { Model } from "../model/model.ts";
import { StreamedWeights } from "../model/weights.ts";
import type { Moved } from "./moved.ts";

/** `into`, and all that read what it gives. */
interface Place {
  readonly into: BlockWeight;
  readonly kind: "norm" | "linear";
  readonly readers: readonly Linear[];
}

/** Where factors of columns can go: nowhere from an attention output under grouped queries, nor into a norm that a router reads too. */
function places(a: Architecture): Place[] {
  return stages(a).flatMap(({ name, sets }): Place[] => {
    switch (name) {
      case "qkv":
        return [{ into: "attnNorm", kind: "norm", readers: sets[0] }];
      case "out":
        return a.heads === a.kvHeads ? [{ into: "v", kind: "linear", readers: sets[0] }] : [];
      case "gateUp":
        return a.experts ? [] : [{ into: "ffNorm", kind: "norm", readers: sets[0] }];
      case "down":
        return sets.map((set) => ({ into: set[0].replace(/down$/, "up"), kind: "linear", readers: set }));
    }
  });
}

/** The linears of a block whose factors can go somewhere. */
export const foldable = (a: Architecture): readonly Linear[] => places(a).flatMap(({ readers }) => readers);

/** The norms and biases of a block that factors can change. */
export const foldedVectors = (a: Architecture): readonly BlockWeight[] =>
  places(a).flatMap(({ into, kind }) => kind === "norm" ? [into] : into === "v" && a.qkvBias ? ["vBias"] : []);

/**
 * The forms, norms and biases that change when every factor that can be folded is. A set folds where all its linears store the same factors and what is
 * before them can take them; else it stays as it is.
 */
export async function foldFactors(model: Model, forms: ReadonlyMap<string, QuantizedLinear>): Promise<Moved> {
  const { architecture: a, family: { names }, weights } = model;
  const moved = { forms: new Map<string, QuantizedLinear>(), vectors: new Map<string, Float32Array>() };
  for (let layer = 0; layer < a.layers; layer++) {
    const named = (weight: BlockWeight) => names.block(layer, weight);
    const formOf = (linear: Linear) => moved.forms.get(named(linear)) ?? forms.get(named(linear));
    const vector = async (weight: BlockWeight) =>
      weights instanceof StreamedWeights
        ? await weights.source.readFloat(named(weight))
        : (await weights.block(layer))[weight];
    const divide = async (weight: BlockWeight, by: Float32Array) => {
      moved.vectors.set(named(weight), (await vector(weight)).map((x, j) => x / by[j]));
    };
    for (const { into, kind, readers } of places(a)) {
      const scale = sharedFactors(readers.map(formOf));
      if (!scale) continue;
      if (kind === "norm") await divide(into, scale);
      else {
        const before = formOf(into), folded = before && foldRows(before, scale);
        if (!folded) continue;
        moved.forms.set(named(into), folded);
        if (into === "v" && a.qkvBias) await divide("vBias", scale);
      }
      for (const linear of readers) moved.forms.set(named(linear), withoutInScale(formOf(linear)!));
    }
  }
  return moved;
}

/** The factors of all of them, where they are the same. */
function sharedFactors(forms: readonly (QuantizedLinear | undefined)[]): Float32Array | undefined {
  const [first, ...others] = forms.map((q) => q && inScaleOf(q));
  return first && others.every((scale) => scale?.every((s, j) => s === first[j])) ? first : undefined;
}
