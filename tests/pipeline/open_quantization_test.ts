import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { type Calibration, simulateMasks } from "../../lib/diffusion/mcs.ts";
import { openCheckpoint } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { sizeOf } from "../../lib/evaluate/evaluate.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { halfBlocks, linears } from "../../lib/model/architecture.ts";
import type { Model } from "../../lib/model/model.ts";
import { type Plan, planText } from "../../lib/pipeline/plan.ts";
import { heldStates, slice } from "../../lib/pipeline/hidden.ts";
import { openQuantization, quantize } from "../../lib/pipeline/quantize.ts";
import { scoreAll } from "../../lib/pipeline/walk.ts";
import type { LinearInput, Method } from "../../lib/quant/method.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import {
  architectureOf,
  familyConfigs,
  inFolder,
  randomTokens,
  snapshot,
  tinyConfig,
  tinyModel,
} from "../model/tiny.ts";
import { contents, writeSharded } from "./checkpoints.ts";

const corpus = { windows: Array.from({ length: 5 }, (_, i) => randomTokens(12, 40 + i)) };
const masked = simulateMasks(corpus, { maskId: 22, seed: 3 });
const official = daq({ bits: 2, group: 4, profile: "official" });

/** The same calibration, drawn late; counts the draws. */
function drawn(calls: Model[]) {
  const draw = (model: Model): Promise<Calibration> => Promise.resolve((calls.push(model), masked));
  return { windows: 5, length: 12, draw };
}

Deno.test("half blocks are all linears of all blocks in the order of the forward pass", () => {
  for (const config of Object.values(familyConfigs)) {
    const a = architectureOf(config);
    const found = halfBlocks(a).flatMap(({ layer, stages }) =>
      stages.flatMap(({ sets }) => sets.flat().map((linear) => `${layer}.${linear}`))
    );
    assertEquals(found, [0, 1].flatMap((layer) => linears(a).map((linear) => `${layer}.${linear}`)));
    for (const { half, stages } of halfBlocks(a)) {
      assertEquals(stages.map(({ name }) => name), half === "attention" ? ["qkv", "out"] : ["gateUp", "down"]);
    }
  }
});

Deno.test("quantize is openQuantization and run, also with a calibration that is drawn late", async () => {
  await using model = await tinyModel();
  const wanted = await quantize(model, official, { calibration: masked, batch: 2 });
  const calls: Model[] = [];
  for (const calibration of [masked, drawn(calls)]) {
    await using quantization = await openQuantization(model, official, { calibration, batch: 2 });
    const found = await quantization.run();
    assertEquals(snapshot(found), snapshot(wanted));
    assertEquals(found.provenance, wanted.provenance);
  }
  assert(calls.length === 1 && calls[0] === model);
});

Deno.test("a plan of a model says what quantising it stores, draws nothing, and is told before the work", async () => {
  await inFolder(async (folder) => {
    await using model = await tinyModel({ config: tinyConfig({ torch_dtype: "bfloat16" }) });
    const calls: Model[] = [];
    const plans: Plan[] = [];
    const method = gptq({ bits: 2, group: 4 });
    await using quantization = await openQuantization(model, method, {
      calibration: drawn(calls),
      onPlan: (plan) => plans.push(plan),
    });
    const plan = await quantization.plan();
    assertEquals([calls.length, plans.length], [0, 0]);
    const quantized = await quantization.run();
    assertEquals([calls.length, plans.length], [1, 1]);
    assertEquals([plan.linears, plan.blocks, plan.diskBytes, plan.statesBytes], [14, 2, 0, 4 * 5 * 12 * 16]);
    assert(Math.abs(plan.bitsPerWeight - sizeOf(quantized).bitsPerWeight) < 1e-2, `${plan.bitsPerWeight}`);
    await saveModel(quantized, folder);
    const { source: { tensors } } = await openCheckpoint(folder);
    const bytes = tensors.names.reduce((sum, name) => sum + tensors.info(name).bytes, 0);
    assert(Math.abs(plan.outputBytes / bytes - 1) < 1e-2, `planned ${plan.outputBytes}, stored ${bytes}`);
    assertStringIncludes(planText(plan), "14 linears in 2 blocks");
  });
});

