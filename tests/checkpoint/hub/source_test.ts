import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { encodeSafetensors, joinChunks } from "../../../lib/format/safetensors.ts";
import { openSource } from "../../../lib/checkpoint/hub/source.ts";
import { fakeHub, type Files } from "../../model/fake_hub.ts";

const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const shard = (name: string, ...values: number[]) =>
  joinChunks(encodeSafetensors({ [name]: { dtype: "U8", shape: [values.length], bytes: Uint8Array.from(values) } }));
const index = (map: Record<string, unknown> = { a: one, b: two }) => JSON.stringify({ weight_map: map });
const config = '{"model_type":"llada","d_model":16}';
const whole: Files = { "config.json": config, "model.safetensors": shard("w", 1, 2, 3), "tokenizer_config.json": "{}" };
const sharded: Files = {
  "config.json": config,
  "model.safetensors.index.json": index(),
  [one]: shard("a", 1, 2),
  [two]: shard("b", 3),
};

/** Runs `body` with the path of a folder that holds `files`, in a folder of its own. */
async function inFolder(files: Files, body: (dir: string, outside: string) => Promise<void>): Promise<void> {
  const outside = await Deno.realPath(await Deno.makeTempDir());
  try {
    await Deno.mkdir(`${outside}/model`);
    for (const [name, content] of Object.entries(files)) {
      if (typeof content === "string") await Deno.writeTextFile(`${outside}/model/${name}`, content);
      else await Deno.writeFile(`${outside}/model/${name}`, content);
    }
    await body(`${outside}/model`, outside);
  } finally {
    await Deno.remove(outside, { recursive: true });
  }
}

Deno.test("a folder opens with one file or with shards, and answers for its other files", async () => {
  await inFolder(whole, async (dir) => {
    const source = await openSource(`${dir}/`);
    assertEquals([source.name, source.dir, source.revision, source.offline], [`${dir}/`, dir, undefined, undefined]);
    assertEquals(source.config, { model_type: "llada", d_model: 16 });
    assertEquals(source.tensors.names, ["w"]);
    assertEquals(await source.tensors.read("w"), Uint8Array.of(1, 2, 3));
    assertEquals([await source.has("tokenizer_config.json"), await source.has("tokenizer.json")], [true, false]);
    assertEquals(await source.readJson("tokenizer_config.json"), {});
    assertEquals(await source.readText("config.json"), config);
    for (const file of ["tokenizer.json", "../model/config.json", "/etc/passwd", "."]) {
      await assertRejects(() => source.readText(file), RangeError, "lacks");
    }
  });
  await inFolder(sharded, async (dir) => {
    const { tensors } = await openSource(dir);
    assertEquals(tensors.names, ["a", "b"]);
    assertEquals(await tensors.read("b"), Uint8Array.of(3));
  });
});

const without = (files: Files, ...names: string[]): Files =>
  Object.fromEntries(Object.entries(files).filter(([name]) => !names.includes(name)));

const refused: Record<string, [Files, typeof RangeError | typeof SyntaxError, string[]]> = {
  "no files": [{}, RangeError, ["lacks config.json", "no files"]],
  "no config": [without(whole, "config.json"), RangeError, ["lacks config.json", "model.safetensors"]],
  "config is a list": [{ ...whole, "config.json": "[]" }, SyntaxError, ["config.json", "JSON object"]],
  "config repeats a field": [{ ...whole, "config.json": '{"a":1,"a":2}' }, SyntaxError, ["config.json", "twice"]],
  "pickles": [{ "config.json": config, "pytorch_model.bin": "x" }, RangeError, ["pytorch_model.bin", "as safetensors"]],
  "no weights": [{ "config.json": config }, RangeError, ["neither model.safetensors nor"]],
  "both": [{ ...sharded, ...whole }, RangeError, ["both", "remove"]],
  "a shard is missing": [without(sharded, two), SyntaxError, [two, "fetch the missing file", "index.json"]],
  "a shard is cut": [{ ...sharded, [two]: shard("b", 3, 4).subarray(0, -1) }, SyntaxError, [two, "again"]],
  "shards are shuffled": [{ ...sharded, [one]: sharded[two], [two]: sharded[one] }, SyntaxError, [one, two]],
  "index leaves the folder": [
    { ...sharded, "model.safetensors.index.json": index({ a: one, b: `../model/${two}` }) },
    SyntaxError,
    ["plain name"],
  ],
  "index is absolute": [
    { ...sharded, "model.safetensors.index.json": index({ a: one, b: `/tmp/${two}` }) },
    SyntaxError,
    ["plain name"],
  ],
};

