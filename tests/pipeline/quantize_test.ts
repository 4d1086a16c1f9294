import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { type Calibration, simulateMasks, visible } from "../../lib/diffusion/mcs.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { stages } from "../../lib/model/architecture.ts";
import { loadModel } from "../../lib/checkpoint/open.ts";
import { saveModel } from "../../lib/checkpoint/save.ts";
import { sizeOf } from "../../lib/evaluate/evaluate.ts";
import { type LinearReport, quantize } from "../../lib/pipeline/quantize.ts";
import { relativeErrorOf } from "../../lib/pipeline/walk.ts";
import { abmp } from "../../lib/methods/abmp.ts";
import { blockOrders } from "../../lib/quant/forms/binary.ts";
import { daq } from "../../lib/methods/daq/daq.ts";
import type { LinearInput, LinearScore, Method } from "../../lib/quant/method.ts";
import { dequantize, storedBits } from "../../lib/quant/forms/decode.ts";
import { referenceKernels } from "../../lib/tensor/kernels.ts";
import { asMatrix64, matrix, type Matrix64 } from "../../lib/tensor/matrix.ts";
import { distance, layer, objective } from "../layers.ts";
import { referencePass, type ReferenceWeights } from "../model/reference.ts";
import { arraysOf, inFolder, randomTokens, snapshot, tinyModel } from "../model/tiny.ts";
import { MOMENT_RELATIVE } from "../tolerances.ts";

const length = 12;
const corpus = { windows: Array.from({ length: 6 }, (_, i) => randomTokens(length, 100 + i)) };
const masked = simulateMasks(corpus, { maskId: 22, seed: 1 });
const tokens = randomTokens(20, 1);
const methods = [
  rtn({ bits: 2, group: 16 }),
  gptq({ bits: 2, group: 16 }),
  gptq({ bits: 2, group: 8, actOrder: true }),
  daq({ bits: 2, group: 16, profile: "paper" }),
  daq({ bits: 2, group: 16, profile: "official" }),
  daq({ bits: 2, group: 16, profile: "plus" }),
  daq({ bits: abmp({ average: 2, ratio: 0.5 }), group: 4, profile: "official" }),
];

/** RTN that remembers what it was shown; with `needsHessian`, as a method that reads data. */
function spy(inputs: LinearInput[], needsHessian = true): Method {
  const inner = rtn({ bits: 2, group: 8 });
  return {
    name: "spy",
    needsHessian,
    quantize: (linear) => {
      inputs.push(linear);
      return inner.quantize(linear);
    },
  };
}

/** (2 / N) Σ weight x xᵀ of the inputs of a stage, by float64 loops; `blocks` are the weights in their state at that moment. */
function plainMoment(rows: readonly Float64Array[], weights: ArrayLike<number>, windows: number): Float64Array {
  const n = rows[0].length;
  const H = new Float64Array(n * n);
  rows.forEach((x, t) => {
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) H[i * n + j] += 2 / windows * weights[t] * x[i] * x[j];
  });
  return H;
}

const largest = (x: ArrayLike<number>) => Array.from(x).reduce((m, y) => Math.max(m, Math.abs(y)), 0);

Deno.test("quantising leaves the model as it was, and gives one that answers differently", async () => {
  await using model = await tinyModel();
  const [before, weights] = [await model.logits(tokens), snapshot(model)];
  for (const method of methods) {
    const quantized = await quantize(model, method, { calibration: masked });
    assertEquals(await model.logits(tokens), before, method.name);
    assertEquals(snapshot(model), weights, method.name);
    assertNotEquals(await quantized.logits(tokens), before, method.name);
    assertEquals(quantized.quantized.size, 14);
    assertEquals(quantized.provenance, { method: method.name, calibration: masked.name });
    for (const { name, layer, linear } of quantized.linearNames()) {
      assertEquals((await quantized.weight(layer, linear)).data, dequantize(quantized.quantized.get(name)!).data);
    }
    assertEquals([model.quantized.size, arraysOf(quantized).head], [0, arraysOf(model).head]);
  }
});

Deno.test("each stage sees (2 / N) Σ x xᵀ of what the quantised part before it produces", async () => {
  await using model = await tinyModel();
  const weights = masked.windows.map((w, i) => Float32Array.from(w, (_, p) => (p + i) % 3 / 2));
  for (const calibration of [masked, { ...masked, weights }]) {
    for (const batch of [1, 4, 32]) {
      const seen: LinearInput[] = [];
      const quantized = await quantize(model, spy(seen), { calibration, batch });
      const blocks = arraysOf(model).blocks.map((b) => ({ ...b }));
      const running = { ...arraysOf(model), blocks } as ReferenceWeights & { blocks: typeof blocks };
      let at = 0;
      for (let layer = 0; layer < blocks.length; layer++) {
        for (const [stage, { sets }] of stages(model.architecture).entries()) {
          const members = sets.flat();
          const rows = calibration.windows.flatMap((w) =>
            referencePass(model.architecture, running, w).inputs[layer][stage]
          );
          const flat = calibration.windows.flatMap((w, i) =>
            Array.from(w, (_, p) => calibration === masked ? 1 : weights[i][p])
          );
          const wanted = plainMoment(rows, flat, calibration.windows.length);
          for (const linear of members) {
            const { name, W, H } = seen[at++];
            assertEquals(name, model.family.names.block(layer, linear));
            assertEquals(W.data, arraysOf(model).blocks[layer][linear]);
            const off = distance(H!.data, wanted) / largest(wanted);
            assert(off <= MOMENT_RELATIVE, `${name}, batch ${batch}: H is off by ${off}`);
          }
          for (const linear of members) blocks[layer][linear] = arraysOf(quantized).blocks[layer][linear];
        }
      }
      assertEquals(at, 14);
      // One moment for the linears that share their input.
      assert(seen[0].H === seen[1].H && seen[1].H === seen[2].H && seen[4].H === seen[5].H && seen[3].H !== seen[4].H);
    }
  }
});