Deno.test("on disk a plan that is told is made before anything is drawn or written, behind the refusals", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const checkpoint = await openCheckpoint(`${folder}/full`);
    const out = `${folder}/packed`;
    const calls: Model[] = [];
    const options = { out, calibration: drawn(calls), seed: 3, device: "cpu" } as const;
    const stop = (): never => {
      throw new Error("not today");
    };
    {
      await using quantization = await openQuantization(checkpoint, official, { ...options, onPlan: stop });
      await assertRejects(() => quantization.run(), Error, "not today");
      assertEquals((await contents(folder))["packed/config.json"], undefined);
    }
    assertEquals(calls, []);
    const told: Plan[] = [];
    await using quantization = await openQuantization(checkpoint, official, {
      ...options,
      onPlan: (plan) => told.push(plan),
    });
    const summary = await quantization.run();
    assert(calls.length === 1 && calls[0] === quantization.model);
    assert(Math.abs(told[0].outputBytes / summary.bytes - 1) < 1e-2, `${told[0].outputBytes} ${summary.bytes}`);
    await assertRejects(() => quantization.run(), Error, "it holds a checkpoint");
    assertEquals(told.length, 1);
  });
});

Deno.test("a method that needs no data is measured on disk when asked to, and that run is another", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const checkpoint = await openCheckpoint(`${folder}/full`);
    const errors: (number | undefined)[] = [];
    const run = async (measure: boolean, out: string, signal?: AbortSignal) => {
      await using quantization = await openQuantization(checkpoint, rtn({ bits: 2, group: 4 }), {
        out: `${folder}/${out}`,
        calibration: masked,
        seed: 3,
        measure,
        kernels: referenceKernels,
        device: "cpu",
        signal,
        onProgress: (_done, _total, { relativeError }) => errors.push(relativeError),
      });
      return await quantization.run();
    };
    await run(false, "plain");
    await run(true, "measured");
    assertEquals(errors.map((error) => error !== undefined), Array.from({ length: 28 }, (_, i) => i >= 14));
    const weights = async (out: string) => (await contents(`${folder}/${out}`))["model.safetensors"];
    assertEquals(await weights("measured"), await weights("plain"));
    const stopped = new AbortController();
    const stopping = run(true, "stopped", stopped.signal);
    stopped.abort(new Error("enough"));
    await assertRejects(() => stopping, Error, "enough");
    await assertRejects(() => run(false, "stopped"), RangeError, "measure was true, is undefined");
  });
});

Deno.test("scoreAll gives what the method says of each linear at full precision, and quantises nothing", async () => {
  await using model = await tinyModel();
  const scored: LinearInput[] = [];
  const method: Method = {
    name: "scores only",
    needsHessian: true,
    quantize: () => Promise.reject(new Error("scoring must not quantise")),
    across: {
      score: (linear) => Promise.resolve({ scores: [scored.push(linear)], sizes: [linear.W.data.length] }),
      bind: () => {
        throw new Error("binding is the caller's");
      },
    },
  };
  const states = await heldStates(model, slice(masked));
  const scores = await scoreAll(model, method, { states, kernels: referenceKernels });
  assertEquals(
    scores,
    Object.fromEntries(
      model.linearNames().map(({ name, shape: [rows, cols] }, i) => [name, { scores: [i + 1], sizes: [rows * cols] }]),
    ),
  );
  assert(scored.every(({ H, W }) => H?.cols === W.cols));
});

Deno.test("a stop breaks a linear off in memory, and waits for it on disk", async () => {
  const seen: (AbortSignal | undefined)[] = [], plain = rtn({ bits: 2, group: 4 });
  const method: Method = {
    ...plain,
    quantize: (linear: LinearInput) => {
      seen.push(linear.signal);
      return plain.quantize(linear);
    },
  };
  const { signal } = new AbortController();
  await using model = await tinyModel();
  await quantize(model, method, { signal });
  assert(seen.length > 0 && seen.every((s) => s === signal));
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const options = { out: `${folder}/out`, seed: 1, device: "cpu", signal } as const;
    seen.length = 0;
    await using quantization = await openQuantization(await openCheckpoint(`${folder}/full`), method, options);
    await quantization.run();
    assert(seen.length > 0 && seen.every((s) => s === undefined));
  });
});

Deno.test("a run that stops leaves a line of its report for each linear that is done", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, tinyConfig());
    const stop = new AbortController(), out = `${folder}/out`;
    const options = { out, seed: 1, device: "cpu", signal: stop.signal } as const;
    await using quantization = await openQuantization(
      await openCheckpoint(`${folder}/full`),
      rtn({ bits: 2, group: 4 }),
      { ...options, onProgress: (done) => done === 3 && stop.abort() },
    );
    await assertRejects(() => quantization.run(), DOMException);
    const lines = (await Deno.readTextFile(`${out}/.quantizing/report.jsonl`)).trim().split("\n");
    assertEquals(lines.length, 3);
    assertEquals(new Set(lines.map((line) => JSON.parse(line).name)).size, 3);
  });
});

Deno.test("windows that are all held out leave nothing to calibrate on", () => {
  assertEquals(slice(masked, { heldOut: 4 }).windows, 1);
  for (const heldOut of [5, 6]) {
    assertThrows(() => slice(masked, { heldOut }), RangeError, `${heldOut} of 5 windows are held out`);
  }
});
