import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { statfs } from "node:fs/promises";
import { encodeSafetensors, joinChunks } from "../../../lib/format/safetensors.ts";
import { fetchSnapshot, type HubOptions, type HubProgress, openHubFile } from "../../../lib/checkpoint/hub/hub.ts";
import { bytesOf, type FakeHub, fakeHub, type Files, hashOf } from "../../model/fake_hub.ts";

const id = "org/tiny-LLaDA";
const [old, now] = ["a".repeat(40), "b".repeat(40)];
const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

const shard = (name: string, length: number) =>
  joinChunks(encodeSafetensors({
    [name]: { dtype: "U8", shape: [length], bytes: Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 255) },
  }));
const files: Files = {
  "config.json": '{"model_type":"llada"}',
  "tokenizer.json": "{}",
  "model.safetensors.index.json": JSON.stringify({ metadata: { total_size: 350_000 }, weight_map: { a: one, b: two } }),
  [one]: shard("a", 300_000),
  [two]: shard("b", 50_000),
  "README.md": "",
  "pytorch_model.bin": "not wanted",
  "train.py": "not wanted",
  "consolidated.safetensors": "not wanted",
};
const needed = Object.keys(files).filter((f) => files[f] !== "not wanted").sort();
const total = needed.reduce((sum, f) => sum + bytesOf(files[f]).length, 0);
const text = joinChunks([new TextEncoder().encode("compressed"), new Uint8Array(1000)]);
const world = {
  [id]: {
    commits: { [old]: { ...files, "config.json": '{"model_type":"old"}' }, [now]: files },
    refs: { main: now, "refs/pr/1": old },
  },
  "datasets/org/text": { commits: { [now]: { "en/part 1.json.gz": text } }, refs: { main: now } },
};

type Step = (hub: FakeHub, cacheDir: string, options: HubOptions) => Promise<void>;

/** Runs `body` with a fake Hub and an empty cache, and without the environment's own settings. */
async function withHub(body: Step): Promise<void> {
  const names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT"];
  const kept = [...names, "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"].map((name) => {
    const value = Deno.env.get(name);
    Deno.env.delete(name);
    return [name, value] as const;
  });
  const folder = await Deno.makeTempDir();
  Deno.env.set("HF_HOME", folder); // nobody's own token is read
  try {
    await using hub = fakeHub(world);
    await body(hub, `${folder}/hub`, { endpoint: hub.endpoint, cacheDir: `${folder}/hub`, retryMs: 1 });
  } finally {
    for (const [name, value] of kept) value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
    await Deno.remove(folder, { recursive: true });
  }
}

async function tree(dir: string, prefix = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) paths.push(...await tree(`${dir}/${name}`, `${prefix}${name}/`));
    else paths.push(prefix + name);
  }
  return paths.sort();
}

const repoOf = (cacheDir: string) => `${cacheDir}/models--org--tiny-LLaDA`;

Deno.test("a snapshot: the files needed and no others, in the layout that Python uses, at the commit of the revision", () =>
  withHub(async (hub, cacheDir, options) => {
    const snapshot = await fetchSnapshot(id, options);
    const repo = repoOf(cacheDir);
    assertEquals(snapshot, { dir: `${repo}/snapshots/${now}`, revision: now });
    assertEquals(await tree(snapshot.dir), needed);
    for (const file of needed) {
      assertEquals(await Deno.readFile(`${snapshot.dir}/${file}`), bytesOf(files[file]));
      assertEquals(await Deno.readLink(`${snapshot.dir}/${file}`), `../../blobs/${hashOf(file, files[file])}`);
    }
    assertEquals(await tree(`${repo}/refs`), ["main"]);
    assertEquals(await Deno.readTextFile(`${repo}/refs/main`), now);
    assertEquals(await tree(`${repo}/blobs`), needed.map((f) => hashOf(f, files[f])).sort());

    hub.log.length = 0; // everything is there: only the revision and the list are asked for
    assertEquals(await fetchSnapshot(id, options), snapshot);
    assertEquals(hub.log.map(({ path }) => path.split("/")[5]), ["revision", "tree"]);

    hub.log.length = 0; // another revision shares all blobs but one
    const other = await fetchSnapshot(id, { ...options, revision: "refs/pr/1" });
    assertEquals(other.revision, old);
    assertEquals(hub.log.map(({ path }) => path).filter((p) => p.includes("/resolve/")), [
      `/${id}/resolve/${old}/config.json`,
    ]);
    assertStringIncludes(await Deno.readTextFile(`${other.dir}/config.json`), "old");
    assertEquals((await fetchSnapshot(id, { ...options, revision: old })).dir, other.dir);
  }));

