/** Every method of the field through the pipeline: grouped queries and experts, on disk, stopped and gone on with, packed, exported, tuned. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { exportCheckpoint } from "../../lib/export/export.ts";
import { exportOnnx } from "../../lib/export/onnx.ts";
import { aqlm } from "../../lib/methods/aqlm/aqlm.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import type { Method } from "../../lib/quant/method.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { tuned } from "../../lib/tune/tuned.ts";
import { everyMethod } from "../methods/every_method.ts";
import { familyConfigs, inFolder, randomTokens } from "../model/tiny.ts";
import { runOnnx } from "../onnx/onnx_run.ts";
import { contents, writeSharded } from "./checkpoints.ts";

const GROUP = 4, TIME = 12;
const windows = (seed: number, count: number) => Array.from({ length: count }, (_, i) => randomTokens(TIME, seed + i));
const calibration = simulateMasks({ windows: windows(40, 6) }, { maskId: 22, seed: 3 });
/** Those whose codes a kernel reads; the others run as they decode. */
const fromCodes = ["gptaq", "awq", "slim-llm"];
const made: Readonly<Record<string, Method>> = Object.fromEntries(
  // Linears of the tiny models are as narrow as a group of vectors: small codebooks.
  Object.entries(everyMethod).map(([name, { make }]) => [
    name,
    name === "aqlm" ? aqlm({ books: 1, bits: 2, group: 2 }) : make(GROUP),
  ]),
);

async function run(from: string, out: string, method: Method, stopAfter = Infinity) {
  const stop = new AbortController();
  const options = {
    out,
    calibration,
    seed: 3,
    kernels: referenceKernels,
    batch: 2,
    heldOut: 1,
    signal: stop.signal,
  } as const;
  await using quantization = await openQuantization(await openCheckpoint(from), method, {
    ...{ ...options, device: "cpu", threads: 1 },
    onProgress: (done) => done === stopAfter && stop.abort(),
  });
  return await quantization.run();
}

for (const family of ["LLaDA, grouped queries", "LLaDA-MoE"] as const) {
  for (const [name, method] of Object.entries(made)) {
    Deno.test(`${family}, ${name}: stopped anywhere it ends with the same bytes; reloads, runs packed, exports`, () =>
      inFolder(async (folder) => {
        await writeSharded(`${folder}/full`, familyConfigs[family]);
        const summary = await run(`${folder}/full`, `${folder}/whole`, method);
        const wanted = await contents(`${folder}/whole`);
        // Within a set of linears that share an input, behind it, and in the second block.
        for (const after of [2, 4, summary.linears - 2]) {
          await assertRejects(() => run(`${folder}/full`, `${folder}/${after}`, method, after), DOMException);
          await run(`${folder}/full`, `${folder}/${after}`, method);
          const found = await contents(`${folder}/${after}`);
          assertEquals(
            Object.keys(wanted).filter((file) => found[file] !== wanted[file]),
            [],
            `stopped after ${after}`,
          );
        }
        const tokens = randomTokens(9, 7), cpu = { device: "cpu", threads: 1 } as const;
        await using dense = await loadModel(`${folder}/whole`, { ...cpu, run: "dense" });
        const { data } = await dense.logits(tokens), largest = data.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
        const near = (found: Float32Array, what: string) =>
          assert(data.every((x, i) => Math.abs(x - found[i]) < 1e-4 * largest), what);
        await using packed = await loadModel(`${folder}/whole`, { ...cpu, run: "packed", accuracyLevel: 0 });
        near((await packed.logits(tokens)).data, "packed");
        await exportCheckpoint(`${folder}/whole`, { out: `${folder}/hf`, format: "hf" });
        await using plain = await loadModel(`${folder}/hf`, cpu);
        const exported = (await plain.logits(tokens)).data;
        // bf16 weights, as the checkpoint was.
        assert(data.every((x, i) => Math.abs(x - exported[i]) < 0.1 * largest), "hf");
        if (family === "LLaDA-MoE") return;
        const checkpoint = await openCheckpoint(`${folder}/whole`);
        const graph = await exportOnnx(checkpoint, `${folder}/onnx`, { accuracyLevel: 0, dtype: "float32" });
        near((await runOnnx(`${folder}/onnx`, tokens, 1)).data, "onnx");
        const reasons = Object.values(graph.decoded);
        assertEquals(reasons.length, fromCodes.includes(name) ? 0 : summary.linears);
        assert(reasons.every((reason) => reason.startsWith("no kernel reads the form")));
      }));
  }
}

Deno.test("levels, codebooks and tables are tuned on disk in the bits that they have", () =>
  inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, familyConfigs["LLaDA, tied"]);
    const text = {
      name: "random",
      batch: 3,
      length: TIME,
      draw: (seed: number, step: number) => ({ windows: windows(100 * seed + step, 3) }),
    };
    for (const [name, method] of Object.entries(made)) {
      const plain = await run(`${folder}/full`, `${folder}/${name}`, method);
      const options = { what: "scales", by: "block", text, steps: 3, pool: 2 } as const;
      const moved = await run(`${folder}/full`, `${folder}/${name}-tuned`, tuned(method, options));
      assertEquals([moved.bitsPerWeight, moved.bytes], [plain.bitsPerWeight, plain.bytes], name);
      const [before, after] = [await contents(`${folder}/${name}`), await contents(`${folder}/${name}-tuned`)];
      const weights = Object.keys(before).filter((file) => file.endsWith(".safetensors"));
      assert(weights.some((file) => before[file] !== after[file]), `${name}: nothing moved`);
      await using model = await loadModel(`${folder}/${name}-tuned`, { device: "cpu", threads: 1 });
      assert((await model.logits(randomTokens(9, 7))).data.every(Number.isFinite));
    }
  }));
