import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { loadModel, openCheckpoint } from "../../lib/checkpoint/open.ts";
import { type Calibration, simulateMasks } from "../../lib/diffusion/mcs.ts";
import { gptq } from "../../lib/methods/gptq.ts";
import { linears, linearShape } from "../../lib/model/architecture.ts";
import type { Model } from "../../lib/model/model.ts";
import { openQuantization, quantize } from "../../lib/pipeline/quantize.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { guided, tempered } from "../../lib/train/guided.ts";
import { distance } from "../layers.ts";
import { type Bump, logSoftmax, referencePass } from "../model/reference.ts";
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
import { GRADIENT_RELATIVE } from "../tolerances.ts";

const MASK = 22;
const plain = { mix: 0, clip: 1 };
/** Relative to the largest: a square doubles the error of a gradient, and its scale may as well. */
const SQUARES_RELATIVE = 4 * GRADIENT_RELATIVE;

/** Windows with some tokens masked, never the first, and what stood there. */
function maskedText(count: number, length: number) {
  const labels = Array.from({ length: count }, (_, i) => randomTokens(length, 30 + i)), r = rng(1, "masked");
  const windows = labels.map((w) => w.map((token, p) => p > 0 && r.next() < 0.5 ? MASK : token));
  return { labels, calibration: { name: "c", windows, timesteps: windows.map(() => 0.5) } satisfies Calibration };
}

/** -Σ log p(label) over the masked positions of a window, by float64 loops. */
function loss(model: Model, window: Int32Array, labels: ArrayLike<number>, bump?: Bump): number {
  const { logits } = referencePass(model.architecture, arraysOf(model), window, bump);
  return window.reduce((sum, token, p) => token === MASK ? sum - logSoftmax(logits[p])[labels[p]] : sum, 0);
}

/** (dl/dz)² of one row of a linear at one position, by a central difference. */
function square(model: Model, window: Int32Array, labels: ArrayLike<number>, at: Omit<Bump, "by">): number {
  const by = 1e-4;
  return ((loss(model, window, labels, { ...at, by }) - loss(model, window, labels, { ...at, by: -by })) / (2 * by)) **
    2;
}

/** As a guide of no mixture and no clipping scales them. */
function scaled(squares: readonly number[]): number[] {
  const mean = squares.reduce((sum, s) => sum + s, 0) / squares.length;
  return squares.map((s) => s / mean);
}

const dense = Object.entries({ LLaDA: tinyConfig(), ...familyConfigs }).filter(([name]) => name !== "LLaDA-MoE");
for (const [name, config] of dense) {
  Deno.test(`${name}: weights of tokens are mean squares of central differences at the output of each linear`, async () => {
    await using model = await tinyModel({ config });
    const a = model.architecture, { labels, calibration } = maskedText(2, 4), groups = 4;
    const found = await guided(model, calibration, { seed: 1, groups, labels, batch: 1, ...plain });
    assertEquals(found.name, "c+guided-r4-mix0-clip1-labels");
    assertEquals(found.windows, calibration.windows);
    assertEquals(Object.keys(found.guide!).length, 14);
    // The gradients of the first block went through all that those of the second did.
    for (const layer of name === "LLaDA" ? [0, 1] : [0]) {
      for (const linear of linears(a)) {
        const size = linearShape(a, linear)[0] / groups, guide = found.guide![`${layer}.${linear}`];
        assertEquals(guide.map((w) => w.length), [8, 8, 8, 8]);
        const squares = guide.flatMap((_, k) =>
          calibration.windows.flatMap((window, w) =>
            Array.from(window, (_, position) => {
              let sum = 0;
              for (let row = k * size; row < (k + 1) * size; row++) {
                sum += square(model, window, labels[w], { layer, linear, position, row });
              }
              return sum / size;
            })
          )
        );
        const wanted = scaled(squares), largest = Math.max(...wanted);
        const off = distance(guide.flatMap((w) => [...w]), wanted);
        assert(off <= SQUARES_RELATIVE * largest, `${layer}.${linear} is off by ${off} of ${largest}`);
        assert(new Set(wanted.map((x) => x.toFixed(3))).size > 5, "all weights are alike");
      }
    }
  });
}

