/** Checkpoints as users have them: masks without a field, configs that tools wrote to, links, pointers, numbers that no type holds. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { aqlm } from "../../lib/methods/aqlm/aqlm.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { openQuantization, quantize } from "../../lib/pipeline/quantize.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import type { Method } from "../../lib/quant/method.ts";
import { except } from "../../lib/quant/except.ts";
import type { ChatTokenizer } from "../../lib/checkpoint/tokenizer/tokenizer.ts";
import { exportCheckpoint } from "../../lib/export/export.ts";
import { copyCompanions } from "../../lib/checkpoint/hub/companions.ts";
import { everyMethod } from "../methods/every_method.ts";
import {
  checkpointTensors,
  familyConfigs,
  inFolder,
  randomTokens,
  tinyConfig,
  tinyWeights,
  writeCheckpoint,
} from "../model/tiny.ts";

const config = tinyConfig(), tensors = checkpointTensors(config, tinyWeights(config));
const cpu = { device: "cpu", threads: 1 } as const;

/** A tokenizer of 23 words, the last of them `mask`. */
const tokenizer = (mask: string) => {
  const words = Array.from({ length: 22 }, (_, i) => `w${i}`);
  const vocab = Object.fromEntries([...words, mask].map((word, id) => [word, id]));
  return JSON.stringify({
    ...{ version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: { type: "WhitespaceSplit" } },
    ...{ decoder: null, post_processor: null, model: { type: "WordLevel", vocab, unk_token: "w0" } },
  });
};

Deno.test("the mask: the option, the config, the tokenizer's own, then a token with a mask's name", () =>
  inFolder(async (folder) => {
    const { mask_token_id: _, ...bare } = config;
    const opened = async (options = {}) => (await openCheckpoint(folder, options)).architecture.maskId;
    await writeCheckpoint(folder, bare, tensors);
    await assertRejects(opened, RangeError, "--mask-id");
    assertEquals(await opened({ maskId: 7 }), 7);
    for (const mask of ["<|mask|>", "<|mdm_mask|>", "|<MASK>|", "[MASK]", "<mask>"]) {
      await Deno.writeTextFile(`${folder}/tokenizer.json`, tokenizer(mask));
      assertEquals(await opened(), 22, mask);
    }
    await Deno.writeTextFile(`${folder}/tokenizer_config.json`, JSON.stringify({ mask_token: "w3" }));
    assertEquals(await opened(), 3);
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify({ ...bare, mask_token_id: 5 }));
    assertEquals([await opened(), await opened({ maskId: 6 })], [5, 6]);
    await assertRejects(() => opened({ maskId: 23 }), RangeError, "mask_token_id is 23");
  }));

Deno.test("a config that tools wrote to loads with one line; an override answers a field that is not known", () =>
  inFolder(async (folder) => {
    await writeCheckpoint(folder, { ...config, _commit_hash: "05", temperature: 1, sparse: true }, tensors);
    await assertRejects(() => openCheckpoint(folder), RangeError, "--config-override sparse=null");
    const told: string[] = [];
    const options = { configOverrides: { sparse: null }, onNotice: (line: string) => told.push(line) };
    const opened = await openCheckpoint(folder, options);
    assertEquals([opened.config.sparse, told.length], [null, 1]);
    assertStringIncludes(told[0], "ignored _commit_hash, temperature");
  }));

Deno.test("iLLaDA: grouped queries and a tied head under transformers' names", () =>
  inFolder(async (folder) => {
    const illada = {
      ...{
        model_type: "illada",
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
      },
      ...{ intermediate_size: 32, vocab_size: 23, max_position_embeddings: 24, mask_token_id: 22, rms_norm_eps: 1e-6 },
      ...{ rope_theta: 100, hidden_act: "silu", attention_bias: false, mlp_bias: false, tie_word_embeddings: true },
    };
    await writeCheckpoint(folder, illada, checkpointTensors(illada, tinyWeights(illada)));
    await using model = await loadModel(folder, cpu);
    assertEquals([model.architecture.kvHeads, model.architecture.tiedHead], [2, true]);
    assert((await model.logits(randomTokens(6, 1))).data.every(Number.isFinite));
  }));

Deno.test("a pointer of Git LFS is called that, whichever file it stands for", () =>
  inFolder(async (folder) => {
    const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n";
    for (const file of ["model.safetensors", "config.json", "tokenizer.json"]) {
      await writeCheckpoint(folder, config, tensors);
      await Deno.writeTextFile(`${folder}/${file}`, pointer);
      const error = await assertRejects(() => openCheckpoint(folder), SyntaxError, "pointer of Git LFS");
      assertStringIncludes(error.message, file);
    }
  }));

Deno.test("a head of its own bits where the head is the embedding, and numbers that are none, are refused before any work", () =>
  inFolder(async (folder) => {
    const tied = { ...familyConfigs["Qwen3 diffusion"], tie_word_embeddings: true };
    await writeCheckpoint(`${folder}`, tied, checkpointTensors(tied, tinyWeights(tied)));
    const method = except(rtn({ bits: 2, group: 8 }), { head: rtn({ bits: 8, group: 8 }) });
    const out = `${folder}/out`;
    await assertRejects(
      async () => openQuantization(await openCheckpoint(folder), method, { out, seed: 1 }),
      RangeError,
      "--embed-bits",
    );
    for (const part of ["head", "embed"] as const) {
      const weights = tinyWeights(config);
      weights[part][40] = NaN;
      await writeCheckpoint(folder, config, checkpointTensors(config, weights));
      await using run = await openQuantization(await openCheckpoint(folder), rtn({ bits: 2, group: 8 }), {
        out,
        seed: 1,
        ...cpu,
      });
      await assertRejects(() => run.run(), RangeError, "weight 40 of what was read is NaN");
      assertEquals(
        await Array.fromAsync(Deno.readDir(folder)).then((all) => all.some(({ name }) => name === "out")),
        false,
      );
    }
  }));

