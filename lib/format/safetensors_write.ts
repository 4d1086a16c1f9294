/** Writing safetensors files: equal tensors give equal bytes. */
import { concat } from "../tensor/concat.ts";
import { type Dtype, dtypeBytes } from "./safetensors_header.ts";

/** A tensor to write: little-endian `bytes` of `dtype` and `shape`. */
export interface TensorBytes {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/**
 * The chunks of a safetensors file: equal tensors and metadata give equal bytes, whatever order they come in. The
 * header lists tensors sorted by name and is padded with spaces to 8 bytes; the data lies by falling element size, then
 * name, so that every tensor is aligned. The tensors' own bytes are passed on, not copied. Throws `TypeError` when the
 * bytes do not fit dtype and shape, `RangeError` on a reserved name.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, TensorBytes>> | Iterable<readonly [string, TensorBytes]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const list = Symbol.iterator in tensors
    ? [...tensors as Iterable<readonly [string, TensorBytes]>]
    : Object.entries(tensors as Readonly<Record<string, TensorBytes>>);
  list.sort(([a], [b]) => byCodeUnit(a, b));
  list.forEach(([name, tensor], i) => {
    if (name === "__metadata__" || (i > 0 && list[i - 1][0] === name)) {
      throw new RangeError(`Cannot write tensor ${JSON.stringify(name)}: the name is reserved or given twice`);
    }
    checkTensor(name, tensor);
  });
  const placed = [...list].sort(([a, ta], [b, tb]) => dtypeBytes[tb.dtype] - dtypeBytes[ta.dtype] || byCodeUnit(a, b));
  const begins = new Map<string, number>();
  let at = 0;
  for (const [name, { bytes }] of placed) {
    begins.set(name, at);
    at += bytes.length;
  }
  // Fields are written one by one: an object would move names that look like integers to the front, and lose "__proto__".
  const fields = Object.keys(metadata).length === 0 ? [] : [`"__metadata__":${metadataJson(metadata)}`];
  for (const [name, { dtype, shape, bytes }] of list) {
    const begin = begins.get(name)!;
    fields.push(
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, begin + bytes.length] })}`,
    );
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(json, 8);
  return [head, ...placed.map(([, tensor]) => tensor.bytes)];
}

/** The chunks as one array, for small files and tests. */
export function joinChunks(chunks: readonly Uint8Array[]): Uint8Array {
  return concat(chunks, Uint8Array);
}

function checkTensor(name: string, { dtype, shape, bytes }: TensorBytes): void {
  const where = `Cannot write tensor ${JSON.stringify(name)}`;
  if (!Object.hasOwn(dtypeBytes, dtype)) {
    throw new TypeError(`${where}: its dtype is ${dtype}, wanted one of ${Object.keys(dtypeBytes).join(", ")}`);
  }
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    throw new TypeError(`${where}: its shape is [${shape.join(", ")}], wanted non-negative integers`);
  }
  const wanted = shape.reduce((product, n) => product * n, dtypeBytes[dtype]);
  if (bytes.length !== wanted) {
    throw new TypeError(`${where}: it has ${bytes.length} bytes, wanted ${wanted} for ${dtype} [${shape.join(", ")}]`);
  }
}

function metadataJson(metadata: Readonly<Record<string, string>>): string {
  const fields = Object.entries(metadata).sort(([a], [b]) => byCodeUnit(a, b)).map(([key, value]) => {
    if (typeof value !== "string") {
      throw new TypeError(
        `Cannot write metadata ${JSON.stringify(key)}: it is of type ${typeof value}, wanted a string`,
      );
    }
    return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
  });
  return `{${fields.join(",")}}`;
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