Deno.test("labels are drawn from the model's own predictions, anew for each window", async () => {
  await using model = await tinyModel();
  // One mask: the Fisher information is a sum over the labels that it may have.
  const window = Int32Array.of(3, 7, MASK, 5), count = 4000, at = { layer: 1, linear: "v", position: 1 };
  const p = logSoftmax(referencePass(model.architecture, arraysOf(model), window).logits[2]).map(Math.exp);
  const exact = (position: number) =>
    p.reduce((sum, share, label) => {
      let own = 0;
      for (let row = 0; row < 16; row++) own += square(model, window, [0, 0, label, 0], { ...at, position, row }) / 16;
      return sum + share * own;
    }, 0);
  const wanted = scaled([0, 1, 2, 3].map(exact));
  const copies: Calibration = {
    name: "c",
    windows: new Array(count).fill(window),
    timesteps: new Array(count).fill(1),
  };
  const { guide } = await guided(model, copies, { seed: 1, batch: 500, ...plain });
  const weights = guide!["1.v"][0], means = [0, 0, 0, 0];
  weights.forEach((s, t) => means[t % 4] += s / count);
  // The standard error of a mean over 4000 draws is below 3 % here.
  means.forEach((mean, t) => assert(Math.abs(mean - wanted[t]) < 0.08 * wanted[t], `${means}, wanted ${wanted}`));
  assert(new Set(weights.filter((_, t) => t % 4 === 1)).size > 10, "labels are alike in all windows");
  const again = await guided(model, copies, { seed: 1, batch: 500, ...plain });
  assertEquals(again.guide!["1.v"], guide!["1.v"]);
  const other = await guided(model, copies, { seed: 2, batch: 500, ...plain });
  assert(other.guide!["1.v"][0].some((s, t) => s !== weights[t]));
});

Deno.test("groups of rows have the weights of all rows for their mean, whatever the batch", async () => {
  await using model = await tinyModel();
  const { labels, calibration } = maskedText(5, 8);
  const [one, four] = [1, 4].map((groups) => ({ seed: 1, groups, labels, ...plain }));
  const whole = await guided(model, calibration, one), parts = await guided(model, calibration, { ...four, batch: 2 });
  for (const [linear, [weights]] of Object.entries(whole.guide!)) {
    assertAlmostEquals(weights.reduce((sum, s) => sum + s, 0) / 40, 1, 1e-5);
    weights.forEach((s, t) => {
      const mean = parts.guide![linear].reduce((sum, own) => sum + own[t] / 4, 0);
      assertAlmostEquals(mean, s, 1e-4 * Math.max(...weights), `${linear}, token ${t}`);
    });
  }
});

Deno.test("weights are clipped by groups, mixed with plain ones, and one on average", () => {
  const s = Float32Array.from({ length: 1000 }, (_, t) => t + 1), equal = new Float32Array(1000).fill(3);
  const close = (found: ArrayLike<number>, wanted: ArrayLike<number>) =>
    assert(distance(Array.from(found), Array.from(wanted)) < 1e-5);
  const mean = 500.5;
  close(tempered([s], { mix: 0, clip: 1 })[0], s.map((x) => x / mean));
  close(tempered([s], { mix: 1, clip: 1 })[0], s.map(() => 1));
  close(tempered([s], { mix: 0.25, clip: 1 })[0], s.map((x) => 0.75 * x / mean + 0.25));
  const cut = tempered([s], { mix: 0, clip: 0.5 })[0], middle = (500 * 501 / 2 + 500 * 500) / 1000;
  close(cut, s.map((x) => Math.min(x, 500) / middle));
  // Weights that are equal are those of no guide, and what is felt twice as much counts twice.
  close(tempered([equal], { mix: 0.1, clip: 0.999 })[0], equal.map(() => 1));
  const [low, high] = tempered([equal, equal.map((x) => 2 * x)], { mix: 0.1, clip: 1 });
  close([low[0], high[0]], [2 / 3, 4 / 3]);
  close(tempered([new Float32Array(4), new Float32Array(4)], { mix: 0.1, clip: 1 })[1], [1, 1, 1, 1]);
});

