/** Tiny checkpoints in the layout of the published ones: sharded bf16 safetensors with an index. */
import { encodeSafetensors, type TensorBytes } from "../../lib/format/safetensors.ts";
import type { Config } from "../../lib/model/config.ts";
import { writeFileAtomic } from "../../lib/checkpoint/files/file_source.ts";
import { checkpointTensors, tinyWeights } from "../model/tiny.ts";

/** Writes the shards, about `perShard` tensors each, the index and the config; gives the tensors. */
export async function writeSharded(
  folder: string,
  config: Config,
  { perShard = 9, seed = 1 } = {},
): Promise<Record<string, TensorBytes>> {
  const tensors = checkpointTensors(config, tinyWeights(config, seed), "BF16");
  await Deno.mkdir(folder, { recursive: true });
  const names = Object.keys(tensors);
  const count = Math.ceil(names.length / perShard);
  const map: Record<string, string> = {};
  let total = 0;
  const digits = (n: number) => String(n).padStart(5, "0");
  for (let shard = 0; shard < count; shard++) {
    const some = names.slice(shard * perShard, (shard + 1) * perShard);
    const file = `model-${digits(shard + 1)}-of-${digits(count)}.safetensors`;
    for (const name of some) map[name] = file;
    total += some.reduce((sum, name) => sum + tensors[name].bytes.length, 0);
    const entries = some.map((name): [string, TensorBytes] => [name, tensors[name]]);
    await writeFileAtomic(`${folder}/${file}`, encodeSafetensors(entries, { format: "pt" }));
  }
  const index = { metadata: { total_size: total }, weight_map: map };
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, JSON.stringify(index));
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
  return tensors;
}

/** Every file of a folder with its bytes as text in hex, sorted, to compare folders. */
export async function contents(folder: string, prefix = ""): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) Object.assign(files, await contents(`${folder}/${name}`, `${prefix}${name}/`));
    else files[prefix + name] = (await Deno.readFile(`${folder}/${name}`)).toHex();
  }
  return Object.fromEntries(Object.entries(files).sort(([a], [b]) => a < b ? -1 : 1));
}
