/** Checkpoints of random weights at full size, under the published names: what scale is measured on. */
import process from "node:process";
import { encodeSafetensors, type TensorBytes } from "../../lib/format/safetensors.ts";
import { tensorShapes } from "../../lib/checkpoint/open.ts";
import type { Config } from "../../lib/model/config.ts";
import { familyOf } from "../../lib/model/families/families.ts";
import { writeFileAtomic } from "../../lib/checkpoint/files/file_source.ts";

/** The config of LLaDA-8B with `layers` blocks; its vocabulary is 126464. */
export function llada8b(layers: number, vocabSize = 1024): Config {
  return {
    architectures: ["LLaDAModelLM"],
    model_type: "llada",
    d_model: 4096,
    n_layers: layers,
    n_heads: 32,
    n_kv_heads: 32,
    mlp_hidden_size: 12288,
    vocab_size: vocabSize,
    embedding_size: vocabSize,
    max_sequence_length: 4096,
    mask_token_id: vocabSize - 1,
    block_type: "llama",
    activation_type: "silu",
    layer_norm_type: "rms",
    rms_norm_eps: 1e-5,
    rope: true,
    rope_theta: 500000,
    weight_tying: false,
    torch_dtype: "bfloat16",
  };
}

/**
 * Writes a checkpoint of zeros in sparse files: headers are real and no disk is taken, so that what LLaDA-8B takes can be planned without its weights.
 */
export async function writeSparse(folder: string, config: Config): Promise<void> {
  const family = familyOf(config, "config.json");
  await Deno.mkdir(folder, { recursive: true });
  const entries: string[] = [];
  let end = 0;
  for (const [name, shape] of tensorShapes(family, family.architecture(config, "config.json"))) {
    const begin = end;
    end += 2 * shape.reduce((x, y) => x * y);
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: "BF16", shape, data_offsets: [begin, end] })}`);
  }
  const header = new TextEncoder().encode(`{${entries.join(",")}}`);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  const file = `${folder}/model.safetensors`;
  await Deno.writeFile(file, Uint8Array.from([...length, ...header]));
  await Deno.truncate(file, 8 + header.length + end);
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
}

/** Writes config and one shard per block: bf16, linears of spread 0.02 with heavy tails, norms near one. */
export async function writeSynthetic(folder: string, config: Config): Promise<void> {
  const family = familyOf(config, "config.json");
  await Deno.mkdir(folder, { recursive: true });
  const shapes = [...tensorShapes(family, family.architecture(config, "config.json"))];
  const shardOf = (name: string) => Number(/\.(\d+)\./.exec(name)?.[1] ?? -1) + 1;
  const shards = [...Map.groupBy(shapes, ([name]) => shardOf(name))].sort(([a], [b]) => a - b);
  const map: Record<string, string> = {};
  let total = 0, seed = 1;
  for (const [shard, members] of shards) {
    const file = `model-${String(shard + 1).padStart(5, "0")}-of-${String(shards.length).padStart(5, "0")}.safetensors`;
    const tensors = members.map(([name, shape]): [string, TensorBytes] => {
      const words = noise(shape.reduce((x, y) => x * y), shape.length === 1 ? 1 : 0, 0.02, seed++);
      map[name] = file;
      total += words.byteLength;
      return [name, { dtype: "BF16", shape, bytes: new Uint8Array(words.buffer) }];
    });
    await writeFileAtomic(`${folder}/${file}`, encodeSafetensors(tensors, { format: "pt" }));
  }
  const index = { metadata: { total_size: total }, weight_map: map };
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, JSON.stringify(index));
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
}

/** bf16 of mean + spread · (a sum of three uniform numbers, one in 64 of them four times as large); a xorshift, for speed. */
function noise(count: number, mean: number, spread: number, seed: number): Uint16Array<ArrayBuffer> {
  const words = new Uint16Array(count);
  const one = new Float32Array(1), bits = new Uint32Array(one.buffer);
  let state = 0x9e3779b9 ^ (seed * 0x85ebca6b);
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const u = (state & 0x3ff) + ((state >>> 10) & 0x3ff) + ((state >>> 20) & 0x3ff);
    one[0] = mean + spread * (u / 512 - 2.9971) * ((state >>> 26) === 0 ? 4 : 1);
    words[i] = bits[0] >>> 16;
  }
  return words;
}

/** Peak and present resident memory of this process in bytes. */
export function residentMemory(): { readonly peak: number; readonly now: number } {
  return { peak: 1024 * process.resourceUsage().maxRSS, now: Deno.memoryUsage().rss };
}
