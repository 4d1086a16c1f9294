/** Writes the files of NanoWorld and its tokenizer below data/: `deno run --allow-read --allow-write scripts/make-world.ts [--seed N] [--entities N] [--out DIR]`. */

import { dirname, fromFileUrl, join } from "@std/path";
import { worldFiles } from "../lib/nanoworld/files.ts";
import { createWorld, WORLD_ENTITIES, WORLD_SEED } from "../lib/nanoworld/world.ts";
import { count, readOptions } from "./options.ts";

const options = readOptions("deno task make-world [options]", {
  seed: { default: String(WORLD_SEED), help: "of the world", check: count() },
  entities: { default: String(WORLD_ENTITIES), help: "persons of the world", check: count() },
  out: { default: fromFileUrl(new URL("../data", import.meta.url)), help: "folder of the files", path: true },
});
const world = createWorld({ seed: Number(options.seed), entities: Number(options.entities) });
const files = worldFiles(world);
let bytes = 0;
for (const [path, text] of files) {
  const target = join(options.out, path);
  await Deno.mkdir(dirname(target), { recursive: true });
  await Deno.writeTextFile(target, text);
  bytes += text.length;
  console.error(`${path}: ${text.length} bytes`);
}
console.log(JSON.stringify({ version: world.version, seed: world.seed, files: files.size, bytes }));
