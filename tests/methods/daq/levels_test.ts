import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { abmp } from "../../../lib/methods/abmp.ts";
import { allotment } from "../../../lib/methods/allotment.ts";
import { daq } from "../../../lib/methods/daq/daq.ts";
import { fitGroup } from "../../../lib/methods/daq/fit.ts";
import { profiles } from "../../../lib/methods/daq/options.ts";
import { blockOrders } from "../../../lib/quant/forms/binary.ts";
import { decode, newGroup } from "../../../lib/methods/daq/group.ts";
import { levels, type LevelsOptions, uniformLevels as levelsKind } from "../../../lib/methods/daq/levels.ts";
import { planes } from "../../../lib/methods/daq/planes.ts";
import { refitColumns, refitRows } from "../../../lib/methods/daq/refit.ts";
import { rsr } from "../../../lib/methods/daq/rsr.ts";
import { blockError } from "../../../lib/quant/block_error.ts";
import { refine } from "../../../lib/methods/daq/refine.ts";
import { formBytes } from "../../../lib/quant/forms/size.ts";
import { dequantize, storedBits } from "../../../lib/quant/forms/decode.ts";
import { fastKernels } from "../../../lib/runtime/kernels.ts";
import { openRuntime } from "../../../lib/runtime/runtime.ts";
import { referenceKernels as kernels } from "../../../lib/tensor/kernels.ts";
import { upperFactor } from "../../../lib/tensor/linalg.ts";
import { type Matrix, matrix, matrix64 } from "../../../lib/tensor/matrix.ts";
import { newScratch } from "../../../lib/tensor/scratch.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { damped, layer, objective } from "../../layers.ts";

const ROWS = 40, COLS = 48, kind = levelsKind;
const { W, H } = layer(ROWS, COLS, 7);
const run = (options: Partial<LevelsOptions>, linear = W, moment = H) =>
  levels({ bits: 2, group: 16, ...options }).quantize({ name: "test", W: linear, H: moment });
const outputError = (Q: Matrix) => Math.sqrt(objective(W, Q, H) / objective(W, matrix(ROWS, COLS), H));

const neverRises = (losses: number[], slack: number) =>
  losses.forEach((loss, n) => assert(n === 0 || loss <= losses[n - 1] * (1 + slack), `step ${n}: ${losses}`));

const plain = { kind, tolerance: 0, signs: "joint", kernels } as const;
const even = { columnWeight: new Float64Array(COLS).fill(1), salient: new Uint8Array(0), salientWeight: 1 };

Deno.test("RSR: no half step raises the weighted loss, whatever the bits and weights, and the last is that of the scales", async () => {
  const weights = {
    columnWeight: Float64Array.from({ length: COLS }, (_, j) => 0.5 + (j % 3)),
    salient: Uint8Array.from({ length: ROWS * COLS }, (_, p) => p % 11 === 0 ? 1 : 0),
    salientWeight: 3,
  };
  for (const order of [1, 2, 3]) {
    const group = newGroup(W, { kind, order });
    neverRises(await rsr(group, weights, { ...plain, sweeps: 8 }), 1e-9);
  }
  // One sweep leaves new codes, which can only be better than the loss of the scales that chose them.
  const group = newGroup(W, { kind, order: 2 });
  const losses = await rsr(group, even, { ...plain, sweeps: 12 });
  const Q = (await decode(group, { kind, kernels })).data;
  const loss = W.data.reduce((sum, w, p) => sum + (w - Q[p]) ** 2, 0);
  assert(loss <= losses.at(-1)! * (1 + 1e-6));
});

for (const [name, kind, order] of [["levels", levelsKind, 2], ["planes", planes, 2], ["planes", planes, 3]] as const) {
  Deno.test(`${order} bits of ${name}: refits never raise the loss in a quadratic form, and leave nothing to gain along any scale`, async () => {
    const G = damped(H, 0.01);
    const { U } = await upperFactor(H);
    const TG = (await kernels.gemm(W, matrix(COLS, COLS, Float32Array.from(G.data)))).data;
    const group = newGroup(W, { kind, order }), steps = { kind, kernels, scratch: newScratch() };
    await rsr(group, even, { ...plain, kind, sweeps: 2 });
    const losses: number[] = [];
    const measure = async () => {
      // G = U⁻¹ U⁻ᵀ of the whole is the damped H itself.
      const E = blockError(W, await decode(group, { kind, kernels }), { U, compensation: "exact" }).data;
      losses.push(E.reduce((sum, e) => sum + e * e, 0));
      return losses.at(-1)!;
    };
    await measure();
    for (const [refit, scales] of [[refitRows, group.rowScale], [refitColumns, group.colScale]] as const) {
      await refit(group, { G, TG }, steps);
      const least = await measure();
      for (const at of [0, 7, scales.length - 1]) {
        for (const factor of [0.99, 1.01]) {
          const held = scales[at];
          scales[at] *= factor;
          assert(await measure() >= least, `scale ${at}`);
          losses.pop();
          scales[at] = held;
        }
      }
    }
    neverRises(losses, 1e-6);
    assert(losses.at(-1)! < 0.9 * losses[0]);
  });
}