Deno.test("token weights: ones are none, and weight 0 drops a token", async () => {
  await using model = await tinyModel();
  const moments = async (calibration: Calibration) => {
    const seen: LinearInput[] = [];
    await quantize(model, spy(seen), { calibration });
    return seen[0].H!.data as Float32Array;
  };
  const all = await moments(masked);
  const ones = masked.windows.map((w) => new Float32Array(w.length).fill(1));
  assertEquals(await moments({ ...masked, weights: ones }), all);
  // The first linears read the embeddings alone: without the last six tokens H is that of shorter windows.
  const half = masked.windows.map((w) => Float32Array.from(w, (_, p) => p < 6 ? 1 : 0));
  const short = { ...masked, windows: masked.windows.map((w) => w.slice(0, 6)) };
  const [weighted, wanted] = [await moments({ ...masked, weights: half }), await moments(short)];
  assert(distance(weighted, wanted) <= MOMENT_RELATIVE * largest(wanted));
});

Deno.test("progress counts every linear once, with what is stored and what is lost", async () => {
  await using model = await tinyModel();
  const seen: LinearInput[] = [];
  const reports: LinearReport[] = [];
  const quantized = await quantize(model, spy(seen), {
    calibration: masked,
    onProgress: (done, total, report) => {
      assertEquals([done, total], [reports.push(report), 14]);
    },
  });
  assertEquals(reports.map((r) => r.name), model.linearNames().map((l) => l.name));
  for (const [i, { name, layer, linear, bitsPerWeight, relativeError, method }] of reports.entries()) {
    const W = await model.weight(layer, linear), Q = await quantized.weight(layer, linear);
    assertEquals(method, "spy");
    assertEquals(bitsPerWeight, storedBits(quantized.quantized.get(name)!) / W.data.length);
    const H = asMatrix64(seen[i].H!);
    const wanted = objective(W, Q, H) / objective(W, matrix(W.rows, W.cols), H);
    assert(Math.abs(relativeError! - wanted) <= 1e-5 * wanted, name);
  }
});

Deno.test("a method that needs no data takes no second moments, unless asked to measure", async () => {
  await using model = await tinyModel();
  for (
    const [calibration, measure, has] of [[undefined, true, false], [masked, false, false], [
      masked,
      true,
      true,
    ]] as const
  ) {
    const seen: LinearInput[] = [];
    const errors: (number | undefined)[] = [];
    await quantize(model, spy(seen, false), {
      calibration,
      measure,
      onProgress: (_done, _total, { relativeError }) => errors.push(relativeError),
    });
    assertEquals(seen.map(({ H }) => H !== undefined), new Array(14).fill(has));
    assertEquals(errors.map((e) => e !== undefined), new Array(14).fill(has));
  }
});

Deno.test("relativeErrorOf is the ratio of the quadratic forms", async () => {
  const { W, H } = layer(7, 24, 3);
  const Q = dequantize(await rtn({ bits: 2, group: 8 }).quantize({ name: "", W }));
  const H32 = matrix(24, 24, Float32Array.from(H.data));
  const wanted = objective(W, Q, H) / objective(W, matrix(7, 24), H);
  const got = await relativeErrorOf(W, Q, { H: H32, kernels: referenceKernels });
  assert(Math.abs(got - wanted) <= 1e-5 * wanted, `${got} for ${wanted}`);
  assertEquals(await relativeErrorOf(W, W, { H: H32, kernels: referenceKernels }), 0);
});

Deno.test("an abort stops between linears, with its reason", async () => {
  await using model = await tinyModel();
  const control = new AbortController();
  let done = 0;
  const run = quantize(model, rtn({ bits: 2, group: 16 }), {
    calibration: masked,
    signal: control.signal,
    onProgress: (count) => {
      done = count;
      if (count === 4) control.abort(new Error("enough"));
    },
  });
  await assertRejects(() => run, Error, "enough");
  assertEquals(done, 4);
  for (const method of methods) {
    const signal = AbortSignal.abort(new Error("never started"));
    await assertRejects(() => quantize(model, method, { calibration: masked, signal }), Error, "never started");
  }
});

