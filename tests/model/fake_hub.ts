/** A small Hugging Face Hub on 127.0.0.1: the routes that the library and our downloads use, with faults on request. */
import { createHash } from "node:crypto";

export type Files = Readonly<Record<string, string | Uint8Array>>;

export interface FakeHub extends AsyncDisposable {
  readonly endpoint: string;
  /** Every request: method, path, Range and Authorization. */
  readonly log: { method: string; path: string; range: string | null; token: string | null }[];
  /** Faults; changed while the server runs. */
  readonly faults: {
    /** Tokens that may read; anyone when undefined. */
    tokens?: string[];
    /** X-Error-Code of a refusal. */
    code?: string;
    /** Bytes of each large file's answer after which the connection is cut, and how often. */
    cut?: { after: number; times: number };
    /** Flips a bit of each large file's answer, so often. */
    damage?: number;
    /** Answers with this status, so often. */
    failing?: { status: number; times: number };
    /** Answers 200 with the whole file to a Range request. */
    noRanges?: boolean;
    /** Sends large files from there: another origin. */
    redirect?: string;
    /** Says that the list goes on there: another origin. */
    next?: string;
    /** Changes what is listed. */
    list?: (entry: Record<string, unknown>) => Record<string, unknown>;
    /** Answers every request so. */
    answer?: () => Response;
    /** Stops sending, without an end, after so many bytes of a large file. */
    stall?: number;
  };
}

export const bytesOf = (content: string | Uint8Array): Uint8Array =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;

/** Files named *.safetensors and *.gz are large (LFS): known by SHA-256, others by git's blob SHA-1. */
export function hashOf(path: string, content: string | Uint8Array): string {
  const bytes = bytesOf(content);
  if (isLarge(path)) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

const isLarge = (path: string) => /\.(safetensors|gz)$/.test(path);

/** Serves repositories ("org/name" or "datasets/org/name") by revision: a commit, or a name that stands for one. */
export function fakeHub(
  repos: Readonly<Record<string, { commits: Readonly<Record<string, Files>>; refs: Record<string, string> }>>,
): FakeHub {
  const log: FakeHub["log"] = [];
  const faults: FakeHub["faults"] = {};
  const json = (value: unknown, init?: ResponseInit) => Response.json(value, init);
  const refusal = (status: number, code: string) =>
    json({ error: `refused: ${code}` }, { status, headers: { "X-Error-Code": code } });

  const entryOf = (path: string, content: string | Uint8Array) => {
    const bytes = bytesOf(content);
    const hash = hashOf(path, bytes);
    const entry = isLarge(path)
      ? { type: "file", path, size: bytes.length, oid: "0".repeat(40), lfs: { oid: hash, size: bytes.length } }
      : { type: "file", path, size: bytes.length, oid: hash };
    return faults.list?.(entry) ?? entry;
  };

  const send = (path: string, content: Uint8Array, commit: string, range: string | null): Response => {
    const large = isLarge(path);
    const from = range && !faults.noRanges ? Number(range.match(/^bytes=(\d+)-/)![1]) : 0;
    let bytes = content.slice(from);
    if (large && faults.damage) {
      faults.damage--;
      bytes[bytes.length >> 1] ^= 4;
    }
    const headers = new Headers({ ETag: `"${hashOf(path, content)}"`, "X-Repo-Commit": commit });
    if (large) headers.set("X-Linked-ETag", `"${hashOf(path, content)}"`);
    if (large) headers.set("X-Linked-Size", `${content.length}`);
    const ranged = range !== null && !faults.noRanges;
    if (ranged) headers.set("Content-Range", `bytes ${from}-${content.length - 1}/${content.length}`);
    const status = ranged ? 206 : 200;
    const cut = large && faults.cut && faults.cut.times-- > 0 ? faults.cut.after : undefined;
    const stall = large ? faults.stall : undefined;
    if (cut === undefined && stall === undefined) return new Response(bytes, { status, headers });
    bytes = bytes.slice(0, cut ?? stall);
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(bytes);
        await new Promise((resolve) => setTimeout(resolve, 30)); // the bytes go out before the cut
        if (cut !== undefined) controller.error(new Error("cut"));
      },
    });
    return new Response(body, { status, headers });
  };

  const handle = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    const [range, token] = ["Range", "Authorization"].map((name) => request.headers.get(name));
    log.push({ method: request.method, path: pathname, range, token });
    if (faults.answer) return faults.answer();
    if (faults.failing && faults.failing.times-- > 0) return new Response("broken", { status: faults.failing.status });
    const blob = pathname.match(/^\/cdn\/(\w+)\/(.*)$/); // an address that knows no accounts
    const api = pathname.match(/^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(revision|tree|paths-info)\/([^/]+)$/);
    const file = pathname.match(/^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/);
    const id = api ? `${api[1] === "datasets" ? "datasets/" : ""}${api[2]}` : file ? `${file[1] ?? ""}${file[2]}` : "";
    const repo = blob ? Object.values(repos).find(({ commits }) => blob[1] in commits) : repos[id];
    if (!repo) return refusal(token ? 404 : 401, "RepoNotFound");
    if (!blob && faults.tokens && !faults.tokens.some((t) => token === `Bearer ${t}`)) {
      return refusal(token ? 403 : 401, faults.code ?? "GatedRepo");
    }
    const revision = decodeURIComponent(blob?.[1] ?? api?.[4] ?? file![3]);
    const commit = repo.refs[revision] ?? revision;
    const files = repo.commits[commit];
    if (!files) return refusal(404, "RevisionNotFound");
    if (api?.[3] === "revision") return json({ _id: "1", id, sha: commit, lastModified: "2026-01-01T00:00:00Z" });
    if (api?.[3] === "tree") {
      const entries = Object.entries(files).filter(([path]) => !path.includes("/")).map(([p, c]) => entryOf(p, c));
      const list = [...entries, { type: "directory", path: "folder", size: 0, oid: "0".repeat(40) }];
      return json(list, faults.next ? { headers: { Link: `<${faults.next}/more>; rel="next"` } } : {});
    }
    if (api?.[3] === "paths-info") {
      const { paths } = await request.json() as { paths: string[] };
      return json(paths.filter((path) => path in files).map((path) => entryOf(path, files[path])));
    }
    const path = decodeURIComponent(blob?.[2] ?? file![4]);
    if (!(path in files)) return refusal(404, "EntryNotFound");
    if (!blob && faults.redirect && isLarge(path)) return Response.redirect(`${faults.redirect}/cdn/${commit}/${path}`);
    return send(path, bytesOf(files[path]), commit, range);
  };

  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {}, onError: () => new Response() },
    handle,
  );
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    log,
    faults,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
