/** Writing a checkpoint folder of any size: sharded safetensors in the layout of the Hugging Face Hub, a tensor in memory at a time. */
import { join } from "@std/path";
import { encodeSafetensors } from "../../format/safetensors.ts";
import { type Dtype, dtypeBytes, parseHeader } from "../../format/safetensors_header.ts";
import { writeFileAtomic } from "./file_source.ts";

/** What a header says of a tensor: all that the layout of the files follows from. */
export interface TensorHead {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** The little-endian bytes of a tensor, at once or in pieces. */
export type TensorRead = (name: string) => Promise<Uint8Array> | AsyncIterable<Uint8Array>;

export interface ShardOptions {
  /** Called once per tensor, when its place in a file has come. */
  readonly read: TensorRead;
  /** Written last: a folder with a config.json is complete. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Largest file, header included; a tensor that is larger gets a file of its own. 2 GiB by default. */
  readonly maxShardBytes?: number;
  /** Of every shard; `{ format: "pt" }` by default, which transformers asks for. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Remove the unfinished files of a killed run instead of refusing a folder that has some: for callers who know that no other run writes there. */
  readonly replace?: boolean;
  readonly signal?: AbortSignal;
  /** Bytes of tensors on disk. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** The files that a list of tensors is written to. */
export interface ShardPlan {
  /** `[file, its tensors]` in order. */
  readonly shards: readonly (readonly [string, readonly TensorHead[]])[];
  /** Bytes of all tensors. */
  readonly totalBytes: number;
  /** Every file, in the order of writing. */
  readonly files: readonly string[];
}

/** Where the tensors go: filled up in the given order; `model.safetensors` when one file holds them all. Throws `RangeError` when there are none. */
export function planShards(tensors: readonly TensorHead[], maxShardBytes = 2 ** 31): ShardPlan {
  if (tensors.length === 0) throw new RangeError("Cannot write a checkpoint: there are no tensors");
  if (!(maxShardBytes > 0)) {
    throw new RangeError(`Cannot write shards: maxShardBytes is ${maxShardBytes}, wanted a positive number`);
  }
  const shards: TensorHead[][] = [];
  let room = 0, totalBytes = 0;
  for (const tensor of tensors) {
    const size = sizeOf(tensor);
    totalBytes += size;
    const taken = size + entryBytes(tensor);
    if (taken > room || shards.length === 0) {
      shards.push([]);
      room = maxShardBytes - SHARED_HEADER;
    }
    shards.at(-1)!.push(tensor);
    room -= taken;
  }
  const digits = (n: number) => String(n).padStart(5, "0");
  const file = (i: number) =>
    shards.length === 1 ? SINGLE : `model-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`;
  const names = shards.map((_, i) => file(i));
  return {
    shards: shards.map((list, i) => [names[i], list]),
    totalBytes,
    files: [...names, ...(names.length > 1 ? [INDEX] : []), CONFIG],
  };
}

/**
 * Writes `tensors` to the folder `dir`: the shards, model.safetensors.index.json where there are several, config.json last. The bytes go
 * to disk as they come. Every file is written under a temporary name and renamed, so that after
 * a failure nothing looks whole. Equal lists with equal bytes give equal files. Put files that belong beside the weights (tokenizer, model card) there
 * before.
 *
 * @throws RangeError when the folder holds a complete checkpoint, weights under other names or another run's unfinished files, TypeError when `read` gives another number of bytes than
 * dtype and shape say, Error that names the file when it cannot be written; what `read` throws passes through.
 */
export async function writeShards(
  dir: string,
  tensors: readonly TensorHead[],
  { read, config, maxShardBytes, metadata = { format: "pt" }, replace = false, signal, onProgress }: ShardOptions,
): Promise<ShardPlan> {
  const plan = planShards(tensors, maxShardBytes);
  const { shards, totalBytes } = plan;
  const heads = shards.map(([, list]) => headOf(list, metadata)); // faults of the list show before a byte is written
  await Deno.mkdir(dir, { recursive: true });
  await refuseOthers(dir, new Set(plan.files), replace);
  let done = 0;
  for (const [i, [file]] of shards.entries()) {
    const { head, order } = heads[i];
    await writeFile(
      join(dir, file),
      async function* () {
        yield head;
        for (const tensor of order) {
          for await (const piece of wholeTensor(tensor, read)) {
            yield piece;
            onProgress?.(done += piece.length, totalBytes);
          }
        }
      }(),
      { signal },
    );
  }
  if (shards.length > 1) {
    const places = shards.flatMap(([file, list]) => list.map(({ name }) => [name, file] as const));
    // Written field by field: an object would move names that look like integers to the front.
    const map = places.sort(([a], [b]) => a < b ? -1 : 1).map(([name, file]) =>
      `    ${JSON.stringify(name)}: ${JSON.stringify(file)}`
    );
    const total = `{\n    "total_size": ${totalBytes}\n  }`;
    await writeText(
      join(dir, INDEX),
      `{\n  "metadata": ${total},\n  "weight_map": {\n${map.join(",\n")}\n  }\n}\n`,
      { signal },
    );
  }
  await writeText(join(dir, CONFIG), JSON.stringify(config, null, 2) + "\n", { signal });
  return plan;
}

/** `writeFileAtomic` whose errors name the file: those of the system ("No space left on device") do not. */
export async function writeFile(
  path: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  let reading: { error: unknown } | undefined;
  const watched = async function* () {
    try {
      yield* chunks;
    } catch (error) {
      reading = { error };
      throw error;
    }
  };
  try {
    await writeFileAtomic(path, watched(), { signal });
  } catch (cause) {
    if (reading || signal?.aborted) throw cause;
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `Cannot write "${path}": ${what}; free space on that disk or choose another folder, then run again`,
      { cause },
    );
  }
}

/** A text file through `writeFile`. */
export const writeText = (path: string, text: string, options?: { readonly signal?: AbortSignal }): Promise<void> =>
  writeFile(path, [new TextEncoder().encode(text)], options);

const [SINGLE, INDEX, CONFIG] = ["model.safetensors", "model.safetensors.index.json", "config.json"];
/** Bytes that a header has besides its entries: length, braces, metadata, padding. */
const SHARED_HEADER = 1024;

const sizeOf = ({ dtype, shape }: TensorHead): number => shape.reduce((product, n) => product * n, dtypeBytes[dtype]);

/** What an entry takes in a header, at most. */
const entryBytes = ({ name, shape }: TensorHead): number => 3 * name.length + 16 * shape.length + 100;

/** The header of a shard and its tensors in the order of the data. */
function headOf(list: readonly TensorHead[], metadata: Readonly<Record<string, string>>) {
  // Stands in for the bytes, of which only the length counts here: memory that nobody touches takes none.
  const untouched = new Uint8Array(Math.max(...list.map(sizeOf)));
  const entries = list.map((t) => [t.name, { ...t, bytes: untouched.subarray(0, sizeOf(t)) }] as const);
  const [head] = encodeSafetensors(entries, metadata);
  const text = new TextDecoder().decode(head.subarray(8));
  const total = list.reduce((sum, t) => sum + sizeOf(t), 0);
  return { head, order: parseHeader("the header", text, total).entries };
}

/** The pieces of a tensor, whose lengths must add up. */
async function* wholeTensor(tensor: TensorHead, read: TensorRead): AsyncIterable<Uint8Array> {
  const wanted = sizeOf(tensor);
  const given = read(tensor.name);
  let found = 0;
  for await (const piece of Symbol.asyncIterator in given ? given : [await given]) {
    found += piece.length;
    if (found <= wanted) yield piece;
  }
  if (found === wanted) return;
  throw new TypeError(
    `Cannot write tensor "${tensor.name}": it has ${found} bytes, wanted ${wanted} for ${tensor.dtype} [${tensor.shape}]`,
  );
}

/** Refuses a folder whose files would be overwritten, or would lie beside ours as if they belonged to them. */
async function refuseOthers(dir: string, ours: ReadonlySet<string>, replace: boolean): Promise<void> {
  const files = (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
  if (files.includes(CONFIG)) {
    throw new RangeError(`Cannot write to "${dir}": it holds a complete checkpoint; choose another folder`);
  }
  for (const name of files) {
    if (/^model.*\.[0-9a-f-]{36}\.part$/.test(name)) {
      if (replace) await Deno.remove(join(dir, name));
      else {
        throw new RangeError(
          `Cannot write to "${dir}": it holds "${name}" of a run that writes there, or was killed; remove it when none does`,
        );
      }
    }
    if (/^model.*\.safetensors(\.index\.json)?$/.test(name) && !ours.has(name)) {
      throw new RangeError(
        `Cannot write to "${dir}": it holds "${name}", which is not one of the files to come; choose another folder, or remove it`,
      );
    }
  }
}
