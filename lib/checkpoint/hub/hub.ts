/** Checkpoints and files of the Hugging Face Hub: pinned to a commit, fetched as needed, kept in the shared cache. */
import { join } from "@std/path";
import { companions } from "./companions.ts";
import { parseShardIndex } from "../../format/shards.ts";
import { type RepoType, sizeOfFile } from "./cache.ts";
import { type HubFile, Unreachable } from "./download.ts";
import { type HubOptions, openRepo, type Repo } from "./repo.ts";

export type { HubOptions, HubProgress } from "./repo.ts";

/** A checkpoint in the cache. */
export interface Snapshot {
  readonly dir: string;
  /** The commit. */
  readonly revision: string;
  /** Why the Hub was not asked, when it was not. */
  readonly offline?: string;
}

const [weights, index] = ["model.safetensors", "model.safetensors.index.json"];

/** The files of a checkpoint beside its weights. */
const wanted = [/^config\.json$/, /^README(\.\w+)?$/, ...companions];

/**
 * Brings the checkpoint `org/name` into the cache: config, tokenizer and the safetensors that its index names. Where the
 * Hub cannot be reached, a checkpoint that is whole in the cache is used, and the result says so. Throws `RangeError` (no
 * such repository, no access, no safetensors, no room), `SyntaxError` (bytes that do not match their hash) or `Error`
 * (not reached, and not whole in the cache).
 */
export async function fetchSnapshot(id: string, options: HubOptions = {}): Promise<Snapshot> {
  const repo = await openRepo(id, "model", options);
  const { revision, cache } = repo;
  let commit: string;
  let listed: HubFile[];
  try {
    commit = await repo.commit();
    listed = await repo.list(commit);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    return await cachedSnapshot(repo, error);
  }
  const files = listed.filter(({ path }) => wanted.some((pattern) => pattern.test(path)));
  const byName = new Map(listed.map((file) => [file.path, file]));
  const single = byName.get(weights);
  if (single) files.push(single);
  else if (byName.has(index)) {
    files.push(byName.get(index)!);
    await repo.fetchAll(commit, files.slice(-1));
    const path = join(cache.snapshot(commit), index);
    for (const shard of parseShardIndex(path, await Deno.readTextFile(path)).shards) {
      const file = byName.get(shard);
      if (!file) throw new SyntaxError(`Cannot read "${path}": it names ${shard}, which ${id} does not have`);
      files.push(file);
    }
  } else {
    const has = listed.map(({ path }) => path).slice(0, 20).join(", ");
    throw new RangeError(
      `Cannot fetch ${id}: it has neither ${weights} nor ${index}, but ${
        has || "nothing"
      }; weights are read from safetensors`,
    );
  }
  await repo.fetchAll(commit, files, options.onProgress);
  await cache.setRef(revision, commit); // last: offline, a ref stands for a checkpoint that is whole
  return { dir: cache.snapshot(commit), revision: commit };
}

/**
 * The path in the cache of one file of a repository, which is fetched when it is not there. Throws like `fetchSnapshot`;
 * also `RangeError` when the repository has no such file.
 */
export async function openHubFile(
  id: string,
  path: string,
  { type = "model", ...options }: HubOptions & { readonly type?: RepoType } = {},
): Promise<string> {
  if (path.split(/[/\\]/).some((part) => part === "" || part === "." || part === "..") || /[\\:\0]/.test(path)) {
    throw new RangeError(`Cannot fetch ${JSON.stringify(path)} of ${id}: wanted a path inside the repository`);
  }
  const repo = await openRepo(id, type, options);
  const { revision, cache } = repo;
  let commit: string;
  let file: HubFile;
  try {
    commit = await repo.commit();
    file = await repo.info(commit, path);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    const known = await cache.commitOf(revision);
    const there = known && join(cache.snapshot(known), path);
    if (there && await sizeOfFile(there) !== undefined) return there;
    throw notCached(repo, error, path);
  }
  await repo.fetchAll(commit, [file], options.onProgress);
  await cache.setRef(revision, commit);
  return join(cache.snapshot(commit), path);
}

/** The checkpoint as the cache has it. Throws `Error` when it is not whole. */
async function cachedSnapshot(repo: Repo, reason: Unreachable): Promise<Snapshot> {
  const { cache, revision } = repo;
  const commit = await cache.commitOf(revision);
  if (commit === undefined) throw notCached(repo, reason, "that revision");
  const dir = cache.snapshot(commit);
  const has = async (file: string) => await sizeOfFile(join(dir, file)) !== undefined;
  const needed = ["config.json"];
  if (await has(weights) || !await has(index)) needed.push(weights);
  else needed.push(...parseShardIndex(join(dir, index), await Deno.readTextFile(join(dir, index))).shards);
  for (const file of needed) if (!await has(file)) throw notCached(repo, reason, file);
  return { dir, revision: commit, offline: reason.message };
}

function notCached({ id, type, revision, cache }: Repo, reason: Unreachable, missing: string): Error {
  const kind = type === "dataset" ? " --repo-type dataset" : "";
  return new Error(
    `${reason.message}, and ${cache.dir} lacks ${missing}; go online, or fetch it elsewhere with ` +
      `"huggingface-cli download ${id}${kind} --revision ${revision}" and copy the cache`,
    { cause: reason },
  );
}
