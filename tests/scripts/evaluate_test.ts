/** `deno task evaluate` on checkpoints with other tokenizers than the testbed's, as a person runs it. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { boundOn, evaluate, loadCorpus, loadModel } from "quant-dllm";
import { rng } from "quant-dllm/testbed";
import { fakeHub } from "../model/fake_hub.ts";
import { deno } from "../deno.ts";
import type { Config } from "../../lib/model/config.ts";
import { checkpointTensors, inFolder, tinyConfig, tinyWeights, writeCheckpoint } from "../model/tiny.ts";

const permissions = ["--allow-read", "--allow-env", "--allow-ffi", "--allow-sys", "--allow-write", "--allow-net"];

async function run(args: readonly string[], env: Record<string, string> = {}) {
  const command = ["run", "--quiet", "--no-check", ...permissions, "scripts/evaluate.ts", ...args, "--device", "cpu"];
  const { code, stdout, stderr } = await deno(command, { NO_COLOR: "1", ...env });
  return { code, out: stdout, err: stderr };
}

type TokenizerJson = { model: { vocab: Record<string, number>; unk_token: string } };
const nanoWorld: TokenizerJson = JSON.parse(await Deno.readTextFile("data/nano-llada/tokenizer.json"));

async function checkpoint(folder: string, changes: Config, tokenizer: TokenizerJson) {
  const config = tinyConfig(changes);
  await Deno.mkdir(folder);
  await writeCheckpoint(folder, config, checkpointTensors(config, tinyWeights(config)));
  await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(tokenizer));
  const { model: { unk_token } } = tokenizer;
  await Deno.writeTextFile(`${folder}/tokenizer_config.json`, JSON.stringify({ unk_token }));
  return folder;
}

/** Words of one letter, a to t; everything else is the unknown word. */
const letters = {
  ...nanoWorld,
  added_tokens: [],
  model: {
    type: "WordLevel",
    vocab: Object.fromEntries([..."abcdefghijklmnopqrst", "?"].map((word, id) => [word, id])),
    unk_token: "?",
  },
};
const lettersModel = (folder: string) => checkpoint(`${folder}/letters`, {}, letters);
const lines = (count: number) =>
  Array.from({ length: count }, (_, i) => {
    const r = rng(1, "line", i);
    return Array.from({ length: 30 }, () => "abcdefghij"[r.int(10)]).join(" ");
  });

Deno.test("evaluate: NanoWorld's text is refused for a model with another vocabulary, and the way out is named", () =>
  inFolder(async (folder) => {
    const model = await lettersModel(folder);
    await Deno.writeTextFile(`${folder}/text.txt`, lines(9).join("\n"));
    for (
      const [args, names] of [
        [["--tasks", "elbo"], "elbo"],
        [["--tasks", "nano_mmlu,nano_piqa"], "nano_mmlu, nano_piqa"],
        [["--tasks", "elbo,nano_piqa", "--text", `${folder}/text.txt`], "nano_piqa"],
      ] as const
    ) {
      const { code, out, err } = await run([model, ...args, "--limit", "4"]);
      assertEquals([code, out], [2, ""], err);
      assertStringIncludes(err, `Cannot evaluate ${model} on ${names}: `);
      assertStringIncludes(err, "--tasks elbo --text wikitext, or --text FILE");
    }
  }));

Deno.test("evaluate: vocabularies are compared, not names", () =>
  inFolder(async (folder) => {
    const shape = { vocab_size: 479, embedding_size: 479, mask_token_id: 1, max_sequence_length: 64 };
    const vocab: Record<string, number> = { ...nanoWorld.model.vocab };
    [vocab.tea, vocab.milk] = [vocab.milk, vocab.tea];
    const swapped = await checkpoint(`${folder}/nano-llada`, shape, {
      ...nanoWorld,
      model: { ...nanoWorld.model, vocab },
    });
    const refused = await run([swapped, "--tasks", "elbo", "--limit", "4"]);
    assertEquals([refused.code, refused.out], [2, ""], refused.err);
    const same = await checkpoint(`${folder}/another-name`, shape, nanoWorld);
    const { code, out, err } = await run([same, "--tasks", "elbo,nano_piqa", "--limit", "4"]);
    assertEquals(code, 0, err);
    const { rows } = JSON.parse(out);
    assertEquals(rows.map((row: { task: string; n: number }) => [row.task, row.n]), [["elbo", 4], ["nano_piqa", 4]]);
  }));

