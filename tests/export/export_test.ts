import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { rtn } from "../../lib/methods/rtn.ts";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import type { Config } from "../../lib/model/config.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { exportCheckpoint } from "../../lib/export/export.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import { except } from "../../lib/quant/except.ts";
import { bfloat16ToFloat, floatToBfloat16 } from "../../lib/tensor/half.ts";
import {
  checkpointTensors,
  familyConfigs,
  inFolder,
  randomTokens,
  snapshot,
  tinyConfig,
  tinyWeights,
  writeCheckpoint,
} from "../model/tiny.ts";
import { deviation, runOnnx } from "../onnx/onnx_run.ts";
import { LOGITS_BF16, LOGITS_TINY } from "../tolerances.ts";

const cpu = { device: "cpu", threads: 1, weights: "held" } as const;
const method = except(rtn({ bits: 3, group: 8 }), { embed: rtn({ bits: 8, group: 16 }) });
const tokens = randomTokens(12, 3);
const licence = "Made-up licence 1.0\n";

/** A checkpoint with files beside its weights, and one that is quantised from it in `${folder}/packed`. */
async function prepare(folder: string, config: Config) {
  const plain = `${folder}/plain`, packed = `${folder}/packed`;
  await Deno.mkdir(plain);
  await writeCheckpoint(plain, config, checkpointTensors(config, tinyWeights(config), "BF16"));
  await using model = await loadModel(plain, cpu);
  await saveModel(await quantize(model, method), packed);
  for (const dir of [plain, packed]) {
    await Deno.writeTextFile(`${dir}/generation_config.json`, '{"steps": 8}');
    await Deno.writeTextFile(`${dir}/LICENSE`, licence);
    await Deno.writeTextFile(`${dir}/modeling_llada.py`, "pass\n");
    await Deno.writeTextFile(`${dir}/notes.txt`, "not part of a checkpoint");
  }
  return { plain, packed };
}

const filesOf = async (dir: string) => (await Array.fromAsync(Deno.readDir(dir))).map((e) => e.name).sort();

for (const [name, shape] of Object.entries({ LLaDA: tinyConfig(), ...familyConfigs })) {
  const auto_map = { AutoConfig: "configuration_llada.LLaDAConfig", AutoModel: "modeling_llada.LLaDAModelLM" };
  const config = { ...shape, torch_dtype: "bfloat16", auto_map };
  Deno.test(`hf export of ${name}: names, types and shapes of the original, logits of the quantised model`, () =>
    inFolder(async (folder) => {
      const { plain, packed } = await prepare(folder, config);
      const out = `${folder}/out`;
      const { files, bytes } = await exportCheckpoint(packed, { format: "hf", out, maxShardBytes: 5000 });
      assertEquals(files.toSorted(), await filesOf(out));
      assertEquals(files.at(-1), "config.json");
      assertEquals(
        bytes,
        (await Promise.all(files.map((f) => Deno.stat(`${out}/${f}`)))).reduce((n, s) => n + s.size, 0),
      );
      assert(files.includes("model.safetensors.index.json"));
      assertEquals(JSON.parse(await Deno.readTextFile(`${out}/config.json`)), JSON.parse(JSON.stringify(config)));
      assertEquals(await Deno.readTextFile(`${out}/LICENSE`), licence);
      assert(files.includes("generation_config.json") && files.includes("modeling_llada.py"));
      assert(!files.includes("notes.txt"));
      assertStringIncludes(await Deno.readTextFile(`${out}/README.md`), "from the original: configuration_llada.py.");

      const [original, made] = [await openCheckpoint(plain), await openCheckpoint(out)];
      assertEquals([...made.source.tensors.names].sort(), [...original.source.tensors.names].sort());
      for (const tensor of made.source.tensors.names) {
        assertEquals(made.source.tensors.info(tensor), original.source.tensors.info(tensor));
      }
      // Every weight is the bf16 number next to what the stored form decodes to; so logits differ by rounding only.
      await using quantized = await loadModel(packed, cpu);
      await using loaded = await loadModel(out, cpu);
      assertEquals(snapshot(loaded), snapshot(quantized).map((w) => bfloat16ToFloat(floatToBfloat16(w))));
      const { relative } = deviation((await loaded.logits(tokens)).data, (await quantized.logits(tokens)).data);
      assert(relative > 0 && relative <= LOGITS_BF16, `off by ${relative}`);
    }));
}

