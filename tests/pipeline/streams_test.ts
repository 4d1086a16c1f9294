/** The two streams of a calibration, through what is quantised and through full precision: what methods get of them, against float64 loops. */
import { assert, assertEquals } from "@std/assert";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import type { LinearInput, Method } from "../../lib/quant/method.ts";
import { arraysOf, familyConfigs, randomTokens, tinyModel } from "../model/tiny.ts";
import { chosenExperts, referencePass } from "../model/reference.ts";
import { MOMENT_RELATIVE } from "../tolerances.ts";

/** Coarse rounding that keeps what it is given: its drift is large. */
function spy(seen: Map<string, LinearInput>, inputs: number): Method {
  const inner = rtn({ bits: 3, group: 4 });
  return {
    ...inner,
    needsHessian: true,
    wants: { drift: true, inputs },
    quantize(linear) {
      seen.set(linear.name, linear);
      return inner.quantize(linear);
    },
  };
}

/** 2 / N Σ a bᵀ in float64. */
function product(a: readonly Float64Array[], b: readonly Float64Array[], windows: number): Float64Array {
  const n = a[0].length, out = new Float64Array(n * n);
  for (const [t, x] of a.entries()) {
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j] += 2 / windows * x[i] * b[t][j];
  }
  return out;
}

function assertNear(found: ArrayLike<number>, wanted: ArrayLike<number>, what: string): void {
  assertEquals(found.length, wanted.length, what);
  const size = Array.from(wanted).reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  for (let i = 0; i < wanted.length; i++) {
    assert(
      Math.abs(found[i] - wanted[i]) <= 5 * MOMENT_RELATIVE * size,
      `${what}: ${i} is ${found[i]}, not ${wanted[i]}`,
    );
  }
}

const minus = (a: readonly Float64Array[], b: readonly Float64Array[]) => a.map((x, t) => x.map((v, j) => v - b[t][j]));
const stagesOf = [["q", "k", "v"], ["o"], ["gate", "up"], ["down"]];

for (const family of ["LLaDA, grouped queries", "Dream", "Qwen3 diffusion"] as const) {
  Deno.test(`${family}: H, D and X are those of the inputs of both models, held-out windows apart`, async () => {
    await using model = await tinyModel({ config: familyConfigs[family] });
    const windows = Array.from({ length: 5 }, (_, i) => randomTokens(12, 70 + i));
    const calibration = simulateMasks({ windows }, { maskId: 22, seed: 2 });
    const seen = new Map<string, LinearInput>();
    const quantized = await quantize(model, spy(seen, 20), { calibration, batch: 2, heldOut: 1 });
    const own = calibration.windows.slice(0, 4);
    const pass = (m: typeof model) => own.map((w) => referencePass(model.architecture, arraysOf(m), w).inputs);
    // A linear reads what all before it, quantised, give: the quantised model as it is in the end says that too.
    const [x, full] = [pass(quantized), pass(model)];
    for (let layer = 0; layer < model.architecture.layers; layer++) {
      for (const [stage, linears] of stagesOf.entries()) {
        const at = (all: typeof x) => all.flatMap((inputs) => inputs[layer][stage]);
        for (const linear of linears) {
          const name = model.family.names.block(layer, linear), { H, D, X } = seen.get(name)!;
          assertNear(H!.data, product(at(x), at(x), 4), `${name} H`);
          // Nothing has drifted before the first stage, and all has after it.
          assertEquals(Array.from(D!.data).some((d) => d !== 0), layer > 0 || stage > 0, `${name} D`);
          assertNear(D!.data, product(minus(at(full), at(x)), at(x), 4), `${name} D`);
          // Of 48 tokens every fourth: halved twice to stay within 20.
          const some = at(x).filter((_, t) => t % 4 === 0);
          assertEquals([X!.rows, X!.cols], [12, some[0].length]);
          assertNear(X!.data, some.flatMap((row) => [...row]), `${name} X`);
        }
      }
    }
  });
}