Deno.test("refinement never raises tr((W - Q) H (W - Q)ᵀ), and the loss it reports is the true one", async () => {
  const width = 16, Hd = damped(H, 0.01);
  const placed = [];
  for (let start = 0; start < COLS; start += width) {
    const x = new Float32Array(ROWS * width);
    for (let i = 0; i < ROWS; i++) x.set(W.data.subarray(i * COLS + start, i * COLS + start + width), i * width);
    const group = newGroup(matrix(ROWS, width, x), { kind, order: 1 + start / width });
    await rsr(group, { ...even, columnWeight: new Float64Array(width).fill(1) }, { ...plain, sweeps: 3 });
    placed.push({ start, group });
  }
  const losses: number[] = [];
  const onLoss = (loss: number) => losses.push(loss);
  const form = matrix(COLS, COLS, Float32Array.from(Hd.data));
  const loss = await refine(W, placed, { H: form, kind, rounds: 2, sweeps: 2, kernels, onLoss });
  neverRises(losses, 1e-6);
  assert(losses.at(-1)! < 0.8 * losses[0]);
  const Q = matrix(ROWS, COLS);
  for (const { start, group } of placed) {
    const part = (await decode(group, { kind, kernels })).data;
    for (let i = 0; i < ROWS; i++) Q.data.set(part.subarray(i * width, (i + 1) * width), i * COLS + start);
  }
  assertAlmostEquals(loss / objective(W, Q, Hd), 1, 1e-4);
});

for (const profile of ["official", "plus"] as const) {
  Deno.test(`${profile}: more bits, less error; stored bits as the format says; the loss reported is the true one`, async () => {
    const errors: number[] = [];
    for (const bits of [1, 2, 3]) {
      const q = await run({ profile, bits });
      errors.push(outputError(dequantize(q)));
      assertEquals(storedBits(q), 8 * formBytes.levels({ rows: ROWS, cols: COLS, order: bits, group: 16 }));
      if (profile === "plus") {
        assertAlmostEquals(q.report.loss as number / objective(W, dequantize(q), damped(H, 0.01)), 1, 1e-4);
      }
    }
    errors.forEach((error, n) => assert(n === 0 || error < 0.75 * errors[n - 1], `${errors}`));
  });

  Deno.test(`${profile}: a weight that lies on levels is recovered`, async () => {
    const random = rng(5), exact = matrix(ROWS, COLS);
    for (let i = 0; i < ROWS; i++) {
      for (let j = 0; j < COLS; j++) {
        exact.data[i * COLS + j] = (2 * random.int(4) - 3) * (1 + i / 64) * (0.5 + j / 64);
      }
    }
    const Q = dequantize(await run({ profile, group: COLS }, exact)).data;
    const worst = exact.data.reduce((most, w, p) => Math.max(most, Math.abs(Q[p] / w - 1)), 0);
    assert(worst < 0.02, `largest relative difference ${worst}`);
  });

  Deno.test(`${profile}: doubling weights or inputs changes no code, and the order of rows changes next to nothing`, async () => {
    const q = await run({ profile });
    const larger = await run({ profile }, { ...W, data: W.data.map((w) => 4 * w) });
    assertEquals(larger.tensors.codes, q.tensors.codes);
    assertEquals(dequantize(larger).data, dequantize(q).data.map((w) => 4 * w));
    const louder = await run({ profile }, W, { ...H, data: H.data.map((h) => 4 * h) });
    assertEquals(louder.tensors, q.tensors);

    const order = Array.from({ length: ROWS }, (_, i) => (i * 17 + 5) % ROWS);
    const mixed = matrix(ROWS, COLS);
    order.forEach((from, to) => mixed.data.set(W.data.subarray(from * COLS, (from + 1) * COLS), to * COLS));
    const Q = dequantize(await run({ profile }, mixed)).data, back = matrix(ROWS, COLS);
    order.forEach((from, to) => back.data.set(Q.subarray(to * COLS, (to + 1) * COLS), from * COLS));
    // Sums over rows in another order differ in the last place, which may tip a code that lies between two levels.
    assertAlmostEquals(outputError(back) / outputError(dequantize(q)), 1, 0.02);
    const same = dequantize(q).data.filter((w, p) => Math.abs(w - back.data[p]) < 1e-3 * Math.abs(w)).length;
    assert(same > 0.9 * ROWS * COLS, `${same} of ${ROWS * COLS}`);
  });
}

Deno.test("the same bytes with fast kernels on any number of threads", async () => {
  await using runtime = await openRuntime({ device: "cpu" });
  const { W, H, name } = layer(200, 96, 3);
  const method = levels({ bits: 2, group: 32 });
  const answers = [];
  for (const threads of [1, 2]) {
    await using fast = fastKernels(runtime, { threads });
    answers.push(await method.quantize({ name, W, H, kernels: fast }));
  }
  assertEquals(answers[0], answers[1]);
});

