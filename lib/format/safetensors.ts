/** Safetensors files: read one tensor at a time from any `ByteSource`. */
import { bfloat16InPlace, bfloat16ToFloat, halfInPlace, halfToFloat } from "../tensor/half.ts";
import { type ByteSource, readInto } from "./byte_source.ts";
import {
  type Dtype,
  dtypeBytes,
  malformed,
  maxHeaderBytes,
  parseHeader,
  type TensorEntry,
} from "./safetensors_header.ts";
import type { TensorSource } from "./tensor_source.ts";

export type { Dtype } from "./safetensors_header.ts";
export { encodeSafetensors, joinChunks, type TensorBytes } from "./safetensors_write.ts";
export type { TensorInfo } from "./tensor_source.ts";

/** An open file: the header is in memory, each tensor is read when asked for. */
export interface SafetensorsFile extends TensorSource {
  readonly metadata: Readonly<Record<string, string>>;
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
  const floats = async (name: string, entry: TensorEntry, first: number, into: Float32Array) => {
    const dtype = floatDtype(file, name, entry.dtype);
    // The bytes go into the upper part of the values, which are then widened in place: no second buffer.
    const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    const packed = bytes.subarray(bytes.length - into.length * dtypeBytes[dtype]);
    const offset = dataStart + entry.begin + first * dtypeBytes[dtype];
    const count = await readInto(source, offset, packed);
    if (count !== packed.length) endedEarly(source, offset, packed.length, count, `tensor ${JSON.stringify(name)}`);
    if (dtype === "BF16") bfloat16InPlace(into);
    else if (dtype === "F16") halfInPlace(into);
    return into;
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
    async read(name) {
      const { begin, end } = find(name);
      return await readExactly(source, dataStart + begin, end - begin, `tensor ${JSON.stringify(name)}`);
    },
    async readFloat(name, into) {
      const entry = find(name);
      const length = (entry.end - entry.begin) / dtypeBytes[floatDtype(file, name, entry.dtype)];
      if (into && into.length !== length) {
        throw new TypeError(
          `Cannot read tensor ${JSON.stringify(name)} of ${
            JSON.stringify(file)
          }: "into" holds ${into.length} values, wanted ${length}`,
        );
      }
      return await floats(name, entry, 0, into ?? new Float32Array(length));
    },
    async readRows(name, from, to) {
      const entry = find(name);
      const where = `Cannot read rows [${from}, ${to}) of tensor ${JSON.stringify(name)} of ${JSON.stringify(file)}`;
      if (entry.shape.length !== 2) {
        throw new TypeError(`${where}: its shape is [${entry.shape}], wanted two dimensions`);
      }
      const [rows, cols] = entry.shape;
      if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from > to || to > rows) {
        throw new RangeError(`${where}: it has ${rows} rows, wanted 0 <= from <= to <= ${rows}`);
      }
      floatDtype(file, name, entry.dtype);
      return await floats(name, entry, from * cols, new Float32Array((to - from) * cols));
    },
  };
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
  return bytes.length === length ? bytes : endedEarly(source, offset, length, bytes.length, what);
}

function endedEarly({ name }: ByteSource, offset: number, length: number, found: number, what: string): never {
  malformed(name, `it ended early: ${what} is ${length} bytes at byte ${offset}, found ${found}`);
}

function floatDtype(file: string, name: string, dtype: Dtype): "F32" | "F16" | "BF16" {
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return dtype;
  throw new TypeError(
    `Cannot read tensor ${JSON.stringify(name)} of ${
      JSON.stringify(file)
    } as floats: its dtype is ${dtype}, wanted F32, F16 or BF16`,
  );
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
