import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { exportCheckpoint } from "../../lib/export/export.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import type { TextSource } from "../../lib/diffusion/text.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { statesBytes } from "../../lib/pipeline/disk/spilled.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import type { Method } from "../../lib/quant/method.ts";
import { tune } from "../../lib/tune/tune.ts";
import { tuned } from "../../lib/tune/tuned.ts";
import type { TuneOptions } from "../../lib/tune/options.ts";
import { linears, linearShape } from "../../lib/model/architecture.ts";
import { familyConfigs, inFolder, randomTokens, tinyConfig } from "../model/tiny.ts";
import { contents, writeSharded } from "./checkpoints.ts";

const TIME = 12, BATCH = 4;

const windowsOf = (seed: number, step: number) => {
  const tokens = randomTokens(BATCH * TIME, 1000 * seed + step);
  return { windows: Array.from({ length: BATCH }, (_, b) => tokens.slice(b * TIME, (b + 1) * TIME)) };
};
const text: TextSource = { name: "random", batch: BATCH, length: TIME, draw: windowsOf };
const calibration = simulateMasks(windowsOf(50, 0), { maskId: 22, seed: 3 });

async function run(from: string, out: string, method: Method, signal?: AbortSignal) {
  const checkpoint = await openCheckpoint(from);
  const options = { out, calibration, seed: 3, kernels: referenceKernels, batch: 2, signal } as const;
  await using quantization = await openQuantization(checkpoint, method, { ...options, device: "cpu", threads: 1 });
  return await quantization.run();
}

const scales: TuneOptions = { what: "scales", text, steps: 110, rates: { scales: 1e-2 } };
const codes: TuneOptions = { what: "codes", by: "block", text, steps: 6, pool: 3, rates: { latents: 0.1 } };

for (const [name, config] of Object.entries(familyConfigs)) {
  Deno.test(`${name}: tuned on disk, a checkpoint keeps its bits, reloads, runs packed, and exports`, async () => {
    await inFolder(async (folder) => {
      await writeSharded(`${folder}/full`, config);
      const plain = await run(`${folder}/full`, `${folder}/plain`, levels({ bits: 2, group: 4 }));
      const method = tuned(levels({ bits: 2, group: 4 }), { ...codes, steps: 3 });
      const summary = await run(`${folder}/full`, `${folder}/tuned`, method);
      assertEquals([summary.bitsPerWeight, summary.bytes], [plain.bitsPerWeight, plain.bytes]);
      await using model = await loadModel(`${folder}/tuned`, { device: "cpu", threads: 1 });
      assertEquals(model.provenance.method, method.name);
      const told = String(model.provenance.tuned);
      assert(told.includes("3 steps a block of 4 x 12 tokens of random") && told.endsWith("seed 3"), told);
      const tokens = randomTokens(9, 7), { data } = await model.logits(tokens);
      await using packed = await loadModel(`${folder}/tuned`, { device: "cpu", run: "packed", accuracyLevel: 0 });
      const own = await packed.logits(tokens);
      const largest = data.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      assert(own.data.every((x, i) => Math.abs(x - data[i]) < 1e-4 * largest));
      await exportCheckpoint(`${folder}/tuned`, { out: `${folder}/hf`, format: "hf" });
      const card = await Deno.readTextFile(`${folder}/tuned/README.md`);
      assert(card.includes("## Tuning") && card.includes("## Errors before tuning"), card);
      const rows = (await Deno.readTextFile(`${folder}/tuned/tuning.jsonl`)).trim().split("\n");
      assertEquals(rows.length, 3 * model.architecture.layers);
    });
  });
}

Deno.test("norms are stored in the type of their tensor, and move", async () => {
  await inFolder(async (folder) => {
    const before = await writeSharded(`${folder}/full`, tinyConfig());
    await run(
      `${folder}/full`,
      `${folder}/tuned`,
      tuned(rtn({ bits: 2, group: 4 }), { ...scales, rates: { norms: 0.05 } }),
    );
    const { source: { tensors } } = await openCheckpoint(`${folder}/tuned`);
    const norms = tensors.names.filter((name) => before[name]?.shape.length === 1);
    assert(norms.length === 5, `${norms}`);
    for (const name of norms) {
      assertEquals(tensors.info(name).dtype, before[name].dtype);
      assertNotEquals(await tensors.read(name), before[name].bytes);
    }
  });
});

