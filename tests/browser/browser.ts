/** Runs ONNX models in plain onnxruntime-web in a headless Chromium: a page, the library and the models come from a server on this machine. */
import { browserFlags, findBrowser } from "../../scripts/render.ts";

/** What the page is asked to run. */
export interface Job {
  /** Folder of model.onnx. */
  readonly dir: string;
  /** Its data files. */
  readonly data: readonly string[];
  readonly tokens: readonly number[];
  readonly dims: readonly [number, number];
}

export interface Answer {
  readonly dims: readonly number[];
  readonly logits: readonly number[];
  /** Milliseconds that opening the session took, and the run. */
  readonly open: number;
  readonly run: number;
}

const library = new URL("../../node_modules/onnxruntime-web/dist/", import.meta.url);

/** Never called: naming the package here, and not in deno.json, has it installed for this test alone (140 MB). */
// deno-lint-ignore no-import-prefix -- see above
export const dependency = () => import("npm:onnxruntime-web@1.30.0");

/** The logits that the browser computes for each job; undefined where there is no browser. Throws what the page throws, and after `patience` ms. */
export async function runInBrowser(
  jobs: readonly Job[],
  { patience = 120_000 }: { readonly patience?: number } = {},
): Promise<Answer[] | undefined> {
  const browser = await findBrowser();
  if (!browser) return undefined;
  const result = Promise.withResolvers<Answer[]>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    if (request.method === "POST") {
      const { answers, error } = await request.json();
      if (error) result.reject(new Error(`the page failed: ${error}`));
      else result.resolve(answers);
      return new Response();
    }
    return await respond(pathname, jobs);
  });
  const profile = await Deno.makeTempDir();
  const url = `http://127.0.0.1:${server.addr.port}/`;
  const args = [...browserFlags, `--user-data-dir=${profile}`, url];
  // What Chromium leaves behind when it is ended goes with its profile.
  const env = { TMPDIR: profile };
  const process = new Deno.Command(browser, { args, env, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  process.status.then(({ code }) =>
    result.reject(new Error(`${browser} ended with code ${code} before the page answered`))
  );
  const timer = setTimeout(() => result.reject(new Error(`the page gave no answer in ${patience} ms`)), patience);
  try {
    return await result.promise;
  } finally {
    clearTimeout(timer);
    process.kill();
    await process.status;
    await server.shutdown();
    await Deno.remove(profile, { recursive: true }).catch(() => {}); // the browser may still be letting go of it
  }
}

async function respond(path: string, jobs: readonly Job[]): Promise<Response> {
  const [, kind, ...rest] = path.split("/");
  if (kind === "") return new Response(`<!doctype html><script type="module" src="/page.js"></script>`, type("html"));
  if (kind === "page.js") return await file(new URL("./page.js", import.meta.url), "js");
  if (kind === "jobs") return Response.json(jobs);
  if (kind === "library" && /^[\w.-]+$/.test(rest[0])) {
    return await file(new URL(rest[0], library), rest[0].split(".").at(-1)!);
  }
  if (kind === "models" && /^[\w.-]+$/.test(rest[1])) {
    return await file(`${jobs[Number(rest[0])].dir}/${rest[1]}`, "onnx");
  }
  return new Response("not found", { status: 404 });
}

async function file(path: URL | string, extension: string): Promise<Response> {
  const { readable } = await Deno.open(path);
  return new Response(readable, type(extension));
}

const types: Readonly<Record<string, string>> = {
  html: "text/html",
  js: "text/javascript",
  mjs: "text/javascript",
  wasm: "application/wasm",
};

const type = (extension: string) => ({ headers: { "content-type": types[extension] ?? "application/octet-stream" } });
