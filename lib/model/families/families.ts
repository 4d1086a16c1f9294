/** Every architecture is one row of this table: how its config is read and what its tensors are called. */
import type { Architecture } from "../architecture.ts";
import type { Family } from "./family.ts";
import { type Config, shown } from "../config.ts";
import { llada, lladaMoe } from "./llada.ts";
import { dream, qwen2, qwen3 } from "./qwen.ts";

export const families: readonly Family[] = [llada, lladaMoe, dream, qwen2, qwen3];

/** The row for a config; throws `RangeError` for a model type that is not in the table. */
export function familyOf(config: Config, file: string): Family {
  const family = families.find((f) => f.matches(config));
  if (family) return family;
  const known = families.map((f) => f.modelType).join(", ");
  throw new RangeError(`Cannot load ${file}: model_type is ${shown(config.model_type)}, known are ${known}`);
}

/** The linears of a LLaDA model and the number of its other weights, for counting bytes before any are read. */
export function lladaShapes(
  { layers, width, hidden, vocabSize }: Pick<Architecture, "layers" | "width" | "hidden" | "vocabSize">,
): { readonly linears: readonly { readonly rows: number; readonly cols: number }[]; readonly otherWeights: number } {
  const square = { rows: width, cols: width };
  const block = [square, square, square, square, { rows: hidden, cols: width }, { rows: hidden, cols: width }, {
    rows: width,
    cols: hidden,
  }];
  return {
    linears: Array.from({ length: layers }, () => block).flat(),
    otherWeights: 2 * vocabSize * width + (2 * layers + 1) * width,
  };
}
