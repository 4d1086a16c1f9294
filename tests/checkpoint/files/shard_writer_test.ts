import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import fc from "fast-check";
import { encodeSafetensors, joinChunks, openSafetensors, type TensorBytes } from "../../../lib/format/safetensors.ts";
import { openShards } from "../../../lib/format/shards.ts";
import { fileSource } from "../../../lib/checkpoint/files/file_source.ts";
import { planShards, type TensorHead, writeShards } from "../../../lib/checkpoint/files/shard_writer.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { inFolder } from "../../model/tiny.ts";

const config = { model_type: "llada" };
const bytesPer = { F32: 4, BF16: 2, U8: 1 } as const;

/** Made-up tensors; a third of them are given in pieces. */
function made(count: number, seed: number) {
  const r = rng(seed, "tensors");
  const dtypes = ["F32", "BF16", "U8"] as const;
  const tensors: Record<string, TensorBytes> = {};
  for (let i = 0; i < count; i++) {
    const dtype = dtypes[r.int(3)], shape = [r.int(20), 1 + r.int(9)];
    const bytes = Uint8Array.from({ length: shape[0] * shape[1] * bytesPer[dtype] }, () => r.int(256));
    tensors[`blocks.${r.int(1000)}.${i}.weight`] = { dtype, shape, bytes };
  }
  const list: TensorHead[] = Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const pieces = async function* (bytes: Uint8Array) {
    for (let at = 0; at < bytes.length; at += 7) yield await Promise.resolve(bytes.subarray(at, at + 7));
  };
  const read = (name: string) => {
    const { bytes } = tensors[name];
    return Number(name.split(".")[2]) % 3 === 0 ? pieces(bytes) : Promise.resolve(bytes);
  };
  return { tensors, list, read };
}

const filesOf = async (dir: string) => (await Array.fromAsync(Deno.readDir(dir))).map((e) => e.name).sort();

Deno.test("one shard is the file that encodeSafetensors gives, byte for byte", () =>
  inFolder(async (dir) => {
    const { tensors, list, read } = made(30, 1);
    const { totalBytes } = await writeShards(dir, list, { read, config });
    const wanted = joinChunks(encodeSafetensors(tensors, { format: "pt" }));
    assertEquals(await Deno.readFile(`${dir}/model.safetensors`), wanted);
    assertEquals(await filesOf(dir), ["config.json", "model.safetensors"]);
    assertEquals(totalBytes, Object.values(tensors).reduce((sum, t) => sum + t.bytes.length, 0));
    assertEquals(JSON.parse(await Deno.readTextFile(`${dir}/config.json`)), config);
  }));

Deno.test("shards of any size read back as what was written, none larger than it may be", () =>
  fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 2000, max: 12000 }), (count, max) =>
      inFolder(async (dir) => {
        const { tensors, list, read } = made(count, count);
        const progress: number[] = [];
        const options = {
          config,
          maxShardBytes: max,
          onProgress: (done: number) =>
            void progress.push(done),
        };
        const { shards, totalBytes } = await writeShards(dir, list, { read, ...options });
        for (const [file] of shards) {
          assert((await Deno.stat(`${dir}/${file}`)).size <= max);
        }
        const index = `${dir}/model.safetensors.index.json`;
        const open = async (file: string) =>
          await fileSource(`${dir}/${file}`);
        const source = shards.length > 1
          ? await openShards(index, await Deno.readTextFile(index), open)
          : await openSafetensors(await open("model.safetensors"));
        assertEquals([...source.names].sort(), Object.keys(tensors).sort());
        for (const name of source.names) assertEquals(await source.read(name), tensors[name].bytes);
        assertEquals(progress.at(-1) ?? 0, totalBytes);
        if (shards.length > 1) {
          assertEquals(shards[0][0], `model-00001-of-${String(shards.length).padStart(5, "0")}.safetensors`);
          const { metadata, weight_map } = JSON.parse(await Deno.readTextFile(index));
          assertEquals(metadata, { total_size: totalBytes });
          assertEquals(Object.keys(weight_map).length, list.length);
        }
      })),
    { numRuns: 25, seed: 4 },
  ));

