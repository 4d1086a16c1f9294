/** Tensors of stored forms: written, and read with errors that name the linear and the tensor. */
import { halfToFloat } from "../tensor/half.ts";
import type { QuantizedLinear, StoredTensor } from "./method.ts";

/** The bytes of a tensor. Throws `TypeError` when it is missing. */
export function bytesOf(q: QuantizedLinear, name: string): Uint8Array {
  const found = q.tensors[name];
  if (!found) throw new TypeError(`Cannot decode "${q.name}": the tensor ${name} is missing`);
  return found.bytes;
}

/** The numbers of an F16 tensor. Throws `TypeError` when it is missing, `RangeError` when its bytes are odd in number. */
export function halvesOf(q: QuantizedLinear, name: string): Float32Array {
  const bytes = bytesOf(q, name);
  if (bytes.length % 2 !== 0) {
    throw new RangeError(`Cannot decode "${q.name}": ${name} has ${bytes.length} bytes, wanted whole fp16 numbers`);
  }
  // A copy, since bytes read from a file may start at an odd offset.
  return halfToFloat(new Uint16Array(bytes.slice().buffer));
}

/** A positive integer of the configuration. Throws `RangeError` when there is none. */
export function positiveOf(q: QuantizedLinear, key: string): number {
  const value = q.config[key];
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
  throw new RangeError(`Cannot decode "${q.name}": ${key} is ${value}, wanted a positive integer`);
}

/** The type and shape that a tensor is to have. */
export type Wanted = readonly [dtype: StoredTensor["dtype"], ...shape: number[]];

/**
 * Refuses a linear whose tensors are not those of its form: what is read afterwards has the type and the numbers that are read.
 *
 * @throws TypeError when a tensor is missing, of another type or unknown to the form; RangeError when its shape is another.
 */
export function checkTensors(q: QuantizedLinear, wanted: Readonly<Record<string, Wanted>>): void {
  for (const [name, type] of Object.entries(wanted)) checkTensor(q, name, type);
  const unknown = Object.keys(q.tensors).find((name) => !Object.hasOwn(wanted, name));
  if (unknown === undefined) return;
  throw new TypeError(`Cannot decode "${q.name}": the form ${q.format} has no tensor ${unknown}`);
}

/** One of them. */
export function checkTensor(q: QuantizedLinear, name: string, [dtype, ...shape]: Wanted): void {
  bytesOf(q, name);
  const found = q.tensors[name];
  if (found.dtype !== dtype) {
    throw new TypeError(`Cannot decode "${q.name}": the tensor ${name} is ${found.dtype}, wanted ${dtype}`);
  }
  if (found.shape.join() === shape.join()) return;
  throw new RangeError(`Cannot decode "${q.name}": the tensor ${name} is [${found.shape}], wanted [${shape}]`);
}

/** A U8 tensor of one dimension. */
export function bytesTensor(bytes: Uint8Array): StoredTensor {
  return { dtype: "U8", shape: [bytes.length], bytes };
}

/** An F16 tensor; values are rounded to fp16. */
export function halvesTensor(values: Float32Array | Float64Array, shape: readonly number[]): StoredTensor {
  return { dtype: "F16", shape, bytes: new Uint8Array(Float16Array.from(values).buffer) };
}
