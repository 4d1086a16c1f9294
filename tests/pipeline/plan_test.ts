/** A plan is held against what a run then takes. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { planTunings } from "../../lib/pipeline/plan_tuning.ts";
import { openQuantization } from "../../lib/pipeline/quantize.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { inFolder, randomTokens, tinyConfig, tinyModel } from "../model/tiny.ts";

Deno.test("a plan holds at least what must be there at once, and its seconds are the sum of their parts", () =>
  inFolder(async (folder) => {
    const checkpoint = await openCheckpoint("data/nano-llada");
    const windows = Array.from({ length: 8 }, (_, i) => randomTokens(64, i, 400));
    const calibration = simulateMasks({ windows }, { maskId: checkpoint.architecture.maskId, seed: 1 });
    const out = `${folder}/out`;
    await using run = await openQuantization(checkpoint, gptq({ bits: 2, group: 128 }), {
      ...{ out, calibration, seed: 1, device: "cpu", threads: 1 },
    });
    const plan = await run.plan(), { width, hidden, layers } = checkpoint.architecture;
    const block = 4 * (4 * width * width + 3 * width * hidden), states = 2 * 8 * 64 * width;
    assert(plan.memoryBytes >= block, `${plan.memoryBytes} bytes of memory, a block is ${block}`);
    assert(plan.diskBytes >= plan.outputBytes + states, `${plan.diskBytes} bytes of disk`);
    const { calibration: forward, solver } = plan.secondsPerBlock;
    assert(forward > 0 && solver > 0);
    assertAlmostEquals(plan.totalSeconds, layers * (forward + solver), 1e-9);
    const { bytes } = await run.run();
    assert(Math.abs(plan.outputBytes - bytes) <= 0.01 * bytes, `planned ${plan.outputBytes}, made ${bytes}`);
  }));

Deno.test("a plan for a method that reads no data counts none, also where a calibration is given", async () => {
  await using model = await loadModel("data/nano-llada");
  const windows = Array.from({ length: 8 }, (_, i) => randomTokens(64, i, 400));
  const calibration = simulateMasks({ windows }, { maskId: model.maskId, seed: 1 });
  const planned = async (measure: boolean) => {
    await using run = await openQuantization(model, rtn({ bits: 2, group: 128 }), { calibration, measure });
    return await run.plan();
  };
  const nothing = await planTunings(model, rtn({ bits: 2, group: 128 }), {
    kernels: referenceKernels,
    now: () => 0,
    quantisedBytes: 1000,
  });
  assertEquals(nothing, { seconds: 0, memoryBytes: 0, diskBytes: 0 });
  const blind = await planned(false), measured = await planned(true);
  assertEquals([blind.statesBytes, blind.secondsPerBlock.calibration], [0, 0]);
  // With data it holds a second moment on what calibrates and one on what is held out, and what a solver makes of it: float64 three times and a copy.
  const { hidden } = model.architecture, more = measured.memoryBytes - measured.statesBytes - blind.memoryBytes;
  assert(more >= (2 * 4 + 3 * 8 + 4) * hidden ** 2, `${more} bytes for inputs of width ${hidden}`);
  assertEquals(measured.statesBytes, 4 * 8 * 64 * model.architecture.width);
  assert(measured.secondsPerBlock.calibration > 0);
  // A walk passes all 8 x 64 tokens through each half twice.
  assertEquals(blind.tokenSeconds, 0);
  const { layers } = model.architecture, walk = layers * measured.secondsPerBlock.calibration;
  assert(measured.tokenSeconds > 0 && 2 * 8 * 64 * measured.tokenSeconds < walk);
});

Deno.test("a plan grows with the networks by what a block, the copies of its largest linear and the new model take", async () => {
  const planned = async (hidden: number) => {
    await using model = await tinyModel({ config: tinyConfig({ mlp_hidden_size: hidden }) });
    await using run = await openQuantization(model, rtn({ bits: 2, group: 8 }), { measure: false });
    return await run.plan();
  };
  const [narrow, wide] = [await planned(64), await planned(256)], largest = 16 * (256 - 64), block = 3 * largest;
  // The new model holds the weights of both blocks in float32, and their codes.
  const more = 4 * block + 32 * largest + 2 * 4 * block + wide.outputBytes - narrow.outputBytes;
  assertAlmostEquals(wide.memoryBytes - narrow.memoryBytes, more, 2);
});
