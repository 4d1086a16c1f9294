/** Every architecture is one row of this table: how its config is read and what its tensors are called. */
import type { Architecture } from "../architecture.ts";
import type { Family } from "./family.ts";
import { type Config, shown } from "../config.ts";
import { llada, lladaMoe } from "./llada.ts";
import { dream, illada, qwen2, qwen3 } from "./qwen.ts";

export const families: readonly Family[] = [llada, lladaMoe, illada, dream, qwen2, qwen3];

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
  const blocks = blockDiffusion(config);
  if (blocks !== undefined) {
    throw new RangeError(
      `Cannot load ${file}: ${blocks}; its attention is causal between blocks of tokens, this kit computes models that ` +
        "see the whole sequence",
    );
  }
  const family = families.find((f) => f.matches(config));
  if (family) return family;
  const known = families.map((f) => f.modelType).join(", ");
  throw new RangeError(`Cannot load ${file}: model_type is ${shown(config.model_type)}, known are ${known}`);
}

/** What a block-diffusion model is, in words; undefined for models of another kind. Some share a model type with those that see everything. */
function blockDiffusion({ model_type, architectures, ...config }: Config): string | undefined {
  const type = String(model_type), [name] = [architectures ?? []].flat().map(String);
  const known = blockFamilies.find(([pattern]) => pattern.test(type) || (name !== undefined && pattern.test(name)));
  if (known) return `model_type ${shown(model_type)} is ${known[1]}, a block-diffusion model`;
  const field = ["block_size", "bd_size", "diffusion_block_size"].find((f) => Number(config[f]) > 1);
  return field === undefined ? undefined : `${field} is ${shown(config[field])}: it is a block-diffusion model`;
}

const blockFamilies: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/^llada2/i, "LLaDA2"],
  [/^sdar/i, "SDAR"],
  [/^fast[_-]?dllm/i, "Fast-dLLM v2"],
  [/^nemotron/i, "Nemotron-Labs-Diffusion"],
  [/bd3lm/i, "BD3LM"],
];

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
