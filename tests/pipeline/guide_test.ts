/** Weights that differ from linear to linear, on their way into second moments and stored forms. */
import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { type Calibration, simulateMasks } from "../../lib/diffusion/mcs.ts";
import { weighted } from "../../lib/diffusion/weigh.ts";
import { levels } from "../../lib/methods/daq/levels.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { inputWidth, linears, stages } from "../../lib/model/architecture.ts";
import { secondMoments } from "../../lib/pipeline/inspect.ts";
import { type LinearReport, openQuantization, quantize } from "../../lib/pipeline/quantize.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { joinRows } from "../../lib/quant/forms/row_groups.ts";
import { rowsOf } from "../../lib/quant/forms/rows_of.ts";
import type { LinearInput, Method } from "../../lib/quant/method.ts";
import { matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { distance, layer, objective } from "../layers.ts";
import { referencePass } from "../model/reference.ts";
import {
  arraysOf,
  checkpointTensors,
  familyConfigs,
  inFolder,
  randomTokens,
  snapshot,
  tinyConfig,
  tinyModel,
  tinyWeights,
  writeCheckpoint,
} from "../model/tiny.ts";
import { MOMENT_RELATIVE } from "../tolerances.ts";

const corpus = { windows: Array.from({ length: 6 }, (_, i) => randomTokens(10, 40 + i)) };
const masked = simulateMasks(corpus, { maskId: 22, seed: 2 });
const a = await (async () => {
  await using model = await tinyModel();
  return model.architecture;
})();

/** A guide of random weights, or of ones, for every linear of both blocks. */
function guideOf(groups: number, draw?: () => number): Calibration["guide"] {
  const names = [0, 1].flatMap((l) => linears(a).map((linear) => `${l}.${linear}`));
  const weights = () => Float32Array.from({ length: 60 }, draw ?? (() => 1));
  return Object.fromEntries(names.map((name) => [name, Array.from({ length: groups }, weights)]));
}

/** RTN that keeps what it is given. */
function spy(seen: LinearInput[]): Method {
  const inner = rtn({ bits: 8, group: 4 });
  return { ...inner, needsHessian: true, quantize: (linear) => (seen.push(linear), inner.quantize(linear)) };
}

/** (2 / N) Σ weight x xᵀ of the inputs of the first block's attention, whose q, k and v see the embeddings alone. */
function firstMoment(inputs: readonly Float64Array[], weight: (t: number) => number): Float64Array {
  const n = inputs[0].length, H = new Float64Array(n * n);
  inputs.forEach((x, t) => {
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) H[i * n + j] += 2 / 6 * weight(t) * x[i] * x[j];
  });
  return H;
}

function assertMoment({ H }: LinearInput, wanted: Float64Array, what: string): void {
  const size = wanted.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const off = distance(Float64Array.from(H!.data), wanted);
  assert(off <= MOMENT_RELATIVE * size, `${what} is off by ${off} of ${size}`);
}

Deno.test("each linear, and each group of its rows, gets the second moment of its own weights", async () => {
  await using model = await tinyModel();
  const inputs = masked.windows.flatMap((w) => referencePass(a, arraysOf(model), w).inputs[0][0]);
  const r = rng(5, "guide"), weights = masked.windows.map((w) => Float32Array.from(w, () => r.next()));
  const flat = weights.flatMap((w) => [...w]);
  for (const groups of [1, 4]) {
    const guide = guideOf(groups, () => r.next())!;
    for (const batch of [2, 32]) {
      const seen: LinearInput[] = [];
      await quantize(model, spy(seen), { calibration: { ...masked, weights, guide }, batch });
      assertEquals(seen.length, 14 * groups);
      for (const [l, linear] of ["q", "k", "v"].entries()) {
        for (let k = 0; k < groups; k++) {
          const given = seen[l * groups + k];
          const wanted = firstMoment(inputs, (t) => flat[t] * guide[`0.${linear}`][k][t]);
          assertMoment(given, wanted, `${linear}, group ${k} of ${groups}, batch ${batch}`);
          const W = arraysOf(model).blocks[0][linear], rows = W.length / groups;
          assertEquals(given.W.data, W.subarray(k * rows, (k + 1) * rows));
        }
      }
    }
  }
});

