import { assertEquals } from "@std/assert";
import { planted } from "./planted.ts";

Deno.test("every planted fault still has its one place in the code, and tests that are there", async () => {
  for (const { name, file, find, put, tests } of planted) {
    const text = await Deno.readTextFile(file);
    assertEquals([text.split(find).length - 1, find === put], [1, false], `${name}: ${file}`);
    for (const path of tests) assertEquals((await Deno.stat(path)).isFile, true, path);
  }
});
