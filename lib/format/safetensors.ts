/** Safetensors files: read one tensor at a time from any `ByteSource`, write deterministically. */
import { bfloat16ToFloat, halfToFloat } from "../tensor/half.ts";
import type { ByteSource } from "./byte_source.ts";
import {
  type Dtype,
  dtypeBytes,
  malformed,
  maxHeaderBytes,
  parseHeader,
  type TensorEntry,
} from "./safetensors_header.ts";

export type { Dtype } from "./safetensors_header.ts";

/** What the header says of one tensor. */
export interface TensorInfo {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Length of its data in bytes. */
  readonly bytes: number;
}

/** An open file: the header is in memory, each tensor is read when asked for. */
export interface SafetensorsFile {
  readonly name: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the data: reading them in turn is one pass over the file. */
  readonly names: readonly string[];
  has(name: string): boolean;
  /** Throws `RangeError` when the file has no such tensor. */
  info(name: string): TensorInfo;
  /**
   * The little-endian bytes of one tensor, in an array of their own. Throws `RangeError` (no such tensor) or
   * `SyntaxError` (the file ended early).
   */
  read(name: string): Promise<Uint8Array>;
  /** One F32, F16 or BF16 tensor as float32, row-major. Throws also `TypeError` on another dtype. */
  readFloat(name: string): Promise<Float32Array>;
}

export interface OpenOptions {
  /**
   * Refuse tensors that do not begin at a multiple of their element size: valid in the format, but no use for memory
   * mapping.
   */
  readonly aligned?: boolean;
}

/**
 * Opens a safetensors file. The length field is checked against the file's size before the header is read, and the
 * whole header before any tensor: a malformed file costs no memory beyond its own header. Throws `SyntaxError` that
 * names the file and the field.
 */
export async function openSafetensors(
  source: ByteSource,
  { aligned = false }: OpenOptions = {},
): Promise<SafetensorsFile> {
  const file = source.name;
  if (source.size < 8) {
    malformed(file, `it is ${source.size} bytes long, wanted at least the 8 bytes of the header length`);
  }
  const lengthBytes = await readExactly(source, 0, 8, "header length");
  const headerLength = new DataView(lengthBytes.buffer, lengthBytes.byteOffset, 8).getBigUint64(0, true);
  if (headerLength > BigInt(source.size - 8)) {
    malformed(file, `the header length is ${headerLength} bytes but only ${source.size - 8} follow it`);
  }
  if (headerLength > BigInt(maxHeaderBytes)) {
    malformed(file, `the header length is ${headerLength} bytes, wanted at most ${maxHeaderBytes}`);
  }
  const dataStart = 8 + Number(headerLength);
  const text = decodeHeader(file, await readExactly(source, 8, Number(headerLength), "header"));
  const header = parseHeader(file, text, source.size - dataStart, aligned);
  const entries = new Map(header.entries.map((entry) => [entry.name, entry]));

  const find = (name: string): TensorEntry => {
    const entry = entries.get(name);
    if (entry) return entry;
    const some = [...entries.keys()].slice(0, 8).join(", ");
    throw new RangeError(
      `Cannot read tensor ${JSON.stringify(name)} of ${
        JSON.stringify(file)
      }: it holds ${entries.size} tensors: ${some}, ...`,
    );
  };
  const read = (name: string) => {
    const { begin, end } = find(name);
    return readExactly(source, dataStart + begin, end - begin, `tensor ${JSON.stringify(name)}`);
  };
  return {
    name: file,
    metadata: header.metadata,
    names: [...entries.keys()],
    has: (name) => entries.has(name),
    info(name) {
      const { dtype, shape, begin, end } = find(name);
      return { dtype, shape, bytes: end - begin };
    },
    // async, so that a missing name rejects like every other failure of a read
    read: async (name) => await read(name),
    async readFloat(name) {
      const { dtype } = find(name);
      if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
        throw new TypeError(
          `Cannot read tensor ${JSON.stringify(name)} of ${
            JSON.stringify(file)
          } as floats: its dtype is ${dtype}, wanted F32, F16 or BF16`,
        );
      }
      return decodeFloats(dtype, await read(name));
    },
  };
}

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
  const out = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}

/** Little-endian bytes of a floating dtype as float32 values. */
export function decodeFloats(dtype: "F32" | "F16" | "BF16", bytes: Uint8Array): Float32Array {
  // Typed arrays must begin at a multiple of their element size; a slice of a larger buffer may not.
  const own = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  if (dtype === "F32") return new Float32Array(own.buffer, own.byteOffset, own.length / 4);
  const words = new Uint16Array(own.buffer, own.byteOffset, own.length / 2);
  return dtype === "F16" ? halfToFloat(words) : bfloat16ToFloat(words);
}

async function readExactly(source: ByteSource, offset: number, length: number, what: string): Promise<Uint8Array> {
  const bytes = await source.read(offset, length);
  if (bytes.length !== length) {
    malformed(source.name, `it ended early: ${what} is ${length} bytes at byte ${offset}, found ${bytes.length}`);
  }
  return bytes;
}

function decodeHeader(file: string, bytes: Uint8Array): string {
  if (bytes[0] !== 0x7b) {
    malformed(file, `the header is not a JSON object: it begins with byte ${bytes[0]}, wanted "{"`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return malformed(file, "the header is not UTF-8 text");
  }
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