Deno.test("hf export of a full-precision checkpoint is the checkpoint, byte for byte", () =>
  inFolder(async (folder) => {
    for (const dtype of ["bfloat16", "float16", "float32"] as const) {
      const config = tinyConfig({ torch_dtype: dtype });
      const kind = { bfloat16: "BF16", float16: "F16", float32: "F32" } as const;
      const tensors = checkpointTensors(config, tinyWeights(config), kind[dtype]);
      await writeCheckpoint(folder, config, tensors);
      const out = `${folder}/${dtype}`;
      await exportCheckpoint(folder, { format: "hf", out });
      const { source } = await openCheckpoint(out);
      for (const [name, { bytes }] of Object.entries(tensors)) assertEquals(await source.tensors.read(name), bytes);
      assertEquals(source.config, config);
    }
  }));

Deno.test("hf export: what the source holds in float32 beside bf16 matrices keeps every bit, quantised or not", () =>
  inFolder(async (folder) => {
    const config = { ...familyConfigs.Dream, torch_dtype: "bfloat16" }; // which has biases too
    const weights = tinyWeights(config), plain = `${folder}/plain`, packed = `${folder}/packed`;
    const tensors = checkpointTensors(config, weights, "BF16");
    const single = Object.keys(tensors).filter((name) => tensors[name].shape.length === 1);
    for (const name of single) {
      const values = Float32Array.from({ length: tensors[name].shape[0] }, (_, i) => 1 + (i + 1) / 3000); // no bf16 numbers
      tensors[name] = { dtype: "F32", shape: tensors[name].shape, bytes: new Uint8Array(values.buffer) };
    }
    assert(single.length >= 2 * 5 + 1, `${single}`);
    await Deno.mkdir(plain);
    await writeCheckpoint(plain, config, tensors);
    await using model = await loadModel(plain, cpu);
    await saveModel(await quantize(model, method), packed);
    for (const from of [plain, packed]) {
      const out = `${from}-out`;
      await exportCheckpoint(from, { format: "hf", out });
      const { source } = await openCheckpoint(out);
      for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
        assertEquals(source.tensors.info(name), { dtype, shape, bytes: bytes.length }, `${out}: ${name}`);
        if (single.includes(name)) assertEquals(await source.tensors.read(name), bytes, `${out}: ${name}`);
      }
      assertEquals(source.config.torch_dtype, "bfloat16");
    }
  }));

Deno.test("onnx export: the folder has what a program needs beside the graph, and the graph answers", () =>
  inFolder(async (folder) => {
    const { packed } = await prepare(folder, tinyConfig());
    const out = `${folder}/new/out`;
    const progress: [number, number][] = [];
    const made = await exportCheckpoint(packed, {
      format: "onnx",
      out,
      onnx: { accuracyLevel: 0, maxLength: 16 },
      onProgress: (done, total) => void progress.push([done, total]),
    });
    assertEquals(await filesOf(out), made.files.toSorted());
    const wanted = ["LICENSE", "README.md", "config.json", "generation_config.json", "model.onnx", "model.onnx.data"];
    for (const file of wanted) assert(made.files.includes(file), file);
    assertEquals(made.packed, 2 * 7 + 1);
    assertEquals(progress, [[1, 2], [2, 2]]);
    const config = JSON.parse(await Deno.readTextFile(`${out}/config.json`));
    assertEquals([config.quantization_config, config.mask_token_id], [undefined, 22]);
    const card = await Deno.readTextFile(`${out}/README.md`);
    for (const text of ["time at most 16", "hold 22", "MatMulNBits, on float activations", method.name]) {
      assertStringIncludes(card, text);
    }
    await using model = await loadModel(packed, cpu);
    const { largest } = deviation((await runOnnx(out, tokens, 1)).data, (await model.logits(tokens)).data);
    assert(largest <= LOGITS_TINY, `off by ${largest}`);
  }));

Deno.test("an export that fails or is stopped leaves nothing, whatever it had written", () =>
  inFolder(async (folder) => {
    const { plain, packed } = await prepare(folder, tinyConfig());
    const before = await filesOf(folder);
    for (const format of ["hf", "onnx"] as const) {
      const stop = new AbortController();
      const stopped = exportCheckpoint(packed, {
        format,
        out: `${folder}/out`,
        maxShardBytes: 2000,
        signal: stop.signal,
        onProgress: () => stop.abort(new Error("interrupted")),
      });
      await assertRejects(() => stopped, Error, "interrupted");
      assertEquals(await filesOf(folder), before);
    }
    // A weight that no export may hold, met when most is written.
    const weights = tinyWeights(tinyConfig());
    weights.finalNorm[0] = NaN;
    await writeCheckpoint(plain, tinyConfig(), checkpointTensors(tinyConfig(), weights, "BF16"));
    for (const format of ["hf", "onnx"] as const) {
      const damaged = () => exportCheckpoint(plain, { format, out: `${folder}/out` });
      await assertRejects(damaged, RangeError, 'Cannot export "model.transformer.ln_f.weight"');
      assertEquals(await filesOf(folder), before);
    }
  }));

