/** The header of a safetensors file: what it may say, checked field by field before a tensor is touched. */
import { parseStrictJson } from "./json.ts";

/** Bytes per element of every dtype this kit reads and writes. */
export const dtypeBytes = { F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 } as const;

export type Dtype = keyof typeof dtypeBytes;

/** Where one tensor lies: `[begin, end)` in bytes from the start of the data, behind the header. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the data, so that reading them in turn is one pass over the file. */
  readonly entries: readonly TensorEntry[];
}

/** The largest header the format allows, in bytes. */
export const maxHeaderBytes = 100_000_000;

/**
 * Parses and checks the header text of `file`, whose tensor data is `dataBytes` long: the entries must tile the data
 * exactly, each as long as shape x dtype says. Throws `SyntaxError` that names the file, the field and what was wanted
 * there. `aligned` also refuses tensors that do not begin at a multiple of their element size.
 */
export function parseHeader(file: string, text: string, dataBytes: number, aligned = false): SafetensorsHeader {
  const fail = (what: string): never => malformed(file, what);
  let json: unknown;
  try {
    json = parseStrictJson(text);
  } catch (cause) {
    fail(`the header is not valid JSON: ${(cause as Error).message.slice(0, 200)}`);
  }
  if (!isObject(json)) return fail(`the header is ${kindOf(json)}, wanted a JSON object of tensors`);
  let metadata: Record<string, string> = {};
  const entries: TensorEntry[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === "__metadata__") metadata = checkMetadata(value, fail);
    else entries.push(checkEntry(name, value, dataBytes, aligned, fail));
  }
  checkTiling(entries.sort((a, b) => a.begin - b.begin || a.end - b.end), dataBytes, fail);
  return { metadata, entries };
}

/** Throws the `SyntaxError` of every malformed file, which also says what to do about it. */
export function malformed(file: string, what: string): never {
  throw new SyntaxError(`Cannot read ${JSON.stringify(file)}: ${what}; fetch or write the file again`);
}

type Fail = (what: string) => never;

function checkMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (!isObject(value)) return fail(`"__metadata__" is ${kindOf(value)}, wanted an object of strings`);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") fail(`"__metadata__" field ${quoted(key)} is ${kindOf(text)}, wanted a string`);
  }
  return value as Record<string, string>;
}

function checkEntry(name: string, value: unknown, dataBytes: number, aligned: boolean, fail: Fail): TensorEntry {
  const where = `tensor ${quoted(name)}`;
  if (!isObject(value)) return fail(`${where} is ${kindOf(value)}, wanted an object with dtype, shape, data_offsets`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(dtypeBytes, dtype)) {
    const found = typeof dtype === "string" ? quoted(dtype) : kindOf(dtype);
    return fail(`${where} has the dtype ${found}, wanted one of ${Object.keys(dtypeBytes).join(", ")}`);
  }
  const size = dtypeBytes[dtype as Dtype];
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    return fail(`${where} has the shape ${shown(shape)}, wanted an array of non-negative integers`);
  }
  let bytes = size;
  for (const n of shape) {
    bytes *= n;
    if (!Number.isSafeInteger(bytes)) fail(`${where} has the shape ${shown(shape)}, whose size overflows`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[0] > offsets[1]) {
    return fail(`${where} has the data_offsets ${shown(offsets)}, wanted [begin, end] in bytes with begin <= end`);
  }
  const [begin, end] = offsets;
  if (end > dataBytes) {
    fail(`${where} has the data_offsets ${shown(offsets)}, beyond the ${dataBytes} bytes of data that the file holds`);
  }
  if (end - begin !== bytes) {
    fail(
      `${where} has the data_offsets ${shown(offsets)}, ${end - begin} bytes, wanted ${bytes} for ${dtype} ${
        shown(shape)
      }`,
    );
  }
  if (aligned && begin % size !== 0) {
    fail(`${where} begins at byte ${begin}, wanted a multiple of ${size} for ${dtype}`);
  }
  return { name, dtype: dtype as Dtype, shape, begin, end };
}

function checkTiling(sorted: readonly TensorEntry[], dataBytes: number, fail: Fail): void {
  let at = 0;
  let previous = "the start of the data";
  for (const { name, begin, end } of sorted) {
    const where = `data_offsets of tensor ${quoted(name)}`;
    if (begin < at) fail(`${where} overlap ${previous}: it begins at byte ${begin}, wanted ${at}`);
    if (begin > at) fail(`${where} leave a hole after ${previous}: it begins at byte ${begin}, wanted ${at}`);
    at = end;
    previous = `tensor ${quoted(name)}`;
  }
  if (at !== dataBytes) {
    fail(`the data is ${dataBytes} bytes long but the data_offsets end at byte ${at}, after ${previous}`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : `of type ${typeof value}`;
}

/** A value in a message, cut short: a header may hold megabytes in one field. */
function shown(value: unknown): string {
  if (value === undefined) return "(missing)";
  const text = JSON.stringify(Array.isArray(value) ? value.slice(0, 12) : value);
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

function quoted(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 117)}...` : name);
}