Deno.test("progress adds up to the total, and what the cache holds counts from the start", () =>
  withHub(async (hub, _, options) => {
    const seen: HubProgress[] = [];
    const onProgress = (p: HubProgress) => void seen.push(p);
    hub.faults.cut = { after: 100_000, times: 1 };
    await fetchSnapshot(id, { ...options, onProgress });
    assert(seen.every((p, i) => p.total === total && (i === 0 || p.bytes >= seen[i - 1].bytes)));
    assertEquals(seen.at(-1)!.bytes, total);
    assertEquals([...new Set(seen.map((p) => p.file))].sort(), needed);
    seen.length = 0;
    await fetchSnapshot(id, { ...options, onProgress });
    assert(seen.length > 0 && seen.every(({ bytes }) => bytes === total));
  }));

Deno.test("a cut connection is taken up where it broke, in this run and in the next", () =>
  withHub(async (hub, cacheDir, options) => {
    hub.faults.cut = { after: 120_000, times: 1 };
    await fetchSnapshot(id, options);
    const ranges = hub.log.filter(({ path }) => path.endsWith(one)).map(({ range }) => range);
    assertEquals(ranges, [null, "bytes=120000-"]);

    await Deno.remove(cacheDir, { recursive: true });
    hub.faults.cut = { after: 1000, times: 1 };
    const abort = new AbortController();
    const onProgress = ({ file }: HubProgress) => file === one && abort.abort(new Error("stopped"));
    await assertRejects(() => fetchSnapshot(id, { ...options, signal: abort.signal, onProgress }), Error, "stopped");
    const partial = `${repoOf(cacheDir)}/blobs/${hashOf(one, files[one])}.incomplete`;
    const { size } = await Deno.stat(partial);
    assertEquals(size, 1000);
    hub.log.length = 0;
    hub.faults.cut = undefined;
    const { dir } = await fetchSnapshot(id, options);
    assertEquals(hub.log.filter(({ path }) => path.endsWith(one)).map((r) => r.range), ["bytes=1000-"]);
    assertEquals(await Deno.readFile(`${dir}/${one}`), files[one]);
  }));

Deno.test("a connection that stays cut is given up with what came kept; one that stalls counts as cut", () =>
  withHub(async (hub, cacheDir, options) => {
    const partial = `${repoOf(cacheDir)}/blobs/${hashOf(one, files[one])}.incomplete`;
    hub.faults.cut = { after: 0, times: 100 };
    const error = await assertRejects(() => fetchSnapshot(id, options), Error, "run again to resume");
    assertStringIncludes(error.message, one);
    assertEquals((await Deno.stat(partial)).size, 0);
    assertEquals(hub.log.filter(({ path }) => path.endsWith(one)).length, 5);
    hub.faults.cut = undefined;
    hub.faults.stall = 100_000;
    const { dir } = await fetchSnapshot(id, { ...options, stallMs: 100 });
    assertEquals(await Deno.readFile(`${dir}/${one}`), files[one]);
  }));

Deno.test("a server that knows no ranges, and one that fails at times, are borne", () =>
  withHub(async (hub, cacheDir, options) => {
    hub.faults.cut = { after: 200_000, times: 1 };
    hub.faults.noRanges = true;
    const { dir } = await fetchSnapshot(id, options);
    assertEquals(await Deno.readFile(`${dir}/${one}`), files[one]);
    await Deno.remove(`${dir}/${two}`);
    await Deno.remove(`${repoOf(cacheDir)}/blobs/${hashOf(two, files[two])}`);
    let asked = 0;
    const flaky: typeof fetch = (input, init) => {
      if (String(input).endsWith(two) && asked++ < 3) return Promise.resolve(new Response("busy", { status: 503 }));
      return fetch(input, init);
    };
    await fetchSnapshot(id, { ...options, fetch: flaky });
    assertEquals(asked, 4);
    assertEquals(await Deno.readFile(`${dir}/${two}`), files[two]);
  }));