Deno.test("inverse norms: each token by 1 / mean(x²) of what the linear reads", async () => {
  await using model = await tinyModel();
  const seen: LinearInput[] = [];
  const quantized = await quantize(model, spy(seen), { calibration: weighted(masked, "inverse-norm") });
  // The down projection of the first block, behind everything before it as it was quantised.
  const arrays = {
    ...arraysOf(model),
    blocks: [{ ...arraysOf(quantized).blocks[0], down: arraysOf(model).blocks[0].down }],
  };
  for (const [stage, at] of [[0, 0], [3, 6]]) {
    const inputs = masked.windows.flatMap((w) => referencePass(a, arrays, w).inputs[0][stage]);
    const wanted = firstMoment(inputs, (t) => inputs[t].length / inputs[t].reduce((s, x) => s + x * x, 0));
    assertMoment(seen[at], wanted, seen[at].name);
    // Every token counts alike: the trace is 2 / N times its inputs for each of 60.
    const n = inputWidth(a, stages(a)[stage].name);
    const trace = wanted.filter((_, i) => i % (n + 1) === 0).reduce((s, x) => s + x);
    assert(Math.abs(trace - 2 / 6 * 60 * n) < 1e-3);
  }
});

Deno.test("a guide of ones is none to the bit, in one group of rows and in four", async () => {
  await using model = await tinyModel();
  const method = gptq({ bits: 2, group: 8 });
  const reports = async (calibration: Calibration) => {
    const all: LinearReport[] = [];
    const made = await quantize(model, method, { calibration, heldOut: 2, onProgress: (_d, _t, r) => all.push(r) });
    return { made, all };
  };
  const plain = await reports(masked);
  for (const groups of [1, 4]) {
    const same = await reports({ ...masked, guide: guideOf(groups) });
    assertEquals(snapshot(same.made), snapshot(plain.made), `${groups} groups`);
    for (const [i, { relativeError, heldOutError, bitsPerWeight }] of same.all.entries()) {
      const wanted = plain.all[i];
      assert(Math.abs(relativeError! - wanted.relativeError!) <= 1e-5 * wanted.relativeError!);
      assert(Math.abs(heldOutError! - wanted.heldOutError!) <= 1e-5 * wanted.heldOutError!);
      assertEquals(bitsPerWeight, wanted.bitsPerWeight);
    }
  }
  const r = rng(6, "guide");
  const other = await reports({ ...masked, guide: guideOf(4, () => r.next()) });
  assertNotEquals(snapshot(other.made), snapshot(plain.made));
});

Deno.test("groups of rows are quantised on their own second moments", async () => {
  await using model = await tinyModel();
  const r = rng(7, "guide"), guide = guideOf(4, () => r.next() ** 4)!;
  const method = gptq({ bits: 2, group: 8 });
  const made = await quantize(model, method, { calibration: { ...masked, guide } });
  const inputs = masked.windows.flatMap((w) => referencePass(a, arraysOf(model), w).inputs[0][0]);
  const W = arraysOf(model).blocks[0].q;
  const Q = made.quantized.get(model.family.names.block(0, "q"))!;
  for (let k = 0; k < 4; k++) {
    const H = firstMoment(inputs, (t) => guide["0.q"][k][t]);
    const own = matrix(4, 16, W.slice(k * 64, (k + 1) * 64));
    const wanted = await method.quantize({ name: "q", W: own, H: { shape: [16, 16], data: H } });
    // Ties aside, the same codes: the moment here is of float64.
    assertEquals(dequantize(rowsOf(Q, { from: 4 * k, to: 4 * k + 4 })).data, dequantize(wanted).data);
    assert(Object.keys(Q.report).every((key) => /^rows\.[0-3]\./.test(key)));
  }
});

Deno.test("stored uniform rows are joined as they are; what rows share is refused", async () => {
  for (const symmetric of [false, true]) {
    for (const rows of [3, 8]) {
      const { W, H } = layer(rows, 24, 3);
      const q = await rtn({ bits: 3, group: 8, symmetric }).quantize({ name: "x", W });
      const cut = [0, 1, 3].map((from, i) => rowsOf(q, { from, to: [1, 3, rows][i] }));
      const joined = joinRows(cut.filter(({ shape }) => shape[0] > 0));
      assertEquals({ ...joined, report: q.report }, q);
      assert(objective(W, dequantize(joined), H) > 0);
      const other = await rtn({ bits: 2, group: 8, symmetric }).quantize({ name: "x", W });
      assertThrows(() => joinRows([q, other]), TypeError, "uniform grids of one kind");
      const planes = await levels({ bits: 2, group: 8 }).quantize({ name: "x", W, H });
      assertThrows(() => joinRows([planes, planes]), TypeError, '"levels"');
    }
  }
});