Deno.test("evaluate: --text measures the bound on windows of a file, as the library does", () =>
  inFolder(async (folder) => {
    const path = await lettersModel(folder);
    await Deno.writeTextFile(`${folder}/plain.txt`, lines(9).join("\n"));
    await Deno.writeTextFile(`${folder}/same.jsonl`, lines(9).map((text) => JSON.stringify({ text }) + "\n").join(""));
    await using model = await loadModel(path, { device: "cpu" });
    const draw = { tokenizer: model.tokenizer, count: 6, length: 8, seed: 3 };
    const corpus = await loadCorpus(`${folder}/plain.txt`, draw);
    const [wanted] = await evaluate(model, [boundOn(corpus, { id: "", version: "1x8" })], { seed: 3 });
    for (const name of ["plain.txt", "same.jsonl"]) {
      const options = [
        "--tasks",
        "elbo",
        "--text",
        `${folder}/${name}`,
        "--length",
        "8",
        "--limit",
        "6",
        "--seed",
        "3",
      ];
      const { code, out, err } = await run([path, ...options]);
      assertEquals(code, 0, err);
      assertEquals(JSON.parse(out).rows, [{ ...wanted, task: `elbo ${name}` }]);
    }
    // By default as long as the model reads, and as many windows as the text must have.
    const { code, err } = await run([path, "--tasks", "elbo", "--text", `${folder}/plain.txt`]);
    assertEquals(code, 1);
    assertStringIncludes(err, "Cannot draw 32 windows of 24 tokens");
  }));

Deno.test("evaluate: --text wikitext is the test split, from the Hub", () =>
  inFolder(async (folder) => {
    const model = await lettersModel(folder);
    const commit = "b08601e04326c79dfdd32d625aee71d232d685c3";
    const parquet = await Deno.readFile("tests/corpus/sample.parquet");
    const files = { "wikitext-2-raw-v1/test-00000-of-00001.parquet": parquet };
    await using hub = fakeHub({ "datasets/Salesforce/wikitext": { commits: { [commit]: files }, refs: {} } });
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: `${folder}/home` };
    const options = ["--tasks", "elbo", "--text", "wikitext", "--length", "8", "--limit", "2"];
    const { code, out, err } = await run([model, ...options], env);
    assertEquals(code, 0, err);
    const [{ task, taskVersion, n, metric }] = JSON.parse(out).rows;
    assertEquals([task, taskVersion, n, metric], ["elbo wikitext-test", "1x8", 2, "nats per token"]);
    assert(hub.log.some(({ path }) => path.endsWith("test-00000-of-00001.parquet")));
  }));

Deno.test("evaluate: options that do not fit together, or not the model, exit 2 in one line", () =>
  inFolder(async (folder) => {
    const model = await lettersModel(folder);
    await Deno.writeTextFile(`${folder}/text.txt`, lines(9).join("\n"));
    const text = ["--tasks", "elbo", "--text", `${folder}/text.txt`];
    for (
      const [args, code, message] of [
        [["--tasks", "nano_piqa", "--text", "wikitext"], 2, "--text is for the task elbo"],
        [["--tasks", "elbo", "--length", "8"], 2, "--length is for --text"],
        [[...text, "--length", "25"], 2, `--length is 25, but ${model} reads 24 tokens at most`],
        [[...text, "--length", "no"], 2, '--length is "no", wanted a positive integer'],
        [[...text, "--limit", "0"], 2, '--limit is "0", wanted a positive integer'],
        [
          ["--tasks", "elbo", "--text", `${folder}/none.txt`],
          1,
          "there is no such file; wanted a path, or c4, wikitext",
        ],
      ] as const
    ) {
      const said = await run([model, ...args]);
      assertEquals([said.code, said.out], [code, ""], said.err);
      assertStringIncludes(said.err, message);
      assert(!said.err.includes("    at "), said.err);
    }
  }));