Deno.test("a model is quantised on its guide, in one group of rows and in four", async () => {
  await using model = await tinyModel();
  const corpus = { windows: Array.from({ length: 16 }, (_, i) => randomTokens(20, 70 + i)) };
  const masked = simulateMasks(corpus, { maskId: MASK, seed: 2 }), method = gptq({ bits: 2, group: 8 });
  const made = await Promise.all([1, 4].map(async (groups) => {
    const calibration = await guided(model, masked, { seed: 1, groups });
    return snapshot(await quantize(model, method, { calibration }));
  }));
  const without = snapshot(await quantize(model, method, { calibration: masked }));
  for (const [x, y] of [[made[0], made[1]], [made[0], without], [made[1], without]]) {
    assert(x.some((array, i) => array.some((value, j) => value !== y[i][j])));
  }
  // Of the plain second moment alone: the guide changes nothing but the order of a product.
  const mixed = await guided(model, masked, { seed: 1, mix: 1 });
  for (const [weights] of Object.values(mixed.guide!)) weights.forEach((w) => assertAlmostEquals(w, 1, 1e-6));
});

Deno.test("a checkpoint that is read block by block is guided as one in memory, when its quantisation begins", async () => {
  await inFolder(async (folder) => {
    const config = tinyConfig(), full = `${folder}/full`;
    await Deno.mkdir(full);
    await writeCheckpoint(full, config, checkpointTensors(config, tinyWeights(config)));
    const { calibration } = maskedText(6, 8), method = gptq({ bits: 2, group: 8 });
    const guides: Calibration[] = [];
    const draw = async (model: Model) => {
      guides.push(await guided(model, calibration, { seed: 1, groups: 2, batch: 4 }));
      return guides.at(-1)!;
    };
    const options = { out: `${folder}/out`, seed: 1, device: "cpu", threads: 1 } as const;
    const drawn = { windows: 6, length: 8, draw };
    await using work = await openQuantization(await openCheckpoint(full), method, { ...options, calibration: drawn });
    await work.run();
    await using held = await loadModel(full, { device: "cpu", weights: "held", threads: 1 });
    assertEquals(await draw(held), guides[0]);
    await using packed = await loadModel(options.out, { device: "cpu", weights: "held", threads: 1 });
    const quantized = await quantize(held, method, { calibration: guides[0] });
    assertEquals(arraysOf(packed).blocks[0].q, arraysOf(quantized).blocks[0].q);
    assertEquals(packed.provenance.calibration, "c+guided-r2");
  });
});

Deno.test("what cannot be guided is refused before any work", async () => {
  await using model = await tinyModel();
  await using experts = await tinyModel({ config: familyConfigs["LLaDA-MoE"] });
  const { labels, calibration } = maskedText(3, 5);
  const refused = (options: Partial<Parameters<typeof guided>[2]>, text: string, from: Calibration = calibration) =>
    assertRejects(() => guided(model, from, { seed: 1, ...options }), RangeError, text);
  await refused({ groups: 3 }, "16 rows of q into 3");
  await refused({ groups: 0.5 }, "0.5 groups");
  await refused({ mix: 1.1 }, "mix 1.1");
  await refused({ clip: 0 }, "quantile 0");
  await refused({ batch: 0 }, "0 windows");
  await refused({ labels: labels.slice(1) }, "labels as many");
  await refused({ labels: labels.map((w) => w.slice(1)) }, "labels as many");
  await refused({ labels: labels.map((w) => w.map(() => 23)) }, "no token 23");
  await refused({}, "one length", { ...calibration, windows: [] });
  await refused({}, "nothing that is predicted is masked", { ...calibration, windows: labels });
  await assertRejects(() => guided(experts, calibration, { seed: 1 }), TypeError, "experts");
  const once = await guided(model, calibration, { seed: 1 });
  await assertRejects(() => guided(model, once, { seed: 1 }), TypeError, "guided already");
});