Deno.test("a guide that does not fit the calibration, the model or the method is refused", async () => {
  await using model = await tinyModel();
  const run = (method: Method, calibration: Calibration) => quantize(model, method, { calibration });
  const plain = gptq({ bits: 2, group: 8 });
  const { "0.v": _, ...rest } = guideOf(1)!;
  await assertRejects(() => run(plain, { ...masked, guide: rest }), RangeError, "0.v");
  const short = { ...guideOf(1)!, "1.q": [new Float32Array(59)] };
  await assertRejects(() => run(plain, { ...masked, guide: short }), RangeError, "1.q wanted 60 weights");
  await assertRejects(() => run(plain, { ...masked, guide: { ...rest, "0.v": [] } }), RangeError, "0.v");
  const four = { ...masked, guide: guideOf(4) };
  await assertRejects(() => run(levels({ bits: 2, group: 8 }), four), TypeError, "levels-2b-g8 on a guide of 4 groups");
  await assertRejects(() => run(gptq({ bits: 2, group: 8, actOrder: true }), four), TypeError, "4 groups");
  await run(gptq({ bits: 2, group: 8, actOrder: true, staticGroups: true }), four);
  await assertRejects(() => run(plain, { ...masked, guide: guideOf(3) }), RangeError, "into 3 equal groups");
  await assertRejects(() => secondMoments(model, { calibration: four }), TypeError, "4 groups");
  const H = await secondMoments(model, { calibration: { ...masked, guide: guideOf(1) } });
  assertEquals(Object.keys(H), model.linearNames().map(({ name }) => name));
});

Deno.test("experts are weighed on the tokens that they get", async () => {
  const config = familyConfigs["LLaDA-MoE"];
  await using model = await tinyModel({ config });
  const names = [0, 1].flatMap((l) => linears(model.architecture).map((linear) => `${l}.${linear}`));
  const doubled = Object.fromEntries(names.map((name) => [name, [new Float32Array(60).fill(2)]]));
  const moments = async (calibration: Calibration) => await secondMoments(model, { calibration });
  const [plain, guided] = [await moments(masked), await moments({ ...masked, guide: doubled })];
  for (const [name, H] of Object.entries(plain)) assertEquals(guided[name].data, H.data.map((x) => 2 * x), name);
});

Deno.test("on disk the same guide gives the same linears, and another guide is another run", async () => {
  await inFolder(async (folder) => {
    const config = tinyConfig();
    await Deno.mkdir(`${folder}/full`);
    await writeCheckpoint(`${folder}/full`, config, checkpointTensors(config, tinyWeights(config)));
    const full = await openCheckpoint(`${folder}/full`), method = gptq({ bits: 2, group: 8 });
    const r = rng(9, "guide"), guide = guideOf(4, () => r.next());
    const run = async (out: string, calibration: Calibration, stopAt?: number) => {
      const stop = new AbortController();
      const options = { out: `${folder}/${out}`, seed: 1, calibration, device: "cpu", threads: 1 } as const;
      await using work = await openQuantization(full, method, {
        ...options,
        signal: stop.signal,
        onProgress: (done) => done === stopAt && stop.abort(),
      });
      return await work.run();
    };
    await run("plain", masked);
    await run("whole", { ...masked, guide });
    await assertRejects(() => run("stopped", { ...masked, guide }, 5));
    await assertRejects(() => run("stopped", { ...masked, guide: guideOf(4) }), RangeError, "calibrationTokens");
    await assertRejects(() => run("stopped", { ...masked, guide, inverseNorm: true }), RangeError, "inverseNorm");
    await assertRejects(() => run("stopped", masked), RangeError, "calibrationTokens");
    await run("stopped", { ...masked, guide });
    const bytes = (out: string) => Deno.readFile(`${folder}/${out}/model.safetensors`);
    assertEquals(await bytes("stopped"), await bytes("whole"));
    assertNotEquals(await bytes("plain"), await bytes("whole"));
    await using packed = await loadModel(`${folder}/whole`, { device: "cpu", weights: "held", threads: 1 });
    await using model = await loadModel(`${folder}/full`, { device: "cpu", weights: "held", threads: 1 });
    const held = await quantize(model, method, { calibration: { ...masked, guide } });
    // Hidden states on disk are fp16: of later blocks a code may fall otherwise.
    const q = (m: typeof packed) => arraysOf(m).blocks[0].q;
    assertEquals(q(packed), q(held));
  });
});
