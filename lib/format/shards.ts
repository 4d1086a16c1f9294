/** Sharded safetensors: an index that says which file holds which tensor, and the files as one `TensorSource`. */
import type { ByteSource } from "./byte_source.ts";
import { parseStrictJson } from "./json.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";
import { malformed } from "./safetensors_header.ts";
import type { TensorSource } from "./tensor_source.ts";

export type { TensorInfo, TensorSource } from "./tensor_source.ts";

/** What model.safetensors.index.json says. */
export interface ShardIndex {
  /** File by tensor name. */
  readonly files: ReadonlyMap<string, string>;
  /** The files it names, sorted. */
  readonly shards: readonly string[];
  /** Bytes of all tensors, when the index says so in a way that can be read: tools leave it out, null, or wrong. */
  readonly totalSize: number | undefined;
}

/**
 * Parses the text of an index file. Throws `SyntaxError` that names the file and the field: a shard must be the plain
 * name of a .safetensors file, so that no index reaches outside its folder.
 */
export function parseShardIndex(indexName: string, text: string): ShardIndex {
  let json: unknown;
  try {
    json = parseStrictJson(text);
  } catch (error) {
    malformed(indexName, `it is not valid JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  const { weight_map: map, metadata } = isObject(json) ? json : {};
  if (!isObject(map)) return malformed(indexName, `"weight_map" is ${shown(map)}, wanted an object of file names`);
  const files = new Map<string, string>();
  for (const [tensor, file] of Object.entries(map)) {
    const where = `"weight_map" of ${shown(tensor)} is ${shown(file)}`;
    if (typeof file !== "string" || !/^[^/\\:\0]+\.safetensors$/.test(file) || file.startsWith(".")) {
      malformed(indexName, `${where}, wanted the plain name of a .safetensors file beside the index`);
    }
    files.set(tensor, file);
  }
  if (files.size === 0) malformed(indexName, `"weight_map" names no tensor`);
  const totalSize = isObject(metadata) ? metadata.total_size : undefined;
  const known = Number.isSafeInteger(totalSize) && totalSize as number >= 0;
  const shards = [...new Set(files.values())].sort();
  return { files, shards, totalSize: known ? totalSize as number : undefined };
}

/**
 * Opens every shard that an index names: headers only, so that 16 GB of weights cost a few megabytes. Index and headers
 * must agree on every tensor before any is read; a total size that is off is told. Throws `SyntaxError` that names the file
 * and the field; what `open` throws passes through.
 */
export async function openShards(
  indexName: string,
  indexText: string,
  open: (file: string) => Promise<ByteSource>,
  onNotice?: (line: string) => void,
): Promise<TensorSource> {
  const index = parseShardIndex(indexName, indexText);
  const holders = new Map<string, SafetensorsFile>();
  let bytes = 0;
  for (const shard of index.shards) {
    const file = await openSafetensors(await open(shard));
    for (const tensor of file.names) {
      const wanted = index.files.get(tensor);
      if (wanted !== shard) {
        const instead = wanted === undefined ? "which it does not name" : `which it places in ${shown(wanted)}`;
        malformed(indexName, `${shown(shard)} holds the tensor ${shown(tensor)}, ${instead}`);
      }
      holders.set(tensor, file);
      bytes += file.info(tensor).bytes;
    }
  }
  for (const [tensor, shard] of index.files) {
    if (!holders.has(tensor)) {
      malformed(
        indexName,
        `"weight_map" places the tensor ${shown(tensor)} in ${shown(shard)}, which does not hold it`,
      );
    }
  }
  // Every tensor is where the index says: what it says of their sum decides nothing.
  if (index.totalSize !== bytes) {
    const found = index.totalSize === undefined ? "not given" : `${index.totalSize}`;
    onNotice?.(
      `${indexName}: "metadata.total_size" is ${found}, the shards hold ${bytes} bytes; all tensors are there`,
    );
  }
  const find = (tensor: string): SafetensorsFile => {
    const file = holders.get(tensor);
    if (file) return file;
    const some = [...holders.keys()].slice(0, 8).join(", ");
    throw new RangeError(
      `Cannot read tensor ${shown(tensor)} of ${shown(indexName)}: it names ${holders.size} tensors: ${some}, ...`,
    );
  };
  return {
    name: indexName,
    names: [...holders.keys()],
    has: (tensor) => holders.has(tensor),
    info: (tensor) => find(tensor).info(tensor),
    // async, so that a missing name rejects like every other failure of a read
    read: async (tensor) => await find(tensor).read(tensor),
    readFloat: async (tensor, into) => await find(tensor).readFloat(tensor, into),
    readRows: async (tensor, from, to) => await find(tensor).readRows(tensor, from, to),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value in a message, cut short. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "missing";
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
