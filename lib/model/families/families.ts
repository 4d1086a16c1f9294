/** Every architecture is one row of this table: how its config is read and what its tensors are called. */
import type { Architecture } from "../architecture.ts";
import type { Family } from "./family.ts";
import { type Config, shown } from "../config.ts";
import { llada, lladaMoe } from "./llada.ts";
import { dream, qwen2, qwen3 } from "./qwen.ts";

export const families: readonly Family[] = [llada, lladaMoe, dream, qwen2, qwen3];

/**
 * The family of a config, its row of this table; throws `RangeError` for a model type that is not in the table.
 *
 * @example
 * ```ts
 * import { familyOf } from "quant-dllm/testbed";
 *
 * const config = JSON.parse(await Deno.readTextFile("data/nano-llada/config.json"));
 * const { names, architecture } = familyOf(config, "config.json");
 * console.log(names.block(0, "gate"), architecture(config, "config.json").maskId);
 * ```
 */
export function familyOf(config: Config, file: string): Family {
  const family = families.find((f) => f.matches(config));
  if (family) return family;
  const known = families.map((f) => f.modelType).join(", ");
  throw new RangeError(`Cannot load ${file}: model_type is ${shown(config.model_type)}, known are ${known}`);
}

/**
 * The linears of a LLaDA model and the number of its other weights, for counting bytes before any are read.
 *
 * @example
 * ```ts
 * import { formBytes, lladaShapes } from "quant-dllm";
 *
 * const { linears, otherWeights } = lladaShapes({ layers: 32, width: 4096, hidden: 12288, vocabSize: 126464 });
 * const planes = linears.reduce((sum, shape) => sum + formBytes.binary({ ...shape, order: 2, group: 128 }), 0);
 * console.log((planes + 2 * otherWeights) / 1e9); // GB of LLaDA-8B in two planes, the rest in 16 bits
 * ```
 */
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