Deno.test("damaged bytes are refused, and nothing is left that looks whole", () =>
  withHub(async (hub, cacheDir, options) => {
    hub.faults.damage = 1;
    const error = await assertRejects(() => fetchSnapshot(id, options), SyntaxError, "hash");
    assertStringIncludes(error.message, one);
    assertStringIncludes(error.message, "fetch it again");
    const left = await tree(repoOf(cacheDir));
    assert(!left.some((path) => path.includes(hashOf(one, files[one])) || path.endsWith(one)), left.join("\n"));
    assert(!left.some((path) => path.startsWith("refs/")), "a ref stands for a whole checkpoint");
    Deno.env.set("HF_HUB_OFFLINE", "1");
    await assertRejects(() => fetchSnapshot(id, { ...options, revision: now }), Error, `lacks ${one}`);
    Deno.env.delete("HF_HUB_OFFLINE");
    assertEquals(await tree((await fetchSnapshot(id, options)).dir), needed);
  }));

Deno.test("a damaged beginning that an earlier run left is fetched anew, a damaged or cut blob too", () =>
  withHub(async (_, cacheDir, options) => {
    const blob = `${repoOf(cacheDir)}/blobs/${hashOf(one, files[one])}`;
    await Deno.mkdir(`${repoOf(cacheDir)}/blobs`, { recursive: true });
    for (const wrong of [new Uint8Array(1000), new Uint8Array(400_000)]) {
      await Deno.writeFile(`${blob}.incomplete`, wrong);
      const seen: HubProgress[] = [];
      const { dir } = await fetchSnapshot(id, { ...options, onProgress: (p) => void seen.push(p) });
      assertEquals(await Deno.readFile(`${dir}/${one}`), files[one]);
      assertEquals(seen.at(-1)!.bytes, total);
      await Deno.remove(blob);
    }
    await Deno.writeFile(blob, (files[one] as Uint8Array).slice(0, -1));
    const { dir } = await fetchSnapshot(id, options);
    assertEquals(await Deno.readFile(`${dir}/${one}`), files[one]);
  }));

Deno.test("the token is sent to the Hub, from the option, HF_TOKEN or HF_HOME/token, and to no other place", () =>
  withHub(async (hub, cacheDir, options) => {
    await using cdn = fakeHub(world);
    hub.faults.tokens = ["hf_secret"];
    hub.faults.redirect = cdn.endpoint;
    const error = await assertRejects(() => fetchSnapshot(id, options), RangeError, "401 GatedRepo");
    assertStringIncludes(error.message, `accept its conditions at ${hub.endpoint}/${id} and set HF_TOKEN`);
    const denied = await assertRejects(() => fetchSnapshot(id, { ...options, token: "hf_other" }), RangeError, "403");
    assert(!denied.message.includes("hf_other"), "a message does not show the token");
    await assertRejects(() => fetchSnapshot(id, { ...options, token: "two words" }), TypeError, "HF_TOKEN");
    // Endpoints of one's own have tokens of their own shape.
    hub.faults.tokens = ["hf_secret", "sk-1"];
    await fetchSnapshot(id, { ...options, token: "sk-1" });
    assertEquals(hub.log.at(-1)?.token, "Bearer sk-1");
    await Deno.remove(cacheDir, { recursive: true });
    cdn.log.length = 0;
    hub.log.length = 0;
    const { dir } = await fetchSnapshot(id, { ...options, token: "hf_secret" });
    assert(hub.log.length > 0 && hub.log.every(({ token }) => token === "Bearer hf_secret"));
    assert(cdn.log.length === 2 && cdn.log.every(({ token }) => token === null));
    assertEquals(await Deno.readFile(`${dir}/${one}`), files[one]);

    hub.faults.next = cdn.endpoint; // a list that goes on elsewhere
    cdn.faults.answer = () => Response.json([]);
    await fetchSnapshot(id, { ...options, token: "hf_secret" });
    assertEquals(cdn.log.at(-1), { method: "GET", path: "/more", range: null, token: null });
    hub.faults.next = undefined;

    await Deno.writeTextFile(`${cacheDir}/../token`, "hf_secret\n"); // in HF_HOME
    await fetchSnapshot(id, options);
    await Deno.writeTextFile(`${cacheDir}/../token`, "hf_wrong\n");
    Deno.env.set("HF_TOKEN", "hf_secret");
    await fetchSnapshot(id, options);
    Deno.env.delete("HF_TOKEN");
    await assertRejects(() => fetchSnapshot(id, options), RangeError, "403");
  }));

