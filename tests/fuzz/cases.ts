/** One damaged file and what reading it comes to. */
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { loadCorpus } from "../../lib/corpus/corpus.ts";
import { aqlm } from "../../lib/methods/aqlm/aqlm.ts";
import { awq } from "../../lib/methods/awq.ts";
import { billm } from "../../lib/methods/billm.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { pt2Llm } from "../../lib/methods/pt2/pt2_llm.ts";
import { sbvr } from "../../lib/methods/sbvr/sbvr.ts";
import { sdqLlm } from "../../lib/methods/sdq/sdq_llm.ts";
import { slimLlm } from "../../lib/methods/slim/slim_llm.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { visible } from "../../lib/diffusion/mcs.ts";
import { writeShards } from "../../lib/checkpoint/files/shard_writer.ts";
import { rng } from "../../lib/tensor/rng.ts";
import {
  checkpointTensors,
  familyConfigs,
  randomTokens,
  tinyConfig,
  tinyModel,
  tinyWeights,
  writeCheckpoint,
} from "../model/tiny.ts";
import { damaged, damagedJson } from "./mutate.ts";

export const kinds = ["safetensors", "index", "config", "tokenizer", "packed", "parquet", "jsonl", "text"] as const;
export type Kind = typeof kinds[number];

/** `clear` errors are ours: they begin with "Cannot" and name the file or its folder. */
export interface Outcome {
  readonly outcome: "right" | "clear" | "unclear";
  readonly message?: string;
}

const config = tinyConfig(), cpu = { device: "cpu", threads: 1 } as const;
const words = (r: ReturnType<typeof rng>, count: number) =>
  Array.from({ length: count }, () => `w${r.int(22)}`).join(" ");
const tokenizer = JSON.stringify({
  ...{
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [{ id: 22, content: "<|mask|>", special: true }],
  },
  ...{ normalizer: { type: "Lowercase" }, pre_tokenizer: { type: "WhitespaceSplit" }, decoder: null },
  post_processor: null,
  model: {
    ...{ type: "WordLevel", unk_token: "w0" },
    vocab: Object.fromEntries([...Array.from({ length: 22 }, (_, i) => `w${i}`), "<|mask|>"].map((w, i) => [w, i])),
  },
});
const settings = JSON.stringify({
  mask_token: "<|mask|>",
  chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}",
});

/** Writes whole files below `folder`, once; cases damage copies of them. */
export async function prepare(folder: string): Promise<void> {
  for (const [name, family] of [["plain", config], ["moe", familyConfigs["LLaDA-MoE"]]] as const) {
    await Deno.mkdir(`${folder}/${name}`, { recursive: true });
    await writeCheckpoint(`${folder}/${name}`, family, checkpointTensors(family, tinyWeights(family), "BF16"));
    await Deno.writeTextFile(`${folder}/${name}/tokenizer.json`, tokenizer);
    await Deno.writeTextFile(`${folder}/${name}/tokenizer_config.json`, settings);
  }
  const tensors = checkpointTensors(config, tinyWeights(config), "BF16");
  const heads = Object.entries(tensors).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  await Deno.mkdir(`${folder}/sharded`);
  const read = (name: string) => Promise.resolve(tensors[name].bytes as Uint8Array);
  await writeShards(`${folder}/sharded`, heads, { read, config, maxShardBytes: 4000 });
  await using model = await tinyModel();
  const calibration = visible({ windows: [randomTokens(10, 1), randomTokens(10, 2)] });
  for (const [i, method] of methods.entries()) {
    await saveModel(await quantize(model, method, { calibration, seed: 1 }), `${folder}/packed${i}`);
  }
}

/** Between them every stored form. */
const methods = [
  daq({ bits: 2, group: 8 }),
  levels({ bits: 2, group: 8 }),
  gptq({ bits: 3, group: 8, actOrder: true }),
  awq({ bits: 3, group: 8 }),
  slimLlm({ bits: 2, group: 4 }),
  billm({ group: 8 }),
  aqlm({ books: 2, bits: 3, group: 4 }),
  pt2Llm({ group: 8 }),
  sbvr({ sums: 2, group: 8 }),
  sdqLlm({ rate: 1.25, group: 8 }),
];

