/** What a packed checkpoint says of itself: the section quantization_config of config.json, and the stored forms behind it. */
import type { TensorSource } from "../format/tensor_source.ts";
import type { QuantizedLinear, StoredTensor } from "../quant/method.ts";
import { type Config, shown } from "../model/config.ts";

/** One entry of `linears`: what decodes a matrix, besides its tensors. */
export type QuantizedEntry = Pick<QuantizedLinear, "format" | "shape" | "config" | "report">;

export interface QuantizationConfig {
  readonly quant_method: "quant-dllm";
  readonly provenance: Readonly<Record<string, string | number>>;
  /** By checkpoint tensor name. */
  readonly linears: Readonly<Record<string, QuantizedEntry>>;
}

/** `X.weight` is stored in parts: `X.codes`, `X.scales`, ... */
export const partName = (name: string, part: string): string => name.replace(/weight$/, part);

/** The section of a config, undefined where there is none. Throws `RangeError` for another kit's. */
export function quantizationConfig(config: Config, file: string): QuantizationConfig | undefined {
  const section = config.quantization_config as QuantizationConfig | undefined;
  if (section == null) return undefined;
  if (section.quant_method !== "quant-dllm" || typeof section.linears !== "object" || section.linears === null) {
    throw new RangeError(
      `Cannot load ${file}: quantization_config.quant_method is ${
        shown(section.quant_method)
      }, this kit reads "quant-dllm"`,
    );
  }
  for (const [name, entry] of Object.entries(section.linears)) {
    const { format, shape, config } = entry ?? {} as QuantizedEntry;
    const isShape = Array.isArray(shape) && shape.length === 2 && shape.every((n) => Number.isSafeInteger(n) && n > 0);
    if (typeof format !== "string" || !isShape || typeof config !== "object" || config === null) {
      throw new RangeError(
        `Cannot load ${file}: quantization_config.linears["${name}"] is ${
          shown(entry)
        }, wanted format, shape and config`,
      );
    }
  }
  return section;
}

/** Entries of a config for stored matrices. */
export function entriesOf(quantized: Iterable<Omit<QuantizedLinear, "tensors">>): Record<string, QuantizedEntry> {
  const entries = [...quantized].map(({ name, format, shape, config, report }) => [
    name,
    { format, shape, config, report },
  ]);
  return Object.fromEntries(entries);
}

/** Reads the stored forms that a packed checkpoint holds, by tensor name. */
export class StoredForms {
  /** Parts of each stored matrix: tensor names in the checkpoint. */
  readonly #parts = new Map<string, string[]>();

  constructor(readonly tensors: TensorSource, readonly section: QuantizationConfig | undefined) {
    // A bias has the prefix of its linear, and is no part of it.
    const names = tensors.names.filter((name) => !name.endsWith(".bias"));
    const byPrefix = Map.groupBy(names, (name) => name.slice(0, name.lastIndexOf(".") + 1));
    for (const name of Object.keys(section?.linears ?? {})) {
      this.#parts.set(name, byPrefix.get(partName(name, "")) ?? []);
    }
  }

  has(name: string): boolean {
    return this.#parts.has(name);
  }

  /** All tensors of the checkpoint that are parts of stored matrices. */
  parts(): Set<string> {
    return new Set([...this.#parts.values()].flat());
  }

  /** Bytes of all its parts. */
  bytes(name: string): number {
    return this.#parts.get(name)!.reduce((sum, part) => sum + this.tensors.info(part).bytes, 0);
  }

  shape(name: string): readonly number[] {
    return this.section!.linears[name].shape;
  }

  /** The stored form, or undefined where the checkpoint holds the matrix in full precision. */
  async read(name: string): Promise<QuantizedLinear | undefined> {
    const parts = this.#parts.get(name);
    if (!parts) return undefined;
    const prefix = partName(name, "");
    const tensors: Record<string, StoredTensor> = {};
    for (const part of parts) {
      const { dtype, shape } = this.tensors.info(part);
      const bytes = await this.tensors.read(part);
      tensors[part.slice(prefix.length)] = { dtype: dtype as StoredTensor["dtype"], shape, bytes };
    }
    return { name, ...this.section!.linears[name], tensors };
  }
}