Deno.test("HF_ENDPOINT, HF_HOME and HF_HUB_CACHE say where to fetch from and to", () =>
  withHub(async (hub, cacheDir) => {
    Deno.env.set("HF_ENDPOINT", `${hub.endpoint}/`);
    assertEquals((await fetchSnapshot(id)).dir, `${repoOf(cacheDir)}/snapshots/${now}`);
    Deno.env.set("HF_HUB_CACHE", `${cacheDir}-2`);
    assertEquals((await fetchSnapshot(id)).dir, `${repoOf(`${cacheDir}-2`)}/snapshots/${now}`);
    Deno.env.delete("HF_HUB_CACHE");
    // As Python expands them: files and images of containers hold them unexpanded.
    const home = Deno.env.get("HOME")!, folder = `${cacheDir}-3`;
    Deno.env.set("HOME", folder);
    try {
      for (const text of ["~/hf", "$HOME/hf", "${HOME}/hf"]) {
        Deno.env.set("HF_HOME", text);
        assertEquals((await fetchSnapshot(id)).dir, `${repoOf(`${folder}/hf/hub`)}/snapshots/${now}`, text);
      }
      Deno.env.delete("HF_HOME");
      Deno.env.set("XDG_CACHE_HOME", "~/xdg");
      assertEquals((await fetchSnapshot(id)).dir, `${repoOf(`${folder}/xdg/huggingface/hub`)}/snapshots/${now}`);
    } finally {
      Deno.env.set("HOME", home);
      Deno.env.delete("XDG_CACHE_HOME");
    }
    Deno.env.delete("HF_ENDPOINT");
  }));

Deno.test("offline, or with no Hub to be reached, what is whole in the cache is used, and the result says so", () =>
  withHub(async (hub, cacheDir, options) => {
    const none = () => Promise.reject(new TypeError("no route to host"));
    const missing = await assertRejects(
      () => fetchSnapshot(id, { ...options, fetch: none }),
      Error,
      "no route to host",
    );
    assertStringIncludes(missing.message, `huggingface-cli download ${id} --revision main`);
    const { dir } = await fetchSnapshot(id, options);
    const served = hub.log.length;
    const cached = await fetchSnapshot(id, { ...options, fetch: none });
    assertEquals([cached.dir, cached.revision], [dir, now]);
    assertStringIncludes(cached.offline!, "no route to host");
    hub.faults.failing = { status: 503, times: 1 };
    assertStringIncludes((await fetchSnapshot(id, options)).offline!, "503");
    Deno.env.set("HF_HUB_OFFLINE", "1");
    assertStringIncludes((await fetchSnapshot(id, options)).offline!, "HF_HUB_OFFLINE");
    assertEquals((await fetchSnapshot(id, { ...options, revision: now })).dir, dir);
    assertEquals(hub.log.length, served + 1, "nothing is asked of the Hub");
    await assertRejects(() => fetchSnapshot(id, { ...options, revision: "v2" }), Error, "lacks that revision");
    await Deno.remove(`${repoOf(cacheDir)}/blobs/${hashOf(two, files[two])}`);
    await assertRejects(() => fetchSnapshot(id, options), Error, `lacks ${two}`);
  }));

Deno.test("what is not there is named: repository, revision, weights, file", () =>
  withHub(async (hub, _, options) => {
    await assertRejects(() => fetchSnapshot("org/none", options), RangeError, "org/none at revision main");
    await assertRejects(() => fetchSnapshot(id, { ...options, revision: "v9" }), RangeError, "404 RevisionNotFound");
    for (const wrong of ["a/b/c", "../x", "a--b/c", "org/", "org/x y"]) {
      await assertRejects(() => fetchSnapshot(wrong, options), RangeError, "wanted an id");
    }
    for (const revision of ["../x", "", "a b", "x/"]) {
      await assertRejects(() => fetchSnapshot(id, { ...options, revision }), RangeError, "wanted a branch");
    }
    hub.faults.list = (entry) => ({ ...entry, path: String(entry.path).replace("safetensors", "bin") });
    await assertRejects(() => fetchSnapshot(id, options), RangeError, "neither model.safetensors");
    hub.faults.list = (entry) => ({ ...entry, path: String(entry.path).replace("00002-of", "00003-of") });
    await assertRejects(() => fetchSnapshot(id, options), SyntaxError, `names ${two}`);
  }));

