import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { abmp } from "../../../lib/methods/abmp.ts";
import { allotment } from "../../../lib/methods/allotment.ts";
import { blockOrders } from "../../../lib/quant/forms/binary.ts";
import { daq, type DaqOptions } from "../../../lib/methods/daq/daq.ts";
import { decode, newGroup } from "../../../lib/methods/daq/group.ts";
import { planes as kind } from "../../../lib/methods/daq/planes.ts";
import { refitColumns, refitRows } from "../../../lib/methods/daq/refit.ts";
import { rsr } from "../../../lib/methods/daq/rsr.ts";
import { recodeInTurn } from "../../../lib/methods/daq/signs.ts";
import { blockError } from "../../../lib/quant/block_error.ts";
import { refine } from "../../../lib/methods/daq/refine.ts";
import { dequantize, storedBits } from "../../../lib/quant/forms/decode.ts";
import { referenceKernels as kernels } from "../../../lib/tensor/kernels.ts";
import { upperFactor } from "../../../lib/tensor/linalg.ts";
import { type Matrix, matrix, matrix64 } from "../../../lib/tensor/matrix.ts";
import { newScratch } from "../../../lib/tensor/scratch.ts";
import { rng } from "../../../lib/tensor/rng.ts";
import { damped, objective } from "../../layers.ts";

const ROWS = 40, COLS = 48;
const random = rng(7);
const W = matrix(ROWS, COLS, Float32Array.from({ length: ROWS * COLS }, () => 0.05 * random.normal()));
/** Correlated inputs with one loud channel. */
const H = matrix(COLS, COLS);
for (let token = 0; token < 200; token++) {
  const shared = random.normal();
  const x = Array.from({ length: COLS }, (_, j) => (j === 5 ? 8 : 1) * (random.normal() + shared));
  for (let i = 0; i < COLS; i++) for (let j = 0; j < COLS; j++) H.data[i * COLS + j] += x[i] * x[j];
}

const run = (options: Partial<DaqOptions>, linear = W) =>
  daq({ bits: 2, group: 16, ...options }).quantize({ name: "test", W: linear, H });

/** tr(E H Eᵀ) / tr(W H Wᵀ). */
function outputError(Q: Matrix): number {
  const quadratic = (E: ArrayLike<number>) => {
    let sum = 0;
    for (let i = 0; i < ROWS; i++) {
      for (let p = 0; p < COLS; p++) {
        for (let j = 0; j < COLS; j++) sum += E[i * COLS + p] * H.data[p * COLS + j] * E[i * COLS + j];
      }
    }
    return sum;
  };
  return quadratic(W.data.map((w, p) => w - Q.data[p])) / quadratic(W.data);
}

const joint = { kind, tolerance: 0, signs: "joint", kernels } as const;

/** One group of W with weights of its own. */
function group(order: number, salient = new Uint8Array(0)) {
  const weights = {
    columnWeight: Float64Array.from({ length: COLS }, (_, j) => 0.5 + (j % 3)),
    salient,
    salientWeight: 3,
  };
  return { planes: newGroup(W, { kind, order }), weights };
}

const neverRises = (losses: number[], what: string) =>
  losses.forEach((loss, n) => {
    if (n > 0) assert(loss <= losses[n - 1] * (1 + 1e-9), `${what}: ${losses[n - 1]} became ${loss} at step ${n}`);
  });

Deno.test("RSR: no half step raises the weighted loss, whatever the order and the signs", async () => {
  for (const order of [1, 2, 3, 4]) {
    const { planes, weights } = group(order);
    // Weights constant over each column leave the nearest level the best one.
    neverRises(await rsr(planes, weights, { ...joint, sweeps: 8 }), "joint");
  }
  const salient = Uint8Array.from({ length: ROWS * COLS }, (_, p) => p % 11 === 0 ? 1 : 0);
  const { planes, weights } = group(1, salient);
  neverRises(await rsr(planes, weights, { ...joint, sweeps: 8, signs: "per-order" }), "DOR");
});

Deno.test("RSR: the loss it reports is that of its planes", async () => {
  const { planes, weights } = group(1);
  const losses = await rsr(planes, weights, { ...joint, sweeps: 4 });
  const Q = await decode(planes, { kind, kernels });
  let loss = 0;
  W.data.forEach((w, p) => loss += weights.columnWeight[p % COLS] * (w - Q.data[p]) ** 2);
  assertAlmostEquals(losses.at(-1)! / loss, 1, 1e-5);
});

