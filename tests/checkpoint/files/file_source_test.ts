import { assertEquals, assertRejects } from "@std/assert";
import { encodeSafetensors, openSafetensors } from "../../../lib/format/safetensors.ts";
import { fileSource, ifThere, writeFileAtomic } from "../../../lib/checkpoint/files/file_source.ts";

async function inFolder(body: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const names = async (folder: string) => (await Array.fromAsync(Deno.readDir(folder))).map((e) => e.name).sort();

Deno.test("a safetensors file written atomically reads back through fileSource, reads overlapping in time", () =>
  inFolder(async (folder) => {
    const path = `${folder}/model.safetensors`;
    const bytes = Uint8Array.from({ length: 400_000 }, (_, i) => i % 251);
    await writeFileAtomic(
      path,
      encodeSafetensors({
        a: { dtype: "U8", shape: [400_000], bytes },
        b: { dtype: "U8", shape: [2], bytes: Uint8Array.of(1, 2) },
      }),
    );
    assertEquals(await names(folder), ["model.safetensors"]);
    const file = await openSafetensors(await fileSource(path));
    const [a, b, again] = await Promise.all([file.read("a"), file.read("b"), file.read("a")]);
    assertEquals(a, bytes);
    assertEquals(again, bytes);
    assertEquals(b, Uint8Array.of(1, 2));
  }));

Deno.test("writeFileAtomic keeps the old file and leaves nothing behind when the chunks fail", () =>
  inFolder(async (folder) => {
    const path = `${folder}/rows.jsonl`;
    await writeFileAtomic(path, [Uint8Array.of(7)]);
    await assertRejects(
      () =>
        writeFileAtomic(
          path,
          function* () {
            yield Uint8Array.of(1, 2, 3);
            throw new RangeError("half way");
          }(),
        ),
      RangeError,
      "half way",
    );
    const abort = AbortSignal.abort(new Error("stopped"));
    await assertRejects(() => writeFileAtomic(path, [Uint8Array.of(8)], { signal: abort }), Error, "stopped");
    assertEquals(await Deno.readFile(path), Uint8Array.of(7));
    assertEquals(await names(folder), ["rows.jsonl"]);
  }));

Deno.test("fileSource refuses a folder and a missing file", () =>
  inFolder(async (folder) => {
    await assertRejects(() => fileSource(folder), TypeError, "not a regular file");
    await assertRejects(() => fileSource(`${folder}/none`), Deno.errors.NotFound);
  }));

Deno.test("ifThere: what an action gives, undefined where there is no file, and every other error", () =>
  inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/file`, "text");
    assertEquals(await ifThere(Deno.readTextFile(`${dir}/file`)), "text");
    assertEquals(await ifThere(Deno.readTextFile(`${dir}/none`)), undefined);
    assertEquals(await ifThere(Deno.readTextFile(`${dir}/file/inside`)), undefined);
    await assertRejects(() => ifThere(Deno.readTextFile(dir)), Error);
    await assertRejects(() => ifThere(Promise.reject(new SyntaxError("malformed"))), SyntaxError, "malformed");
  }));