/** Damages a copy of a file of that kind in `folder` and reads it; with seed 0 as it is, which must be right. */
export async function runCase(
  kind: Kind,
  seed: number,
  { whole, folder }: { whole: string; folder: string },
): Promise<Outcome> {
  const r = rng(seed, "fuzz", kind), at = `${folder}/${kind}-${seed}`;
  await Deno.mkdir(at, { recursive: true });
  const copy = async (from: string) => {
    for await (const { name } of Deno.readDir(`${whole}/${from}`)) {
      await Deno.copyFile(`${whole}/${from}/${name}`, `${at}/${name}`);
    }
  };
  const change = async (file: string, change: (bytes: Uint8Array) => Uint8Array | string) => {
    const changed = change(await Deno.readFile(`${at}/${file}`));
    if (seed === 0) return;
    await Deno.writeFile(`${at}/${file}`, typeof changed === "string" ? new TextEncoder().encode(changed) : changed);
  };
  const json = (bytes: Uint8Array) => damagedJson(new TextDecoder().decode(bytes), r);
  const header = (bytes: Uint8Array) => {
    // The header as JSON, damaged, with a length that fits or not.
    const size = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const text = new TextEncoder().encode(json(bytes.subarray(8, 8 + size)));
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(text.length + (r.int(8) === 0 ? 8 : 0)), true);
    return Uint8Array.from([...length, ...text, ...bytes.subarray(8 + size)]);
  };
  const weights = () => change("model.safetensors", r.int(2) ? header : (bytes) => damaged(bytes, r));
  const load = async () => {
    await using model = await loadModel(at, cpu);
    const length = Math.min(8, model.architecture.maxLength);
    await model.logits(randomTokens(length, 1, Math.min(22, model.vocabSize)));
    return model;
  };
  const corpus = (file: string) => {
    const split = { encode: (text: string) => Int32Array.from(text.split(/\s+/), (w) => w.length), decode: () => "" };
    return loadCorpus(`${at}/${file}`, { tokenizer: split, count: 2, length: 4, seed: 1 });
  };
  try {
    switch (kind) {
      case "safetensors":
        await copy(r.int(3) ? "plain" : "moe");
        await weights();
        await load();
        break;
      case "index":
        await copy("sharded");
        await change("model.safetensors.index.json", json);
        await load();
        break;
      case "config":
        await copy(r.int(3) ? "plain" : "moe");
        await change("config.json", json);
        await load();
        break;
      case "tokenizer": {
        await copy("plain");
        await change(r.int(3) ? "tokenizer.json" : "tokenizer_config.json", json);
        const { tokenizer } = await openCheckpoint(at);
        tokenizer?.decode(tokenizer.encode("w1 w2 w3"));
        break;
      }
      case "packed":
        await copy(`packed${r.int(methods.length)}`);
        if (r.int(2)) await change("config.json", json);
        else await weights();
        await load();
        break;
      case "parquet":
        await Deno.copyFile(new URL("../corpus/sample.parquet", import.meta.url), `${at}/a.parquet`);
        await change("a.parquet", (bytes) => damaged(bytes, r));
        await corpus("a.parquet");
        break;
      case "jsonl": {
        const lines = Array.from({ length: 6 }, () => JSON.stringify({ text: words(r, 9) }));
        const whole = r.int(2) ? lines.join("\n") : `[${lines.join(",")}]`,
          file = whole[0] === "[" ? "a.json" : "a.jsonl";
        await Deno.writeTextFile(`${at}/${file}`, whole);
        await change(file, (bytes) => r.int(2) && file === "a.json" ? json(bytes) : damaged(bytes, r));
        await corpus(file);
        break;
      }
      default:
        await Deno.writeTextFile(`${at}/a.txt`, Array.from({ length: 6 }, () => words(r, 9)).join("\n"));
        await change("a.txt", (bytes) => damaged(bytes, r));
        await corpus("a.txt");
    }
    return { outcome: "right" };
  } catch (error) {
    const { name, message } = error as Error;
    const leaked = /is not a function|of undefined|of null|not iterable|Invalid array length|unreachable/.test(message);
    const clear = !leaked && /^(Cannot|There is no)/.test(message) &&
      (message.includes(at) || message.includes(kind) || /"[^"]+"/.test(message));
    return { outcome: clear ? "clear" : "unclear", message: `${name}: ${message}` };
  } finally {
    await Deno.remove(at, { recursive: true });
  }
}
