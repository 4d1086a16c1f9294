/** Writes the files of NanoWorld and its tokenizer below data/: `deno run --allow-read --allow-write scripts/make-world.ts [--seed N] [--entities N] [--out DIR]`. */

import { dirname, fromFileUrl, join } from "@std/path";
import { parseArgs } from "@std/cli/parse-args";
import { worldFiles } from "../lib/nanoworld/files.ts";
import { createWorld, WORLD_ENTITIES, WORLD_SEED } from "../lib/nanoworld/world.ts";

const flags = parseArgs(Deno.args, {
  string: ["seed", "entities", "out"],
  default: {
    seed: String(WORLD_SEED),
    entities: String(WORLD_ENTITIES),
    out: fromFileUrl(new URL("../data", import.meta.url)),
  },
});
const world = createWorld({ seed: Number(flags.seed), entities: Number(flags.entities) });
const files = worldFiles(world);
let bytes = 0;
for (const [path, text] of files) {
  const target = join(flags.out, path);
  await Deno.mkdir(dirname(target), { recursive: true });
  await Deno.writeTextFile(target, text);
  bytes += text.length;
  console.error(`${path}: ${text.length} bytes`);
}
console.log(JSON.stringify({ version: world.version, seed: world.seed, files: files.size, bytes }));