Deno.test("groups that do not fit a model's linears are refused when it is opened, by the linear's name", () =>
  inFolder(async (folder) => {
    await writeCheckpoint(folder, config, tensors);
    const checkpoint = await openCheckpoint(folder),
      calibration = {
        windows: 2,
        length: 8,
        draw: () => {
          throw new Error("drawn");
        },
      };
    const of = (group: number) =>
      openQuantization(checkpoint, aqlm({ books: 1, bits: 2, group }), {
        ...cpu,
        out: `${folder}/out`,
        seed: 1,
        calibration,
      });
    await assertRejects(() => of(5), RangeError, 'blocks.0.q_proj.weight": its 16 columns are no whole groups of 5');
    await (await of(8))[Symbol.asyncDispose]();
  }));

Deno.test("a scale beyond fp16 is told by every method, with the linear's name", () =>
  inFolder(async (folder) => {
    const weights = tinyWeights(config);
    weights.blocks[1].up.forEach((x, i, all) => all[i] = x * 3e5);
    await writeCheckpoint(folder, config, checkpointTensors(config, weights));
    await using model = await loadModel(folder, cpu);
    const corpus = { windows: Array.from({ length: 4 }, (_, i) => randomTokens(10, i)) };
    const calibration = simulateMasks(corpus, { maskId: 22, seed: 1 });
    const shape = { bits: 2, group: 8 };
    const methods: Method[] = [rtn(shape), gptq(shape), levels(shape)];
    for (const profile of ["plus", "official", "paper"] as const) methods.push(daq({ ...shape, profile }));
    for (const { make } of Object.values(everyMethod)) methods.push(make(8));
    for (const method of methods) {
      const error = await assertRejects(
        () => quantize(model, method, { calibration, seed: 1 }),
        RangeError,
        "beyond fp16",
      );
      assertStringIncludes(error.message, "blocks.1.up_proj", method.name);
    }
  }));

Deno.test("files that no one needs stop nothing, and nothing from outside the folder is copied with them", () =>
  inFolder(async (folder) => {
    const [from, out] = [`${folder}/from`, `${folder}/out`];
    await Deno.mkdir(`${from}/tokenizer`, { recursive: true });
    await Deno.mkdir(out);
    await Deno.writeTextFile(`${folder}/secret`, "secret");
    await Deno.symlink("../secret", `${from}/LICENSE`);
    await Deno.symlink("nowhere", `${from}/tokenizer.model`);
    await Deno.writeTextFile(`${from}/merges.txt`, "a b");
    // Older downloads into a folder are links to a cache: what texts need goes along.
    for (const file of ["added_tokens.json", "generation_config.json"]) {
      await Deno.writeTextFile(`${folder}/${file}`, "{}");
      await Deno.symlink(`../${file}`, `${from}/${file}`);
    }
    assertEquals(await copyCompanions(from, out), ["added_tokens.json", "generation_config.json", "merges.txt"]);
  }));

Deno.test("files as editors and systems leave them: byte order marks, nulls, tokenizers without a type, litter", () =>
  inFolder(async (folder) => {
    const { mask_token_id: _, ...bare } = config, from = `${folder}/from`, mark = "\uFEFF";
    const write = (file: string, text: string) => Deno.writeTextFile(`${from}/${file}`, text);
    const told: string[] = [];
    const opened = async () => await openCheckpoint(from, { onNotice: (line) => told.push(line) });
    await Deno.mkdir(from);
    await writeCheckpoint(from, bare, tensors);
    await write("config.json", mark + JSON.stringify(bare));
    const { model: { type: __, ...model }, ...rest } = JSON.parse(tokenizer("w22"));
    await write("tokenizer.json", mark + JSON.stringify({ ...rest, model }));
    // A role that one file leaves open is what the other says.
    await write("special_tokens_map.json", JSON.stringify({ mask_token: "w22", eos_token: { content: "w1" } }));
    await write("tokenizer_config.json", mark + JSON.stringify({ mask_token: null, eos_token: null }));
    const { architecture, tokenizer: read } = await opened();
    const endsOf = (tokenizer: unknown) => (tokenizer as ChatTokenizer).eosIds;
    assertEquals([architecture.maskId, endsOf(read), [...read!.encode("w3 w9")]], [22, [1], [3, 9]]);
    assertEquals(told, []);
    await write("generation_config.json", "<html>");
    assertEquals(endsOf((await opened()).tokenizer), [1]);
    assertEquals(told.length, 1);
    assertStringIncludes(told[0], "generation_config.json");
    // What a system leaves in a folder does not make it used.
    const out = `${folder}/out`;
    await Deno.mkdir(out);
    await Deno.writeTextFile(`${out}/.DS_Store`, "");
    await using run = await openQuantization(await opened(), rtn({ bits: 2, group: 8 }), {
      ...cpu,
      out,
      seed: 1,
      measure: false,
    });
    await run.run();
    await loadModel(out, cpu).then((model) => model[Symbol.asyncDispose]());
    const exported = `${folder}/exported`;
    await Deno.mkdir(exported);
    await Deno.writeTextFile(`${exported}/Thumbs.db`, "");
    await exportCheckpoint(out, { format: "hf", out: exported });
    assertEquals((await openCheckpoint(exported)).architecture.layers, 2);
  }));