Deno.test("LLaDA-MoE: an expert's drift is of the tokens that the quantised model sends it", async () => {
  await using model = await tinyModel({ config: familyConfigs["LLaDA-MoE"] });
  const a = model.architecture, windows = Array.from({ length: 8 }, (_, i) => randomTokens(20, 60 + i));
  const calibration = simulateMasks({ windows }, { maskId: 22, seed: 2 });
  const seen = new Map<string, LinearInput>();
  const quantized = await quantize(model, spy(seen, 1000), { calibration, batch: 3 });
  const at = (m: typeof model) => calibration.windows.flatMap((w) => referencePass(a, arraysOf(m), w).inputs[0][2]);
  const x = at(quantized), full = at(model), { router } = arraysOf(model).blocks[0];
  const sent = x.map((row) => {
    const logits = Float64Array.from({ length: 6 }, (_, e) => row.reduce((s, v, j) => s + v * router[e * 16 + j], 0));
    return chosenExperts(a, logits).map(([e]) => e);
  });
  for (let e = 0; e < 6; e++) {
    const of = (rows: readonly Float64Array[]) => rows.filter((_, t) => sent[t].includes(e));
    if (of(x).length < 4) continue;
    const name = model.family.names.block(0, `experts.${e}.gate`), { D, X } = seen.get(name)!;
    assertNear(D!.data, product(minus(of(full), of(x)), of(x), 8), `${name} D`);
    assertNear(X!.data, of(x).flatMap((row) => [...row]), `${name} X`);
  }
});

Deno.test("LLaDA-MoE: H, D and X of every stage of every block, down projections and experts that few tokens go to included", async () => {
  await using model = await tinyModel({ config: familyConfigs["LLaDA-MoE"] });
  const a = model.architecture, windows = Array.from({ length: 2 }, (_, i) => randomTokens(8, 80 + i));
  const calibration = simulateMasks({ windows }, { maskId: 22, seed: 2 });
  const seen = new Map<string, LinearInput>();
  const quantized = await quantize(model, spy(seen, 1000), { calibration, batch: 2 });
  const passes = (m: typeof model) => calibration.windows.map((w) => referencePass(a, arraysOf(m), w).inputs);
  const [own, full] = [passes(quantized), passes(model)];
  const times = (W: ArrayLike<number>, x: Float64Array) =>
    Float64Array.from(
      { length: W.length / x.length },
      (_, i) => x.reduce((sum, v, j) => sum + W[i * x.length + j] * v, 0),
    );
  const checked: string[] = [], all = model.linearNames().map(({ name }) => name), kinds = new Set<boolean>();
  for (let layer = 0; layer < a.layers; layer++) {
    const blocks = [quantized, model].map((m) => arraysOf(m).blocks[layer]);
    const stage = (k: number) => [own, full].map((inputs) => inputs.flatMap((of) => of[layer][k]));
    const check = (linear: string, [x, aim]: Float64Array[][]) => {
      const name = model.family.names.block(layer, linear), { H, D, X } = seen.get(name)!;
      assertNear(H!.data, product(x, x, 2), `${name} H`);
      assertNear(D!.data, product(minus(aim, x), x, 2), `${name} D`);
      assertNear(X!.data, x.flatMap((row) => [...row]), `${name} X`);
      checked.push(name);
    };
    for (const linear of ["q", "k", "v"]) check(linear, stage(0));
    check("o", stage(1));
    const read = stage(2), { router } = blocks[1];
    const sent = read[0].map((row) => chosenExperts(a, times(router, row)).map(([e]) => e));
    for (let e = 0; e < 6; e++) {
      const visited = sent.filter((experts) => experts.includes(e)).length;
      kinds.add(visited < 3);
      // Fewer tokens than a quarter of the columns are too few: all are taken then.
      const of = (rows: Float64Array[], width: number) =>
        rows.filter((_, t) => visited < width / 4 || sent[t].includes(e));
      for (const linear of ["gate", "up"]) check(`experts.${e}.${linear}`, read.map((rows) => of(rows, 16)));
      const active = read.map((rows, m) =>
        of(rows, 12).map((row) => {
          const up = times(blocks[m][`experts.${e}.up`], row);
          return times(blocks[m][`experts.${e}.gate`], row).map((g, i) => g / (1 + Math.exp(-g)) * up[i]);
        })
      );
      check(`experts.${e}.down`, active);
    }
  }
  assertEquals(checked.sort(), all.sort());
  assertEquals(kinds.size, 2);
});