Deno.test("refits and sequential signs never raise the loss in the conditional second moment", async () => {
  const { U } = await upperFactor(H);
  const { planes, weights } = group(2), steps = { kind, kernels, scratch: newScratch() };
  await rsr(planes, weights, { ...joint, sweeps: 2 });
  // G = U⁻¹ U⁻ᵀ of the whole is the damped H itself.
  let mean = 0;
  for (let j = 0; j < COLS; j++) mean += H.data[j * COLS + j] / COLS;
  const G = matrix64(COLS, COLS, Float64Array.from(H.data, (h, p) => h + (p % (COLS + 1) === 0 ? 0.01 * mean : 0)));
  const TG = (await kernels.gemm(W, matrix(COLS, COLS, Float32Array.from(G.data)))).data;
  const losses: number[] = [];
  const measure = async () => {
    const E = blockError(W, await decode(planes, { kind, kernels }), { U, compensation: "exact" }).data;
    losses.push(E.reduce((sum, e) => sum + e * e, 0));
  };
  await measure();
  for (let round = 0; round < 3; round++) {
    await recodeInTurn(planes, U.data, steps);
    await measure();
    await refitRows(planes, { G, TG }, steps);
    await measure();
    await refitColumns(planes, { G, TG }, steps);
    await measure();
  }
  losses.forEach((loss, n) => assert(n === 0 || loss <= losses[n - 1] * (1 + 1e-6), `${losses}`));
  assert(losses.at(-1)! < 0.8 * losses[0]);
});

Deno.test("refinement never raises tr((W - Q) H (W - Q)ᵀ), and the loss it reports is the true one", async () => {
  const width = 16;
  const placed = [];
  for (let start = 0; start < COLS; start += width) {
    const x = new Float32Array(ROWS * width);
    for (let i = 0; i < ROWS; i++) x.set(W.data.subarray(i * COLS + start, i * COLS + start + width), i * width);
    const group = newGroup(matrix(ROWS, width, x), { kind, order: 2 });
    const weights = { columnWeight: new Float64Array(width).fill(1), salient: new Uint8Array(0), salientWeight: 1 };
    await rsr(group, weights, { ...joint, sweeps: 3 });
    placed.push({ start, group });
  }
  const losses: number[] = [];
  const onLoss = (loss: number) => losses.push(loss);
  const loss = await refine(W, placed, { H, kind, rounds: 2, sweeps: 2, kernels, onLoss });
  losses.forEach((value, n) => assert(n === 0 || value <= losses[n - 1] * (1 + 1e-6), `${losses}`));
  const Q = matrix(ROWS, COLS);
  for (const { start, group } of placed) {
    const part = await decode(group, { kind, kernels });
    for (let i = 0; i < ROWS; i++) Q.data.set(part.data.subarray(i * width, (i + 1) * width), i * COLS + start);
  }
  const zero = outputError(matrix(ROWS, COLS));
  assertAlmostEquals(zero, 1, 1e-12);
  assertAlmostEquals(loss / losses[0], outputError(Q) / (losses[0] / traceOf(W)), 1e-4);
});

function traceOf(E: Matrix): number {
  let sum = 0;
  for (let i = 0; i < ROWS; i++) {
    for (let p = 0; p < COLS; p++) {
      for (let j = 0; j < COLS; j++) sum += E.data[i * COLS + p] * H.data[p * COLS + j] * E.data[i * COLS + j];
    }
  }
  return sum;
}

for (const profile of ["paper", "official", "plus"] as const) {
  Deno.test(`${profile}: more planes, less error; stored bits as the format says`, async () => {
    const errors: number[] = [];
    for (const bits of [1, 2, 3, 4]) {
      const q = await run({ profile, bits });
      errors.push(outputError(dequantize(q)));
      assertEquals(storedBits(q), bits * ROWS * COLS + 16 * bits * (3 * ROWS + COLS) + 8);
    }
    errors.forEach((error, n) => assert(n === 0 || error < errors[n - 1], `${errors}`));
  });

  Deno.test(`${profile}: a weight that one plane can hold is recovered`, async () => {
    const rank1 = matrix(ROWS, COLS);
    for (let i = 0; i < ROWS; i++) {
      for (let j = 0; j < COLS; j++) {
        rank1.data[i * COLS + j] = (random.next() < 0.5 ? -1 : 1) * (1 + i / 64) * (0.5 + j / 64);
      }
    }
    // What is passed on between blocks is rounding only; DOR and compensation must not spoil an exact fit.
    const Q = dequantize(await run({ profile, bits: 1 }, rank1));
    const worst = rank1.data.reduce((most, w, p) => Math.max(most, Math.abs(Q.data[p] / w - 1)), 0);
    assert(worst < 0.02, `largest relative difference ${worst}`);
  });
}

