/** One repository of the Hub: what it says of itself, through `@huggingface/hub`, and its files brought into the cache. */
import { join } from "@std/path";
import { datasetInfo, type ListFileEntry, listFiles, modelInfo, pathsInfo } from "@huggingface/hub";
import { CachedRepo, hubPlace, isCommit, type RepoType, sizeOfFile } from "./cache.ts";
import { freeDisk } from "../files/free_space.ts";
import { download, hubFetch, type HubFile, Unreachable } from "./download.ts";

export interface HubOptions {
  /** Branch, tag or commit; default `main`. */
  readonly revision?: string;
  /** Access token; default `HF_TOKEN`, then what `huggingface-cli login` stored. */
  readonly token?: string;
  /** Default `HF_HUB_CACHE`, then `hub` in `HF_HOME`, then ~/.cache/huggingface/hub. */
  readonly cacheDir?: string;
  /** Default `HF_ENDPOINT`, then https://huggingface.co. */
  readonly endpoint?: string;
  readonly onProgress?: (progress: HubProgress) => void;
  readonly signal?: AbortSignal;
  readonly fetch?: typeof fetch;
  /** Milliseconds before a cut download is tried again; doubles with each try that brings nothing. */
  readonly retryMs?: number;
  /** Milliseconds without a byte after which a connection counts as cut. */
  readonly stallMs?: number;
}

/** How far all files of one call are; what the cache held already counts from the start. */
export interface HubProgress {
  readonly file: string;
  /** Bytes there, and bytes wanted. */
  readonly bytes: number;
  readonly total: number;
}

export type Repo = Awaited<ReturnType<typeof openRepo>>;