Deno.test("a disk without room for the whole snapshot is told before the first file", () =>
  withHub(async (hub, cacheDir, options) => {
    const { bavail, bsize } = await statfs("/tmp");
    const size = Math.ceil(bavail * bsize * 0.6); // each alone would fit
    hub.faults.list = (entry) =>
      entry.lfs ? { ...entry, size, lfs: { ...entry.lfs as Record<string, unknown>, size } } : entry;
    const error = await assertRejects(() => fetchSnapshot(id, options), RangeError, "bytes are wanted");
    assertStringIncludes(error.message, cacheDir);
    assertStringIncludes(error.message, "make room or set HF_HUB_CACHE");
    assert(!hub.log.some(({ path }) => path.endsWith(".safetensors")), "no weights were asked for");
  }));

Deno.test("answers that no Hub gives are refused before they name a path", () =>
  withHub(async (hub, cacheDir, options) => {
    const lists: FakeHub["faults"]["list"][] = [
      (entry) => ({ ...entry, lfs: undefined, oid: "../../../evil" }),
      (entry) => ({ ...entry, size: -1 }),
      (entry) => ({ ...entry, size: "9" }),
      (entry) => ({ ...entry, path: undefined }),
    ];
    for (const list of lists) {
      hub.faults.list = list;
      await assertRejects(() => fetchSnapshot(id, options), SyntaxError, "HF_ENDPOINT");
    }
    hub.faults.list = (entry) => ({ ...entry, path: `../${entry.path}` });
    await assertRejects(() => fetchSnapshot(id, options), RangeError, "neither");
    hub.faults.list = (entry) => ({ ...entry, size: Math.max(0, Number(entry.size) - 1) }); // more bytes come than were listed
    await assertRejects(() => fetchSnapshot(id, options), SyntaxError, "more than the");
    hub.faults.list = (entry) => ({ ...entry, size: 2 ** 50 });
    await assertRejects(() => fetchSnapshot(id, options), RangeError, "make room or set HF_HUB_CACHE");
    for (const body of ["<html>log in</html>", "{}", "[]", "null", '{"sha":"../x"}']) {
      hub.faults.answer = () => new Response(body);
      await assertRejects(() => fetchSnapshot(id, options), SyntaxError, "HF_ENDPOINT");
    }
    assert(!(await tree(cacheDir)).some((path) => path.endsWith(".safetensors") || path.includes("refs/")));
  }));

Deno.test("two runs at once fetch each file once", () =>
  withHub(async (hub, cacheDir, options) => {
    const { dir } = await fetchSnapshot(id, options); // the small files, so that both runs wait for the shards
    for (const file of [one, two]) {
      await Deno.remove(`${dir}/${file}`);
      await Deno.remove(`${repoOf(cacheDir)}/blobs/${hashOf(file, files[file])}`);
    }
    hub.log.length = 0;
    hub.faults.cut = { after: 100_000, times: 1 };
    const last = [0, 0];
    const run = (i: number) => fetchSnapshot(id, { ...options, onProgress: ({ bytes }) => void (last[i] = bytes) });
    const [a, b] = await Promise.all([run(0), run(1)]);
    assertEquals(a, b);
    assertEquals(await Deno.readFile(`${a.dir}/${one}`), files[one]);
    assertEquals(hub.log.filter(({ path }) => path.endsWith(two)).length, 1);
    assertEquals(last, [total, total], "what the other run fetched counts too");
  }));

Deno.test("openHubFile: one file of a dataset, pinned, verified, from the cache when offline", () =>
  withHub(async (hub, cacheDir, options) => {
    const file = "en/part 1.json.gz";
    const path = await openHubFile("org/text", file, { ...options, type: "dataset" });
    assertEquals(path, `${cacheDir}/datasets--org--text/snapshots/${now}/${file}`);
    assertEquals(createHash("sha256").update(await Deno.readFile(path)).digest("hex"), hashOf(file, text));
    hub.faults.answer = () => new Response("", { status: 500 });
    assertEquals(await openHubFile("org/text", file, { ...options, type: "dataset" }), path);
    const error = await assertRejects(
      () => openHubFile("org/text", "en/none.gz", { ...options, type: "dataset" }),
      Error,
      "lacks en/none.gz",
    );
    assertStringIncludes(error.message, "download org/text --repo-type dataset");
    hub.faults.answer = undefined;
    await assertRejects(
      () => openHubFile("org/text", "en/none.gz", { ...options, type: "dataset" }),
      RangeError,
      "no file",
    );
    assertEquals(await Deno.readTextFile(await openHubFile(id, "tokenizer.json", options)), "{}");
    for (const wrong of ["../x", "/etc/passwd", "a//b", "a\\..\\b", "C:x"]) {
      await assertRejects(() => openHubFile(id, wrong, options), RangeError, "inside the repository");
    }
  }));