Deno.test("a short last group works, and groups may have any width", async () => {
  for (const group of [7, 32, 48, 64]) {
    const q = await run({ group });
    assertEquals(blockOrders(q).length, Math.ceil(COLS / group));
    assert(outputError(dequantize(q)) < 0.12);
  }
  const q = await run({ group: 20, bits: abmp({ ratio: 0.5 }) });
  assertEquals(blockOrders(q)[2], 2);
  assertEquals(blockOrders(q).slice(0, 2).toSorted(), [1, 3]);
});

Deno.test("the gate keeps a swap only where the whole linear gains", async () => {
  const flat = (await run({})).report.loss as number;
  const gated = (await run({ bits: abmp({ gate: "measured" }) })).report.loss as number;
  assert(gated <= flat, `${gated} against ${flat}`);
});

Deno.test("plus reports the loss tr((W - Q) H (W - Q)ᵀ) of what it stores, H damped", async () => {
  for (const options of [{}, { refineRounds: 0 }, { compensation: "diagonal" }] as const) {
    const q = await run(options), Q = dequantize(q);
    const want = objective(W, Q, damped(matrix64(COLS, COLS, Float64Array.from(H.data)), 0.01));
    assert(Math.abs(q.report.loss as number / want - 1) < 1e-5, `${q.report.loss} against ${want}`);
  }
});

Deno.test("plain and RSR are values, need no data, and improve in that order", async () => {
  const common = { bits: 2, group: 16, profile: "official", dor: false, compensation: "none" } as const;
  const errorOf = async (method: ReturnType<typeof daq>) => {
    const Q = dequantize(await method.quantize({ name: "test", W }));
    return W.data.reduce((sum, w, p) => sum + (w - Q.data[p]) ** 2, 0);
  };
  const plain = daq({ ...common, rsr: false }), rsr = daq(common);
  assertEquals([plain.needsHessian, rsr.needsHessian], [false, false]);
  assertEquals(daq({ ...common, compensation: "diagonal" }).needsHessian, true);
  assertEquals(plain.name, "daq-official-2b-g16-dor=false-rsr=false-compensation=none");
  assert(await errorOf(rsr) < await errorOf(plain));
});

Deno.test("the same input gives the same bytes, and dead inputs get weight 0", async () => {
  const dead = matrix(COLS, COLS, H.data.slice());
  for (let j = 0; j < COLS; j++) dead.data[3 * COLS + j] = dead.data[j * COLS + 3] = 0;
  const method = daq({ bits: 2, group: 16 });
  const first = await method.quantize({ name: "a", W, H: dead });
  assertEquals(await method.quantize({ name: "a", W, H: dead }), first);
  assertEquals(first.report.deadInputs, 1);
  const Q = dequantize(first);
  for (let i = 0; i < ROWS; i++) assert(Math.abs(Q.data[i * COLS + 3]) < 1e-3);
});

Deno.test("wrong options and inputs are refused", async () => {
  assertThrows(() => daq({ bits: 5, group: 16 }), RangeError, "1 to 4");
  assertThrows(() => daq({ bits: 2, group: 0 }), RangeError, "positive integer");
  assertThrows(() => daq({ bits: 2, group: 16, profile: "best" as "plus" }), RangeError, "best");
  await assertRejects(() => daq({ bits: 2, group: 16 }).quantize({ name: "x", W }), TypeError, '"x"');
  await assertRejects(() => run({ bits: allotment({ other: [2, 2] }) }), RangeError, "block orders are missing");
  await assertRejects(() => run({ bits: allotment({ test: [2, 2, 2] }), group: 64 }), RangeError, "[2,2,2], wanted 1");
  await assertRejects(() => run({ bits: abmp({ scope: "model" }) }), RangeError, "bind abmp2-r0.05-model to scores");
  for (const k of [0, 5, 1.5]) {
    assertThrows(() => daq({ bits: allotment({ a: [2, k] }), group: 16 }), RangeError, `"a" is given ${k} bits`);
  }
});

Deno.test("daq: a second moment that no damping mends gives planes fitted without data, and the report says so", async () => {
  const W = matrix(4, 8, Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)));
  const H = matrix64(8, 8);
  for (let j = 0; j < 8; j++) H.data[j * 8 + j] = j === 3 ? -1e9 : 1;
  const q = await daq({ bits: 2, group: 4 }).quantize({ name: "layer", W, H });
  assertEquals(q.report.fallback, "planes fitted without data");
  const alone = daq({ bits: 2, group: 4, profile: "official", dor: false, compensation: "none" });
  assertEquals(q.tensors, (await alone.quantize({ name: "layer", W })).tensors);
});