Deno.test("the same seed gives the same bytes, another seed others", async () => {
  await using model = await tinyModel();
  for (const method of [gptq({ bits: 2, group: 16 }), daq({ bits: 2, group: 16 })]) {
    const run = async (seed: number) => {
      const calibration = simulateMasks(corpus, { maskId: 22, seed });
      return [...(await quantize(model, method, { calibration })).quantized].map(([name, q]) => [name, q.tensors]);
    };
    const first = await run(1);
    assertEquals(await run(1), first);
    assertNotEquals(await run(2), first);
  }
});

Deno.test("a packed checkpoint reloads to the same bits, bytes and logits", () =>
  inFolder(async (folder) => {
    await using model = await tinyModel();
    for (const method of methods) {
      const quantized = await quantize(model, method, { calibration: masked });
      await saveModel(quantized, folder);
      await using loaded = await loadModel(folder, { device: "cpu", threads: 1 });
      assertEquals(
        await loaded.logits(tokens, { batch: 2 }),
        await quantized.logits(tokens, { batch: 2 }),
        method.name,
      );
      for (const [name, q] of quantized.quantized) {
        assertEquals(loaded.quantized.get(name), q, `${method.name}: ${name}`);
      }
      assertEquals(sizeOf(loaded), sizeOf(quantized));
      assertEquals(loaded.provenance, quantized.provenance);
    }
  }));

Deno.test("a budget for the whole model: scored at full precision, bound once, spent exactly", async () => {
  await using model = await tinyModel();
  const rule = abmp({ average: 2, ratio: 0.25, scope: "model" });
  const method = daq({ bits: rule, group: 4, profile: "official" });
  const quantized = await quantize(model, method, { calibration: masked });
  assertEquals(quantized.provenance.method, method.name);
  let planes = 0, weights = 0;
  const counts = new Set<number>();
  const perLinear = new Set<number>();
  for (const q of quantized.quantized.values()) {
    const orders = Array.from(blockOrders(q));
    const [rows, cols] = q.shape;
    assertEquals(orders.length, cols / 4);
    for (const k of orders) {
      counts.add(k);
      planes += k * rows * 4;
      weights += rows * 4;
    }
    perLinear.add(orders.reduce((s, k) => s + k, 0) / orders.length);
  }
  assertEquals(planes, 2 * weights);
  assertEquals([...counts].sort(), [1, 2, 3]);
  assert(perLinear.size > 1, "planes never moved between linears");

  const scored: LinearInput[] = [], seen: LinearInput[] = [];
  const bound: Readonly<Record<string, LinearScore>>[] = [];
  const shared: Method = {
    ...spy(seen),
    quantize: () => Promise.reject(new Error("the method that is not bound must not be asked")),
    across: {
      score: (linear) => {
        scored.push(linear);
        return Promise.resolve({ scores: [scored.length], sizes: [1] });
      },
      bind: (scores) => {
        bound.push(scores);
        return spy(seen);
      },
    },
  };
  await quantize(model, shared, { calibration: masked });
  const names = model.linearNames().map((l) => l.name);
  assertEquals([scored.map((l) => l.name), seen.map((l) => l.name)], [names, names]);
  assertEquals(bound, [Object.fromEntries(names.map((name, i) => [name, { scores: [i + 1], sizes: [1] }]))]);
  const plain = masked.windows.flatMap((w) => referencePass(model.architecture, arraysOf(model), w).inputs[1][3]);
  const wanted = plainMoment(plain, plain.map(() => 1), masked.windows.length);
  assert(distance(scored[13].H!.data, wanted) <= MOMENT_RELATIVE * largest(wanted), "scored on quantised inputs");
  assert(distance((seen[13].H as unknown as Matrix64).data, wanted) > 1e-2 * largest(wanted));
});

Deno.test("missing data and windows that do not fit are refused", async () => {
  await using model = await tinyModel();
  for (
    const method of [gptq({ bits: 2 }), daq({ bits: 2, group: 16 }), daq({ bits: abmp({ scope: "model" }), group: 4 })]
  ) {
    await assertRejects(() => quantize(model, method), TypeError, `Cannot quantize with ${method.name}: it needs data`);
  }
  const method = gptq({ bits: 2 });
  const uneven = visible({ windows: [randomTokens(8, 1), randomTokens(8, 2), randomTokens(9, 3)] });
  await assertRejects(() => quantize(model, method, { calibration: uneven }), RangeError, "window 2 has 9 tokens");
  const none = visible({ windows: [] });
  await assertRejects(() => quantize(model, method, { calibration: none }), RangeError, "no windows");
  for (
    const weights of [
      masked.windows.slice(1).map(() => new Float32Array(length)),
      masked.windows.map(() => new Float32Array(3)),
    ]
  ) {
    const calibration = { ...masked, weights };
    await assertRejects(() => quantize(model, method, { calibration }), RangeError, "weights");
  }
  const long = visible({ windows: [randomTokens(25, 1)] });
  await assertRejects(() => quantize(model, method, { calibration: long }), RangeError, "longest sequence");
});