Deno.test("a short last group works, dead inputs get weight 0, and allocations are kept", async () => {
  const dead = matrix(COLS, COLS, Float32Array.from(H.data));
  for (let j = 0; j < COLS; j++) dead.data[3 * COLS + j] = dead.data[j * COLS + 3] = 0;
  for (const group of [7, 32, 48, 64]) {
    const q = await levels({ bits: 2, group }).quantize({ name: "a", W, H: dead });
    assertEquals([blockOrders(q).length, q.report.deadInputs], [Math.ceil(COLS / group), 1]);
    const Q = dequantize(q).data;
    for (let i = 0; i < ROWS; i++) assert(Math.abs(Q[i * COLS + 3]) < 1e-3);
    assert(outputError(dequantize(await run({ group }))) < 0.35);
  }
  const mixed = blockOrders(await run({ group: 20, bits: abmp({ ratio: 0.5 }) }));
  assertEquals([mixed[2], mixed.slice(0, 2).toSorted()], [2, [1, 3]]);
  assertEquals(blockOrders(await run({ bits: allotment({ test: [3, 1, 2] }) })), [3, 1, 2]);
  const flat = (await run({})).report.loss as number;
  assert((await run({ bits: abmp({ gate: "measured" }) })).report.loss as number <= flat);
});

Deno.test("names are canonical, and what has no meaning is refused", async () => {
  assertEquals(levels({ bits: 2, group: 128 }).name, "daq-plus-levels-2b-g128");
  assertEquals(
    levels({ bits: abmp(), group: 64, profile: "official", dor: false }).name,
    "daq-official-levels-abmp2-r0.05-g64-dor=false",
  );
  const alone = levels({ bits: 2, group: 16, profile: "official", dor: false, compensation: "none" });
  assertEquals(alone.needsHessian, false);
  assertEquals((await alone.quantize({ name: "x", W })).report, { damping: 0, retries: 0, deadInputs: 0 });
  assertThrows(() => levels({ bits: 4, group: 16 }), RangeError, "1 to 3");
  assertThrows(() => levels({ bits: 2, group: 0 }), RangeError, "positive integer");
  assertThrows(() => levels({ bits: 2, group: 16, profile: "paper" as "plus" }), RangeError, "paper");
  await assertRejects(() => levels({ bits: 2, group: 16 }).quantize({ name: "x", W }), TypeError, '"x"');
  const over = { bits: allotment({ test: [2, 4, 2] }), group: 16 };
  assertThrows(() => levels(over), RangeError, 'group 1 of "test" is given 4 bits');
  for (const average of [2.5, 3]) {
    assertThrows(() => levels({ bits: abmp({ average }), group: 16 }), RangeError, "may give a group 4 bits");
    assertEquals(levels({ bits: abmp({ average, ratio: 0 }), group: 16 }).needsHessian, true);
  }
});

Deno.test("a second moment that no damping mends gives codes fitted without data, and the report says so", async () => {
  const bad = matrix(COLS, COLS, Float32Array.from(H.data));
  bad.data[3 * COLS + 3] = -1e12;
  const q = await levels({ bits: 2, group: 16 }).quantize({ name: "layer", W, H: bad });
  assertEquals(q.report.fallback, "levels fitted without data");
  const alone = levels({ bits: 2, group: 16, profile: "official", dor: false, compensation: "none" });
  assertEquals(q.tensors, (await alone.quantize({ name: "layer", W })).tensors);
});

Deno.test("levels: without refits, too, codes are the nearest to the scales that are stored", async () => {
  const U = matrix64(COLS, COLS);
  for (let j = 0; j < COLS; j++) U.data[j * COLS + j] = 1;
  const settings = profiles.official;
  const { group } = await fitGroup(W, U, { kind, order: 2, settings, kernels });
  const { codes, rowScale, colScale } = group;
  codes.forEach((code, p) => {
    const a = rowScale[Math.floor(p / COLS)] * colScale[p % COLS],
      miss = (q: number) => Math.abs(W.data[p] - a * (2 * q - 3));
    for (const other of [0, 1, 2, 3]) {
      assert(miss(code) <= miss(other) + 1e-12, `weight ${p}: ${code}, better ${other}`);
    }
  });
});

Deno.test("levels and planes: a group of zeros decodes to zeros", async () => {
  const W = matrix(6, 32, Float32Array.from({ length: 192 }, (_, p) => p % 32 < 16 ? 0 : Math.sin(p)));
  const { H } = layer(6, 32, 9);
  for (const profile of ["official", "plus"] as const) {
    for (const method of [levels({ bits: 2, group: 16, profile }), daq({ bits: 2, group: 16, profile })]) {
      const { data } = dequantize(await method.quantize({ name: "zeros", W, H }));
      data.forEach((q, p) => assert(p % 32 < 16 ? q === 0 : Number.isFinite(q), `${method.name}: weight ${p} is ${q}`));
    }
  }
});
