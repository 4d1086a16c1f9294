import { assert, assertEquals, assertRejects } from "@std/assert";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { openQuantization, quantize, type QuantizeCheckpointOptions } from "../../lib/pipeline/quantize.ts";
import { abmp } from "../../lib/methods/abmp.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { except } from "../../lib/quant/except.ts";
import type { Method } from "../../lib/quant/method.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { familyConfigs, inFolder, randomTokens, tinyConfig } from "../model/tiny.ts";
import { LOGITS_PACKED_FLOAT } from "../tolerances.ts";
import { contents, writeSharded } from "./checkpoints.ts";

/** Share of the largest logit: sums over 16 inputs average the rounding of int8 far less than those of a real model. */
const INT8_TINY = 0.06;

const corpus = { windows: Array.from({ length: 5 }, (_, i) => randomTokens(12, 40 + i)) };
const calibration = simulateMasks(corpus, { maskId: 22, seed: 3 });
const official = daq({ bits: 2, group: 4, profile: "official" });

/** One run in this process. */
async function run(
  from: string,
  out: string,
  method: Method,
  options: Partial<QuantizeCheckpointOptions> = {},
) {
  const checkpoint = await openCheckpoint(from);
  const all = { out, calibration, seed: 3, kernels: referenceKernels, batch: 2, heldOut: 1, ...options };
  await using quantization = await openQuantization(checkpoint, method, { ...all, device: "cpu", threads: 1 });
  return await quantization.run();
}

for (const [name, config] of Object.entries(familyConfigs)) {
  Deno.test(`${name}: a sharded checkpoint is quantised on disk, reloads, and answers the same however it is read`, async () => {
    await inFolder(async (folder) => {
      const tensors = await writeSharded(`${folder}/full`, config);
      const summary = await run(`${folder}/full`, `${folder}/packed`, official, { maxShardBytes: 4096 });
      const files = Object.keys(await contents(`${folder}/packed`));
      assert(files.filter((file) => /^model-\d+-of-\d+\.safetensors$/.test(file)).length > 1, files.join());
      assert(
        files.includes("README.md") && files.includes("quantization.jsonl") && !files.includes("tuning.jsonl") &&
          !files.join().includes(".quantizing"),
      );
      await using held = await loadModel(`${folder}/packed`, { device: "cpu", weights: "held" });
      await using streamed = await loadModel(`${folder}/packed`, { device: "cpu", weights: "streamed" });
      assertEquals(held.quantized.size, held.linearNames().length);
      assertEquals(summary.linears, held.quantized.size);
      const tokens = randomTokens(9, 7);
      const logits = await held.logits(tokens);
      assertEquals(await streamed.logits(tokens), logits);
      // Run from its codes: the same but for the order of sums; and but for int8 inputs, when they are rounded.
      for (const [accuracyLevel, tolerance] of [[0, LOGITS_PACKED_FLOAT], [4, INT8_TINY]] as const) {
        await using packed = await loadModel(`${folder}/packed`, { device: "cpu", run: "packed", accuracyLevel });
        const { data } = await packed.logits(tokens);
        const most = data.reduce((m, y, i) => Math.max(m, Math.abs(y - logits.data[i])), 0);
        assert(most <= tolerance * largest(logits.data), `level ${accuracyLevel}: off by ${most}`);
        console.log(
          `${name}, level ${accuracyLevel}: off by ${
            (most / largest(logits.data)).toExponential(1)
          } of the largest logit`,
        );
      }
      // What is not quantised is stored as it was, byte for byte.
      const { source } = await openCheckpoint(`${folder}/packed`);
      const kept = source.tensors.names.filter((n) => n in tensors);
      assertEquals(kept.length, Object.keys(tensors).length - summary.linears);
      for (const n of kept) assertEquals(await source.tensors.read(n), tensors[n].bytes);
      // The same as in memory, but for states that are kept in fp16.
      await using full = await loadModel(`${folder}/full`, { device: "cpu", weights: "held", threads: 1 });
      const inMemory = await quantize(full, official, { calibration, heldOut: 1, kernels: referenceKernels });
      const wanted = await inMemory.logits(tokens);
      const plain = await full.logits(tokens);
      const off = distance(logits.data, wanted.data) / distance(plain.data, wanted.data);
      assert(off < 0.5, `${off} of what quantisation changes`);
    });
  });
}