for (const [name, [files, kind, messages]] of Object.entries(refused)) {
  Deno.test(`a folder is refused: ${name}`, () =>
    inFolder(files, async (dir) => {
      const error = await assertRejects(() => openSource(dir), kind);
      for (const message of [dir, ...messages]) assertStringIncludes(error.message, message);
    }));
}

Deno.test("links in a folder of the user's own are followed, wherever they lead", async () => {
  for (const file of ["config.json", one, "model.safetensors.index.json"]) {
    await inFolder(sharded, async (dir, outside) => {
      await Deno.rename(`${dir}/${file}`, `${outside}/${file}`);
      for (const target of [`${outside}/${file}`, `../${file}`]) {
        await Deno.symlink(target, `${dir}/${file}`);
        assertEquals((await openSource(dir)).tensors.names, ["a", "b"]);
        await Deno.remove(`${dir}/${file}`);
      }
      await Deno.symlink("nowhere", `${dir}/${file}`);
      await assertRejects(() => openSource(dir), RangeError, "link to nothing");
      await Deno.remove(`${dir}/${file}`);
      await Deno.rename(`${outside}/${file}`, `${dir}/renamed`);
      await Deno.symlink("renamed", `${dir}/${file}`);
      assertEquals((await openSource(dir)).tensors.names, ["a", "b"]);
      await Deno.symlink(dir, `${outside}/link`); // the folder itself may be a link
      assertEquals((await openSource(`${outside}/link`)).tensors.names, ["a", "b"]);
    });
  }
});

Deno.test("a snapshot of the cache may link to its own repository's blobs, and to no other place", () =>
  inFolder(sharded, async (dir, outside) => {
    const commit = "c".repeat(40);
    const repo = `${outside}/hub/models--org--x`;
    const snapshot = `${repo}/snapshots/${commit}`;
    await Deno.mkdir(snapshot, { recursive: true });
    await Deno.mkdir(`${repo}/blobs`);
    await Deno.mkdir(`${outside}/hub/models--org--y/blobs`, { recursive: true });
    for (const file of Object.keys(sharded)) {
      await Deno.rename(`${dir}/${file}`, `${repo}/blobs/${file}-hash`);
      await Deno.symlink(`../../blobs/${file}-hash`, `${snapshot}/${file}`);
    }
    const source = await openSource(snapshot);
    assertEquals([source.revision, source.tensors.names], [commit, ["a", "b"]]);
    for (const elsewhere of ["models--org--y/blobs", "models--org--x", "models--org--x/blobs/.."]) {
      await Deno.copyFile(`${repo}/blobs/${two}-hash`, `${outside}/hub/${elsewhere}/${two}-copy`);
      await Deno.remove(`${snapshot}/${two}`);
      await Deno.symlink(`../../../${elsewhere}/${two}-copy`, `${snapshot}/${two}`);
      await assertRejects(() => openSource(snapshot), RangeError, "outside of the downloaded snapshot");
    }
  }));

Deno.test("an id of the Hub opens by way of the cache; a folder of that name, and paths, stay local", async () => {
  const [first, second] = ["a".repeat(40), "b".repeat(40)];
  await using hub = fakeHub({
    "org/x": { commits: { [first]: whole, [second]: sharded }, refs: { main: second, v1: first } },
  });
  await inFolder({}, async (_, outside) => {
    const options = { endpoint: hub.endpoint, cacheDir: `${outside}/hub`, token: "hf_x" };
    const main = await openSource("org/x", options);
    assertEquals([main.name, main.revision, main.tensors.names], ["org/x", second, ["a", "b"]]);
    assertEquals(main.dir, `${outside}/hub/models--org--x/snapshots/${second}`);
    const pinned = await openSource("org/x@v1", options);
    assertEquals([pinned.name, pinned.revision, pinned.tensors.names], ["org/x", first, ["w"]]);
    assertEquals((await openSource("org/x", { ...options, revision: "v1" })).revision, first);
    await assertRejects(() => openSource("org/x@v1", { ...options, revision: "main" }), RangeError, "give one");
    const asked = hub.log.length;
    for (const path of ["./org/x", "/org/x", "x", "org/x/y", "../org", "org\\x"]) {
      const error = await assertRejects(() => openSource(path, options), RangeError, "no such folder");
      assertStringIncludes(error.message, JSON.stringify(path));
    }
    await assertRejects(() => openSource("data/nanoworld", options), RangeError, "lacks config.json"); // it exists
    assertEquals((await openSource("data/nano-llada", options)).config.model_type, "llada");
    assertEquals(hub.log.length, asked, "nothing is asked of the Hub for a local folder");
    assert((await openSource("data/nano-llada")).tensors.names.length > 9);
  });
});
