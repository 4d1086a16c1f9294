/** A file of stored linears and arrays that a run has come to, at a step. */
import { encodeSafetensors, openSafetensors, type TensorBytes } from "../../format/safetensors.ts";
import type { QuantizedLinear, StoredTensor } from "../../quant/method.ts";
import { fileSource, ifThere, writeFileAtomic } from "../../checkpoint/files/file_source.ts";

export interface Parts {
  readonly step: number;
  /** By the names of their tensors. */
  readonly forms: ReadonlyMap<string, QuantizedLinear>;
  readonly arrays: ReadonlyMap<string, Float32Array>;
}

/** Writes the file, whole or not at all. */
export async function writeParts(path: string, { step, forms, arrays }: Parts): Promise<void> {
  const tensors: [string, TensorBytes][] = [];
  const entries: Omit<QuantizedLinear, "tensors">[] = [];
  for (const { tensors: own, ...entry } of forms.values()) {
    entries.push(entry);
    for (const [part, tensor] of Object.entries(own)) tensors.push([`form:${entry.name}:${part}`, tensor]);
  }
  for (const [name, { length, buffer, byteOffset, byteLength }] of arrays) {
    tensors.push([`array:${name}`, {
      dtype: "F32",
      shape: [length],
      bytes: new Uint8Array(buffer, byteOffset, byteLength),
    }]);
  }
  const metadata = { step: String(step), entries: JSON.stringify(entries) };
  await writeFileAtomic(path, encodeSafetensors(tensors, metadata));
}

/** Reads it; undefined where there is none. Throws `SyntaxError` when it is damaged. */
export async function readParts(path: string): Promise<Parts | undefined> {
  const source = await ifThere(fileSource(path));
  if (!source) return undefined;
  const file = await openSafetensors(source);
  const arrays = new Map<string, Float32Array>(), tensors = new Map<string, Record<string, StoredTensor>>();
  for (const name of file.names) {
    const bytes = await file.read(name);
    if (name.startsWith("array:")) {
      arrays.set(name.slice(6), new Float32Array(bytes.slice().buffer));
      continue;
    }
    const at = name.lastIndexOf(":"), linear = name.slice(5, at), { dtype, shape } = file.info(name);
    if (!tensors.has(linear)) tensors.set(linear, {});
    tensors.get(linear)![name.slice(at + 1)] = { dtype: dtype as StoredTensor["dtype"], shape, bytes };
  }
  const entries = JSON.parse(file.metadata.entries) as Omit<QuantizedLinear, "tensors">[];
  const forms = new Map(entries.map((entry) => [entry.name, { ...entry, tensors: tensors.get(entry.name)! }]));
  return { step: Number(file.metadata.step), forms, arrays };
}