Deno.test("rtn on disk is rtn in memory, bit for bit; so are embedding and head", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const method = except(rtn({ bits: 2, group: 4 }), {
      embed: rtn({ bits: 8, group: 8 }),
      head: rtn({ bits: 4, group: 8 }),
    });
    await run(`${folder}/full`, `${folder}/packed`, method, { calibration: undefined, heldOut: 0 });
    await using full = await loadModel(`${folder}/full`, { device: "cpu", weights: "held" });
    const wanted = await quantize(full, method, {});
    const tokens = randomTokens(9, 7);
    for (const weights of ["held", "streamed"] as const) {
      await using packed = await loadModel(`${folder}/packed`, { device: "cpu", weights });
      assertEquals(await packed.logits(tokens), await wanted.logits(tokens));
    }
  });
});

Deno.test("a run that stops at any linear goes on and ends with the same bytes", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    for (const method of [official, daq({ bits: abmp({ average: 2, ratio: 0.25, scope: "model" }), group: 4 })]) {
      const whole = `${folder}/${method.name}`;
      await run(`${folder}/full`, whole, method);
      const wanted = await contents(whole);
      for (const stops of [[1], [4], [5, 2], [7], [3, 3, 3, 3], [13]]) {
        const out = `${folder}/${method.name} ${stops}`;
        for (const stop of stops) {
          let made = 0;
          const controller = new AbortController();
          const onProgress = (_done: number, _total: number, _report: unknown, resumed: boolean) => {
            if (!resumed && ++made === stop) controller.abort(new Error("stopped"));
          };
          await assertRejects(
            () => run(`${folder}/full`, out, method, { signal: controller.signal, onProgress }),
            Error,
            "stopped",
          );
          await assertRejects(() => loadModel(out), RangeError, "config.json");
        }
        const resumed: string[] = [];
        await run(`${folder}/full`, out, method, {
          onProgress: (_d, _t, report, again) => again && resumed.push(report.name),
        });
        assertEquals(resumed.length, stops.reduce((x, y) => x + y));
        assertEquals(await contents(out), wanted);
      }
    }
  });
});

Deno.test("a changed option, other weights, a second run and an occupied folder are refused", async () => {
  await inFolder(async (folder) => {
    const [full, out] = [`${folder}/full`, `${folder}/out`];
    await writeSharded(full, tinyConfig());
    const stopped = async (method: Method) => {
      const controller = new AbortController();
      const stop = { signal: controller.signal, onProgress: () => controller.abort(new Error("stopped")) };
      await assertRejects(() => run(full, out, method, stop), Error, "stopped");
    };
    await stopped(official);
    const before = await contents(out);
    await assertRejects(() => run(full, out, gptq({ bits: 2, group: 4 })), RangeError, "method was");
    await assertRejects(() => run(full, out, official, { seed: 4 }), RangeError, "seed was 3, is 4");
    await assertRejects(() => run(full, out, official, { batch: 1 }), RangeError, "batch was 2, is 1");
    const other = simulateMasks(corpus, { maskId: 22, seed: 4 });
    await assertRejects(() => run(full, out, official, { calibration: other }), RangeError, "calibrationTokens");
    await writeSharded(full, tinyConfig(), { seed: 2 });
    await assertRejects(() => run(full, out, official), RangeError, "other weights");
    await writeSharded(full, tinyConfig());
    assertEquals(await contents(out), before);

    using lock = await Deno.open(`${out}/.quantizing/lock`, { write: true });
    await lock.lock(true);
    await assertRejects(() => run(full, out, official), Error, "another run is at work");
    await lock.unlock();
    await run(full, out, official);
    const complete = await contents(out);
    await assertRejects(() => run(full, out, official), Error, "it holds a checkpoint");
    await assertRejects(() => run(out, `${folder}/again`, official), RangeError, "quantised already");
    assertEquals(await contents(out), complete);

    await Deno.mkdir(`${folder}/mine`);
    await Deno.writeTextFile(`${folder}/mine/notes.txt`, "mine");
    await assertRejects(() => run(full, `${folder}/mine`, official), Error, "not empty (notes.txt)");
    await Deno.writeTextFile(`${folder}/file`, "");
    await assertRejects(() => run(full, `${folder}/file`, official), Error);
  });
});

const largest = (x: Float32Array) => x.reduce((m, y) => Math.max(m, Math.abs(y)), 0);

function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0));
}
