/** The package as others get it: what is published, and a folder elsewhere that imports it by its name. */
import { assert, assertEquals } from "@std/assert";
import { deno } from "./deno.ts";

const root = decodeURIComponent(new URL("../", import.meta.url).pathname);

Deno.test("package: holds lib, what lib reads, README and licence, in under 3 MB", async () => {
  const { code, stderr } = await deno(["publish", "--dry-run", "--allow-dirty", "--config", `${root}deno.json`], {
    NO_COLOR: "1",
  });
  assertEquals(code, 0, stderr);
  const files = Array.from(stderr.matchAll(/^\s+file:\/\/(\S+) \(([\d.]+)(B|KB|MB)\)$/gm), ([, path, size, unit]) => ({
    path: decodeURIComponent(path).slice(root.length),
    bytes: Number(size) * { B: 1, KB: 1024, MB: 1024 ** 2 }[unit as "B" | "KB" | "MB"],
  }));
  assert(files.length > 100, `only ${files.length} files were read from the list`);
  const wanted = /^(lib\/|data\/nanoworld\/(tasks\/|validation\.jsonl$)|(README\.md|LICENSE|deno\.json)$)/;
  assertEquals(files.filter(({ path }) => !wanted.test(path)), []);
  for (const path of ["lib/mod.ts", "README.md", "LICENSE"]) assert(files.some((f) => f.path === path), path);
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  assert(bytes < 3e6, `${bytes} bytes`);
});

Deno.test("package: a folder elsewhere imports it by its name, loads the testbed and quantises it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { name, version } = JSON.parse(await Deno.readTextFile(`${root}deno.json`));
    const imports = { "quant-dllm": `jsr:${name}@^${version}` };
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ links: [root], imports, lock: false }));
    const use = `
      import { evaluate, loadModel, quantize, rtn, tasks } from "quant-dllm";
      await using model = await loadModel(Deno.args[0], { device: "cpu" });
      await using small = await quantize(model, rtn({ bits: 2, group: 64 }));
      const [row] = await evaluate(small, [tasks.nano_mmlu], { limit: 20, seed: 1 });
      console.log(JSON.stringify([row.method, row.bitsPerWeight, row.n]));`;
    await Deno.writeTextFile(`${folder}/use.ts`, use);
    const run = ["run", "--no-check", "-A", "--config", `${folder}/deno.json`, `${folder}/use.ts`];
    const { code, stdout, stderr } = await deno([...run, `${root}data/nano-llada`]);
    assertEquals(code, 0, stderr);
    assertEquals(JSON.parse(stdout), ["rtn-2b-g64", 2.28125, 20]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