Deno.test("a disk that refuses more bytes: the error names the file, and nothing is left", () =>
  inFolder(async (folder) => {
    if (Deno.build.os === "windows") return;
    const root = new URL("../../", import.meta.url);
    const script = `
      import { exportCheckpoint } from ${JSON.stringify(new URL("lib/export/export.ts", root).href)};
      const [from, out, format] = Deno.args;
      await exportCheckpoint(from, { format, out }).catch((e) => console.log(e.message));`;
    await Deno.writeTextFile(`${folder}/script.ts`, script);
    for (const [format, file] of [["hf", "model.safetensors"], ["onnx", "model.onnx.data"]]) {
      // A limit on the size of files stands for a full disk: the system refuses the write that crosses it.
      const limit = `trap '' XFSZ; ulimit -f 500; exec "$0" run --no-check --quiet --allow-all "$@"`;
      const [config, model] = ["deno.json", "data/nano-llada"].map((path) => fromFileUrl(new URL(path, root)));
      const args = [`--config=${config}`, `${folder}/script.ts`, model, `${folder}/out`, format];
      const { stdout } = await new Deno.Command("sh", { args: ["-c", limit, Deno.execPath(), ...args] }).output();
      const said = new TextDecoder().decode(stdout);
      assert(said.includes("Cannot write") && said.includes(`/${file}"`) && said.includes("free space"), said);
      assertEquals(await filesOf(folder), ["script.ts"]);
    }
  }));

Deno.test("an export killed half way leaves no folder of that name, and the next one works", () =>
  inFolder(async (folder) => {
    if (Deno.build.os === "windows") return;
    const { packed } = await prepare(folder, tinyConfig());
    const library = new URL("../../lib/export/export.ts", import.meta.url).href;
    const script = `
      import { exportCheckpoint } from ${JSON.stringify(library)};
      const [from, out, format] = Deno.args;
      const kill = (done, total) => { if (done > total / 2) Deno.kill(Deno.pid, "SIGKILL"); };
      await exportCheckpoint(from, { format, out, maxShardBytes: 2000, onProgress: kill });`;
    await Deno.writeTextFile(`${folder}/script.ts`, script);
    const config = fromFileUrl(new URL("../../deno.json", import.meta.url));
    for (const format of ["hf", "onnx"] as const) {
      const out = `${folder}/${format}`;
      const args = [
        "run",
        "--no-check",
        "--allow-all",
        `--config=${config}`,
        `${folder}/script.ts`,
        packed,
        out,
        format,
      ];
      const { signal, stderr } = await new Deno.Command(Deno.execPath(), { args, stdin: "null" }).output();
      assertEquals(signal, "SIGKILL", new TextDecoder().decode(stderr));
      const left = (await filesOf(folder)).filter((name) => name.startsWith(format));
      assert(left.length === 1 && left[0].endsWith(".part"), `${left}`);
      assert(!(await filesOf(`${folder}/${left[0]}`)).includes("config.json"));
      await exportCheckpoint(packed, { format, out });
      assert((await filesOf(out)).includes("config.json"));
    }
  }));

Deno.test("an export refuses a folder that holds anything, an unknown format, and a source that is no checkpoint", () =>
  inFolder(async (folder) => {
    const { plain } = await prepare(folder, tinyConfig());
    const out = `${folder}/out`;
    await Deno.mkdir(out);
    await Deno.writeTextFile(`${out}/mine.txt`, "mine");
    await assertRejects(() => exportCheckpoint(plain, { format: "hf", out }), RangeError, 'it holds "mine.txt"');
    assertEquals(await filesOf(out), ["mine.txt"]);
    await assertRejects(
      () => exportCheckpoint(plain, { format: "gguf" as "hf", out }),
      RangeError,
      "wanted hf or onnx",
    );
    await assertRejects(() => exportCheckpoint(`${folder}/none`, { format: "hf", out }), RangeError, "none");
    await Deno.remove(`${out}/mine.txt`);
    await exportCheckpoint(plain, { format: "hf", out: `${out}/` }); // an empty folder is as good as none
    assert((await filesOf(out)).includes("config.json"));
  }));