/** What the Hub says of one repository, and how its files come here. */
export async function openRepo(id: string, type: RepoType, options: HubOptions) {
  const { revision = "main", signal, retryMs, stallMs } = options;
  if (!/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(id) || /--|\.\./.test(id)) {
    throw new RangeError(`Cannot fetch ${JSON.stringify(id)}: wanted an id of the Hub such as "GSAI-ML/LLaDA-8B-Base"`);
  }
  if (!/^[\w-][\w./-]*$/.test(revision) || /\.\.|\/\/|\/$|\.(part|lock)$/.test(revision)) {
    throw new RangeError(
      `Cannot fetch ${id}: the revision is ${JSON.stringify(revision)}, wanted a branch, tag or commit`,
    );
  }
  const place = await hubPlace(options);
  const page = `${place.endpoint}/${type === "dataset" ? "datasets/" : ""}${id}`;
  const what = `${id} at revision ${revision}`;
  const cache = new CachedRepo(place.cacheDir, { type, id });
  const online = hubFetch({ fetch: options.fetch, token: place.token, signal, page, what });
  const fetch: typeof globalThis.fetch = place.offline
    ? () => Promise.reject(new Unreachable(`Cannot fetch ${what}: HF_HUB_OFFLINE is set`))
    : online;
  const shared = { repo: { type, name: id }, hubUrl: place.endpoint, fetch };
  /** Names the Hub when what came is no answer of one: a proxy's page, say. */
  const answer = async <T>(ask: () => Promise<T>): Promise<T> => {
    try {
      return await ask();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
      throw new SyntaxError(
        `Cannot fetch ${what}: the answer of ${place.endpoint} is not one of a Hub (${error.message}); check HF_ENDPOINT`,
        { cause: error },
      );
    }
  };

  return {
    id,
    type,
    revision,
    cache,
    /** The commit that the revision stands for now. */
    async commit(): Promise<string> {
      if (isCommit(revision)) return revision;
      const ask = { name: id, revision, hubUrl: place.endpoint, fetch };
      const { sha } = await answer<{ sha: unknown }>(() =>
        type === "model"
          ? modelInfo({ ...ask, additionalFields: ["sha"] })
          : datasetInfo({ ...ask, additionalFields: ["sha"] })
      );
      if (typeof sha === "string" && isCommit(sha)) return sha;
      throw new SyntaxError(`Cannot fetch ${what}: the Hub names the commit ${JSON.stringify(sha)}; check HF_ENDPOINT`);
    },
    /** The files in the repository's root. */
    async list(commit: string): Promise<HubFile[]> {
      const entries = await answer(() => Array.fromAsync(listFiles({ ...shared, revision: commit })));
      return entries.filter(({ type }) => type === "file").map((entry) => checked(entry, what));
    },
    async info(commit: string, path: string): Promise<HubFile> {
      const entries = await answer(() => pathsInfo({ ...shared, revision: commit, paths: [path] }));
      const entry = entries.find((e) => e.path === path && e.type === "file");
      if (entry) return checked(entry as ListFileEntry, what);
      throw new RangeError(`Cannot fetch ${what}: it has no file ${JSON.stringify(path)}`);
    },
    /** Brings files into the snapshot of a commit, one after the other. Throws `RangeError`, before the first, when the disk has no room for all. */
    async fetchAll(commit: string, files: readonly HubFile[], onProgress?: (progress: HubProgress) => void) {
      const total = files.reduce((sum, { size }) => sum + size, 0);
      const places = await Promise.all(files.map(async (file) => {
        const blob = cache.blob(file.hash);
        const [linked, stored] = [join(cache.snapshot(commit), file.path), blob].map(sizeOfFile);
        return { file, blob, linked: await linked === file.size, stored: await stored === file.size };
      }));
      await checkRoom(cache.dir, places.filter(({ linked, stored }) => !linked && !stored), what);
      let bytes = places.reduce((sum, { file, linked, stored }) => sum + (linked || stored ? file.size : 0), 0);
      for (const { file, blob, linked, stored } of places) {
        signal?.throwIfAborted();
        if (!linked) {
          const fetched = async () => {
            const onBytes = (count: number) => {
              bytes += count;
              onProgress?.({ file: file.path, bytes, total });
            };
            if (await sizeOfFile(blob) === file.size) bytes += stored ? 0 : file.size; // another run has fetched it
            else {
              const path = file.path.split("/").map(encodeURIComponent).join("/");
              const url = `${page}/resolve/${commit}/${path}`;
              await download({
                file,
                url,
                blob,
                what: `${file.path} of ${what}`,
                fetch,
                signal,
                onBytes,
                retryMs,
                stallMs,
              });
            }
            await cache.link(file.hash, { commit, file: file.path });
          };
          await cache.locked(file.hash, fetched, { signal });
        }
        onProgress?.({ file: file.path, bytes, total });
      }
    },
  };
}

/** A listed file whose fields can name a blob. Throws `SyntaxError` otherwise. */
function checked({ path, size, oid, lfs }: ListFileEntry, what: string): HubFile {
  const hash = lfs?.oid ?? oid;
  if (typeof path === "string" && Number.isSafeInteger(size) && size >= 0 && typeof hash === "string") {
    if ((lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hash)) return { path, size, hash };
  }
  const found = JSON.stringify({ path, size, oid: hash });
  throw new SyntaxError(`Cannot fetch ${what}: the Hub lists ${found}, wanted path, size and hash; check HF_ENDPOINT`);
}

async function checkRoom(folder: string, places: readonly { file: HubFile; blob: string }[], what: string) {
  const there = await Promise.all(places.map(({ blob }) => sizeOfFile(`${blob}.incomplete`)));
  const wanted = places.reduce((sum, { file }, i) => sum + file.size - (there[i] ?? 0), 0),
    free = await freeDisk(folder);
  if (wanted <= free) return;
  throw new RangeError(
    `Cannot fetch ${what}: ${wanted} bytes are wanted in ${folder}, which has ${free} free; make room or set ` +
      `HF_HUB_CACHE to a folder on another disk`,
  );
}
