import { assert } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { inFolder } from "../model/tiny.ts";

/** Peak resident memory of a quantisation of so many blocks. */
async function peak(layers: number): Promise<number> {
  let bytes = NaN;
  await inFolder(async (folder) => {
    const child = fromFileUrl(new URL("memory_child.ts", import.meta.url));
    const args = ["run", "--no-check", "-A", child, folder, String(layers)];
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    assert(success, new TextDecoder().decode(stderr));
    bytes = JSON.parse(new TextDecoder().decode(stdout));
  });
  return bytes;
}

Deno.test("quantising on disk takes the same memory for six blocks as for two", async () => {
  const two = await peak(2);
  const six = await peak(6);
  const block = 4 * (4 * 1024 ** 2 + 3 * 1024 * 3072);
  console.log(
    `peak with 2 blocks ${(two / 1e6).toFixed(0)} MB, with 6 ${(six / 1e6).toFixed(0)} MB; a block is ${
      block / 1e6
    } MB`,
  );
  // Four blocks more in float32 would be twice this. Garbage that is not collected yet makes the peak waver by less than one.
  assert(six - two < 2 * block, `${six - two} bytes more`);
});
