/**
 * The Hugging Face cache on disk, laid out as Python's huggingface_hub does, so that each side reuses what the other
 * fetched: `models--org--name/{blobs/HASH, snapshots/COMMIT/file -> blobs/HASH, refs/main}` and `.locks` beside it.
 */
import { dirname, join, relative } from "@std/path";
import { getRepoFolderName } from "@huggingface/hub";
import { ifThere } from "../files/file_source.ts";

export type RepoType = "model" | "dataset";

/** Where to fetch from and to. */
export interface HubPlace {
  /** `HF_ENDPOINT`, or huggingface.co; without a slash at the end. */
  readonly endpoint: string;
  /** `HF_TOKEN`, or what `huggingface-cli login` stored. */
  readonly token: string | undefined;
  /** `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or ~/.cache/huggingface/hub. */
  readonly cacheDir: string;
  /** `HF_HUB_OFFLINE`: nothing is asked of the Hub. */
  readonly offline: boolean;
}

/** What was given, completed by the environment. Throws `TypeError` for what cannot be a token. */
export async function hubPlace(
  { endpoint, token, cacheDir }: { endpoint?: string; token?: string; cacheDir?: string },
): Promise<HubPlace> {
  const cache = cacheDir ?? pathIn("HF_HUB_CACHE") ?? pathIn("HUGGINGFACE_HUB_CACHE") ?? join(homeOfHub(), "hub");
  token ??= Deno.env.get("HF_TOKEN") || Deno.env.get("HUGGING_FACE_HUB_TOKEN") || await storedToken();
  token = token?.trim() || undefined;
  // Endpoints of one's own have tokens of their own shape; what a header cannot carry is none.
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new TypeError(
      "Cannot use the access token: it holds blanks or signs beyond ASCII; set HF_TOKEN to the token alone",
    );
  }
  const address = endpoint ?? (Deno.env.get("HF_ENDPOINT") || "https://huggingface.co");
  const offline = /^(1|on|yes|true)$/i.test(Deno.env.get("HF_HUB_OFFLINE") ?? "");
  return { endpoint: address.replace(/\/+$/, ""), token, cacheDir: cache, offline };
}

async function storedToken(): Promise<string | undefined> {
  return await textOf(pathIn("HF_TOKEN_PATH") ?? join(homeOfHub(), "token"));
}

/** `HF_HOME`, or huggingface in `XDG_CACHE_HOME` or ~/.cache. */
function homeOfHub(): string {
  return pathIn("HF_HOME") ?? join(pathIn("XDG_CACHE_HOME") ?? join(userHome(), ".cache"), "huggingface");
}

const userHome = (): string => Deno.env.get("HOME") || Deno.env.get("USERPROFILE") || "";

/** The path in a variable, expanded as Python does: "~" at its beginning, $NAME and ${NAME} anywhere where they are set. An empty one counts as unset. */
function pathIn(variable: string): string | undefined {
  const text = Deno.env.get(variable);
  if (!text) return undefined;
  return text.replace(/^~(?=$|[/\\])/, userHome)
    .replace(/\$(?:(\w+)|\{([^}]*)\})/g, (whole, name, braced) => Deno.env.get(name ?? braced) ?? whole);
}

/** One repository in the cache. */
export class CachedRepo {
  readonly dir: string;
  readonly #locks: string;

  constructor(cacheDir: string, { type, id }: { readonly type: RepoType; readonly id: string }) {
    const folder = getRepoFolderName({ type, name: id });
    this.dir = join(cacheDir, folder);
    this.#locks = join(cacheDir, ".locks", folder);
  }

  blob(hash: string): string {
    return join(this.dir, "blobs", hash);
  }

  snapshot(commit: string): string {
    return join(this.dir, "snapshots", commit);
  }

  /** The commit that a revision stood for when it was last fetched whole. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const commit = (await textOf(join(this.dir, "refs", revision)))?.trim();
    return commit !== undefined && isCommit(commit) ? commit : undefined;
  }

  async setRef(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || await this.commitOf(revision) === commit) return;
    const path = join(this.dir, "refs", revision);
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeTextFile(`${path}.part`, commit);
    await Deno.rename(`${path}.part`, path);
  }

  /** Makes `file` of a snapshot stand for a blob: by a relative link, or a hard one where the system has no links. */
  async link(hash: string, { commit, file }: { readonly commit: string; readonly file: string }): Promise<void> {
    const path = join(this.snapshot(commit), file);
    await Deno.mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.${crypto.randomUUID()}.part`;
    try {
      await Deno.symlink(relative(dirname(path), this.blob(hash)), temporary);
    } catch { // Windows without the privilege, or a run that may not write everywhere; a failure below is reported
      await Deno.link(this.blob(hash), temporary);
    }
    await Deno.rename(temporary, path);
  }

  /** Runs `body` while no other process, Python's included, writes the same blob. */
  async locked<T>(
    hash: string,
    body: () => Promise<T>,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<T> {
    await Deno.mkdir(this.#locks, { recursive: true });
    using file = await Deno.open(join(this.#locks, `${hash}.lock`), { write: true, create: true });
    while (!await file.tryLock(true)) await pause(200, signal);
    return await body();
  }
}

export function isCommit(text: string): boolean {
  return /^[0-9a-f]{40}$/.test(text);
}

/** The size of a file or of what it links to; undefined when there is none. */
export async function sizeOfFile(path: string): Promise<number | undefined> {
  return (await ifThere(Deno.stat(path)))?.size;
}

/** Waits; rejects with the signal's reason when it aborts first. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

const textOf = (path: string): Promise<string | undefined> => ifThere(Deno.readTextFile(path));