Deno.test("on disk by the model gives what it gives in memory, where no data is read before", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig({ torch_dtype: "bfloat16" }));
    const method = rtn({ bits: 2, group: 4 });
    await run(`${folder}/full`, `${folder}/plain`, method);
    await run(`${folder}/full`, `${folder}/tuned`, tuned(method, { ...scales, what: "codes" }));
    await using teacher = await loadModel(`${folder}/full`, { device: "cpu", threads: 1 });
    await using plain = await loadModel(`${folder}/plain`, { device: "cpu", threads: 1 });
    await using found = await loadModel(`${folder}/tuned`, { device: "cpu", threads: 1 });
    const wanted = await tune(teacher, plain, { ...scales, what: "codes", seed: 3 });
    for (const [name, { tensors }] of wanted.quantized) assertEquals(found.quantized.get(name)!.tensors, tensors);
  });
});

Deno.test("a tuning that was stopped anywhere goes on and ends with the same bytes", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const both = (onProgress?: () => void) =>
      tuned(tuned(levels({ bits: 2, group: 4 }), { ...codes, onProgress }), { ...scales, what: "codes", onProgress });
    await run(`${folder}/full`, `${folder}/whole`, both());
    const wanted = await contents(`${folder}/whole`);
    // The twelve steps of two blocks, then those of the model: stops within a block, behind one, before the first state and behind the second.
    for (const stops of [[3], [6, 9], [11, 13], [40, 20], [70], [115, 3]]) {
      const out = `${folder}/${stops.join("-")}`;
      for (const after of stops) {
        const stop = new AbortController();
        let count = 0;
        const method = both(() => ++count === after && stop.abort());
        await assertRejects(() => run(`${folder}/full`, out, method, stop.signal), DOMException);
      }
      await run(`${folder}/full`, out, both());
      const found = await contents(out);
      const other = Object.keys(wanted).filter((file) => found[file] !== wanted[file]);
      assertEquals(other, [], `stopped after ${stops} steps`);
    }
    // Another text is another run.
    const stop = new AbortController();
    await assertRejects(
      () => run(`${folder}/full`, `${folder}/other`, both(() => stop.abort()), stop.signal),
      DOMException,
    );
    const other = { ...text, draw: (seed: number, step: number) => windowsOf(seed + 9, step) };
    const changed = tuned(tuned(levels({ bits: 2, group: 4 }), { ...codes, text: other }), {
      ...scales,
      what: "codes",
    });
    await assertRejects(() => run(`${folder}/full`, `${folder}/other`, changed), RangeError, "tuningText");
  });
});

Deno.test("a plan tells what tuning takes, and refuses what no one waits for", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const checkpoint = await openCheckpoint(`${folder}/full`);
    const planned = async (options: TuneOptions) => {
      const method = tuned(rtn({ bits: 2, group: 4 }), options);
      await using quantization = await openQuantization(checkpoint, method, {
        ...{ out: `${folder}/out`, seed: 1, device: "cpu", threads: 1 },
        onPlan: () => {},
      });
      return { plan: await quantization.plan(), run: () => quantization.run() };
    };
    const [some, more] = [await planned({ ...scales, steps: 10 }), await planned({ ...scales, steps: 10_000 })];
    assert(some.plan.tuningSeconds > 0 && more.plan.tuningSeconds > 50 * some.plan.tuningSeconds);
    assert(more.plan.totalSeconds >= more.plan.tuningSeconds);
    // By block, states of teacher and student, each at two places, of every batch of the pool.
    const { plan } = await planned({ ...codes, steps: 10, pool: 3 }), { width } = checkpoint.architecture;
    const spilled = 2 * 2 * 3 * statesBytes(BATCH * TIME, width);
    // A latent with two moments for each weight of a block.
    const { plan: fixed } = await planned({ ...codes, what: "scales", steps: 10, pool: 3 });
    const a = checkpoint.architecture;
    const block = linears(a).reduce((sum, linear) => sum + linearShape(a, linear).reduce((x, y) => x * y), 0);
    assertEquals(plan.memoryBytes - fixed.memoryBytes, 12 * block);
    // By the model, each window more takes its states behind every block, of teacher and student, and three times its activations.
    const wide = await planned({ ...scales, steps: 10, text: { ...text, batch: 2 * BATCH } });
    const states = 2 * a.layers * 4 * BATCH * TIME * a.width, activations = BATCH * TIME * 4 * 4 * (a.width + a.hidden);
    assertEquals(wide.plan.memoryBytes - some.plan.memoryBytes, states + 3 * activations);
    assert(plan.diskBytes - spilled >= plan.outputBytes && plan.diskBytes - spilled < 3 * plan.outputBytes);
    const method = tuned(rtn({ bits: 2, group: 4 }), { ...scales, steps: 10 ** 12 });
    const options = { out: `${folder}/out`, seed: 1, device: "cpu", threads: 1, onPlan: () => {} } as const;
    await using quantization = await openQuantization(checkpoint, method, options);
    await assertRejects(() => quantization.run(), RangeError, "--tune-by block");
  });
});
