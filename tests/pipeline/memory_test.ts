import { assert } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { inFolder } from "../model/tiny.ts";

const block = 4 * (4 * 1024 ** 2 + 3 * 1024 * 3072);
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

Deno.test("quantising on disk holds no more at the third block than at the second", () =>
  inFolder(async (folder) => {
    const child = fromFileUrl(new URL("memory_child.ts", import.meta.url));
    const args = ["run", "--no-check", "-A", "--v8-flags=--expose-gc", child, folder, "4"];
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    assert(success, new TextDecoder().decode(stderr));
    const held: number[] = JSON.parse(new TextDecoder().decode(stdout));
    console.log(`held during each block ${held.map(megabytes).join(", ")}; a block is ${megabytes(block)}`);
    // A block that stays is one more in float32. What is caught in passing differs by a fourth of one; the last block sees the end, too.
    assert(held[2] - held[1] < 0.5 * block, `${held[2] - held[1]} bytes more`);
  }));
