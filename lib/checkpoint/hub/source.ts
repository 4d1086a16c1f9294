/** Where a checkpoint comes from: a local folder, or the Hugging Face Hub by way of its cache. */
import { basename, dirname, isAbsolute, join } from "@std/path";
import { openSafetensors } from "../../format/safetensors.ts";
import { openShards, type TensorSource } from "../../format/shards.ts";
import { checkNoPointer, fileSource, ifThere, parseJsonObject } from "../files/file_source.ts";
import { isCommit } from "./cache.ts";
import { fetchSnapshot, type HubOptions } from "./hub.ts";

/** An open checkpoint: config and headers are read and checked, weights are read when asked for. */
export interface CheckpointSource {
  /** What rows and messages call it: the Hub id, or the path as it was given. */
  readonly name: string;
  /** Its folder on this machine. */
  readonly dir: string;
  /** The commit, for what comes from the Hub or lies in its cache. */
  readonly revision?: string;
  /** Why the Hub was not asked, when what its cache holds is used instead. */
  readonly offline?: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: TensorSource;
  has(file: string): Promise<boolean>;
  /** A JSON object. Rejects with `SyntaxError` that names the file. */
  readJson(file: string): Promise<Record<string, unknown>>;
  readText(file: string): Promise<string>;
}

/**
 * Opens the checkpoint at `location`: a folder when it exists or looks like a path (is absolute, starts with ".", or has other
 * than one "/"), else the Hub id "org/name" or "org/name@revision". Throws `RangeError` (nothing there that can be
 * opened), `SyntaxError` (malformed files, bytes that do not match their hash) and what `fetchSnapshot` throws.
 *
 * @example
 * ```ts
 * import { openSource } from "quant-dllm";
 *
 * // Also opens what no family of this kit describes.
 * const { config, tensors } = await openSource("data/nano-llada");
 * console.log(config.model_type);
 * for (const name of tensors.names) console.log(name, tensors.info(name).dtype, tensors.info(name).shape);
 * ```
 */
export async function openSource(
  location: string,
  options: HubOptions & { readonly onNotice?: (line: string) => void } = {},
): Promise<CheckpointSource> {
  const [id, ...rest] = location.split("@");
  const isPath = isAbsolute(location) || location.startsWith(".") || id.split("/").length !== 2 || id.includes("\\");
  if (isPath || await isFolder(location)) return await openFolder(location, options);
  const named = rest.length > 0 ? rest.join("@") : undefined;
  if (named !== undefined && options.revision !== undefined && named !== options.revision) {
    throw new RangeError(
      `Cannot open ${location}: it names the revision ${named}, but the option says ${options.revision}; give one`,
    );
  }
  const wanted = { ...options, revision: named ?? options.revision };
  const { dir, revision, offline } = await fetchSnapshot(id, wanted).catch((error) => {
    // Whoever mistyped a path should not have to guess why a Hub is spoken of.
    if (error instanceof Error) error.message += `; nor is there a folder ${JSON.stringify(id)} here`;
    throw error;
  });
  return {
    ...await openFolder(dir, { ...options, name: id }),
    revision,
    ...(offline === undefined ? {} : { offline }),
  };
}

async function openFolder(
  dir: string,
  { name = dir, onNotice }: { readonly name?: string; readonly onNotice?: (line: string) => void },
): Promise<CheckpointSource> {
  if (!await isFolder(dir)) {
    throw new RangeError(
      `Cannot open ${
        JSON.stringify(name)
      }: there is no such folder; wanted a checkpoint folder or an id of the Hub, "org/name"`,
    );
  }
  dir = dir.replace(/(?<=.)[/\\]+$/, "");
  const files: string[] = [];
  for await (const entry of Deno.readDir(dir)) if (!entry.isDirectory) files.push(entry.name);
  const has = (file: string) => files.includes(file);
  const refuse = (what: string): never => {
    const shown = files.sort().slice(0, 20).join(", ") + (files.length > 20 ? ", ..." : "");
    throw new RangeError(`Cannot open ${JSON.stringify(name)}: ${what}; it has ${shown || "no files"}`);
  };
  const root = await Deno.realPath(dir);
  const path = async (file: string) => {
    if (!has(file)) refuse(`it lacks ${JSON.stringify(file)}`);
    await checkInside(root, dir, file);
    return join(dir, file);
  };
  const readText = async (file: string) => {
    const text = await Deno.readTextFile(await path(file));
    checkNoPointer(join(dir, file), text);
    return text;
  };
  const readJson = async (file: string) => parseJsonObject(join(dir, file), await readText(file));
  const shard = async (file: string) => {
    if (has(file)) return await fileSource(await path(file));
    throw new SyntaxError(
      `Cannot read "${join(dir, index)}": "weight_map" names ${JSON.stringify(file)}, which is not in the folder; ` +
        `fetch the missing file or write the index again`,
    );
  };
  if (!has("config.json")) refuse("it lacks config.json");
  if (!has(single) && !has(index)) {
    const pickles = files.some((file) => /\.(bin|pt|pth|ckpt)$/.test(file));
    const remedy = pickles
      ? "; .bin and .pt files are not read: save the model again as safetensors (safe_serialization=True)"
      : "";
    refuse(`it has neither ${single} nor ${index}${remedy}`);
  }
  const revision = basename(dirname(root)) === "snapshots" && isCommit(basename(root)) ? basename(root) : undefined;
  if (has(single) && has(index) && revision === undefined) { // of a commit that has both, everyone loads the one file
    refuse(`it has both ${single} and ${index}: remove the one that is not meant`);
  }
  const config = await readJson("config.json");
  const tensors = has(single)
    ? await openSafetensors(await shard(single))
    : await openShards(join(dir, index), await readText(index), shard, onNotice);
  return {
    name,
    dir,
    ...(revision === undefined ? {} : { revision }),
    config,
    tensors,
    has: (file) => Promise.resolve(has(file)),
    readJson,
    readText,
  };
}

const [single, index] = ["model.safetensors", "model.safetensors.index.json"];

/**
 * Refuses a link that leads nowhere, and in a downloaded snapshot one that leaves it: `snapshots/COMMIT/file` may lead to a blob of the same repository.
 * Links in a folder of the user's own are the user's.
 */
async function checkInside(root: string, dir: string, file: string): Promise<void> {
  const real = await Deno.realPath(join(dir, file)).catch((cause) => {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new RangeError(`Cannot open "${join(dir, file)}": it is a link to nothing; fetch the checkpoint again`, {
      cause,
    });
  });
  const repo = dirname(dirname(root));
  const cached = basename(dirname(root)) === "snapshots" && /^(models|datasets)--/.test(basename(repo));
  if (!cached || dirname(real) === root || dirname(real) === join(repo, "blobs")) return;
  throw new RangeError(
    `Cannot open "${join(dir, file)}": it is a link to ${real}, outside of the downloaded snapshot; fetch it again`,
  );
}

const isFolder = async (path: string): Promise<boolean> => (await ifThere(Deno.stat(path)))?.isDirectory ?? false;