Deno.test("the default limit is 2 GiB; a tensor beyond the limit has a file of its own", () => {
  const square = (name: string): TensorHead => ({ name, dtype: "BF16", shape: [2 ** 14, 2 ** 14] });
  const { shards, totalBytes } = planShards(["a", "b", "c", "d", "e"].map(square));
  assertEquals(shards.map(([, list]) => list.length), [3, 2]); // four would be 2 GiB without their header
  assertEquals(totalBytes, 5 * 2 ** 29);
  assertEquals(planShards([square("a"), square("b")], 1000).shards.length, 2);
  assertThrows(() => planShards([]), RangeError, "there are no tensors");
  assertThrows(() => planShards([square("a")], 0), RangeError, "maxShardBytes is 0");
});

Deno.test("a read that fails, or gives other bytes than promised, leaves nothing that looks whole", () =>
  inFolder(async (dir) => {
    const { list, read } = made(20, 3);
    const last = list.at(-1)!.name;
    const options = { config, maxShardBytes: 2000 };
    const fails = (name: string) => name === last ? Promise.reject(new SyntaxError("ended early")) : read(name);
    await assertRejects(() => writeShards(dir, list, { read: fails, ...options }), SyntaxError, "ended early");
    for (const wrong of [0, 5000]) {
      const short = (name: string) => name === last ? Promise.resolve(new Uint8Array(wrong)) : read(name);
      await assertRejects(
        () => writeShards(dir, list, { read: short, ...options }),
        TypeError,
        `"${last}": it has ${wrong} bytes`,
      );
    }
    const stop = new AbortController();
    const late = (name: string) => (name === last && stop.abort(new Error("interrupted")), read(name));
    await assertRejects(
      () => writeShards(dir, list, { read: late, ...options, signal: stop.signal }),
      Error,
      "interrupted",
    );
    const files = await filesOf(dir);
    assert(files.length > 0 && files.every((file) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(file)), `${files}`);
    // A second try replaces the shards that are there.
    await writeShards(dir, list, { read, ...options });
    assert((await filesOf(dir)).includes("config.json"));
  }));

Deno.test("a folder with a checkpoint, with other weights or with a running writer is refused, and stays as it is", () =>
  inFolder(async (dir) => {
    const { list, read } = made(3, 5);
    const part = `model.safetensors.${crypto.randomUUID()}.part`;
    for (
      const [file, message] of [
        ["config.json", "it holds a complete checkpoint"],
        ["model-00001-of-00003.safetensors", '"model-00001-of-00003.safetensors", which is not one of the files'],
        [part, "of a run that writes there, or was killed"],
      ]
    ) {
      await Deno.writeTextFile(`${dir}/${file}`, "old");
      await assertRejects(() => writeShards(dir, list, { read, config }), RangeError, message);
      assertEquals(await filesOf(dir), [file]);
      assertEquals(await Deno.readTextFile(`${dir}/${file}`), "old");
      if (file !== part) await Deno.remove(`${dir}/${file}`);
    }
    await writeShards(dir, list, { read, config, replace: true });
    assertEquals(await filesOf(dir), ["config.json", "model.safetensors"]);
  }));

Deno.test("a disk that refuses more bytes: the error names the file, and no part of it is left", () =>
  inFolder(async (dir) => {
    if (Deno.build.os === "windows") return;
    const writer = new URL("../../../lib/checkpoint/files/shard_writer.ts", import.meta.url).href;
    const script = `
      import { writeShards } from ${JSON.stringify(writer)};
      const heads = ["a", "b"].map((name) => ({ name, dtype: "U8", shape: [200000] }));
      const read = () => Promise.resolve(new Uint8Array(200000));
      await writeShards(${JSON.stringify(dir)}, heads, { read, config: {}, maxShardBytes: 1000 })
        .catch((e) => console.log(e.message));`;
    await Deno.writeTextFile(`${dir}/script.ts`, script);
    // A limit on the size of files stands for a full disk: the system refuses the write that crosses it.
    const command = `trap '' XFSZ; ulimit -f 150; exec "$0" run --no-check --quiet --allow-all "$1" "$2"`;
    const config = `--config=${fromFileUrl(new URL("../../../deno.json", import.meta.url))}`;
    const args = ["-c", command, Deno.execPath(), config, `${dir}/script.ts`];
    const { stdout } = await new Deno.Command("sh", { args }).output();
    const said = new TextDecoder().decode(stdout);
    assert(
      said.includes(`Cannot write "${dir}/model-00001-of-00002.safetensors"`) && said.includes("free space"),
      said,
    );
    assertEquals(await filesOf(dir), ["script.ts"]);
  }));
