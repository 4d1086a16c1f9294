import { assert, assertEquals } from "@std/assert";
import { simulateMasks } from "../../lib/diffusion/mcs.ts";
import { rtn } from "../../lib/methods/rtn.ts";
import { quantize } from "../../lib/pipeline/quantize.ts";
import type { LinearInput, Method } from "../../lib/quant/method.ts";
import { arraysOf, familyConfigs, randomTokens, tinyModel } from "../model/tiny.ts";
import { chosenExperts, referencePass } from "../model/reference.ts";
import { MOMENT_RELATIVE } from "../tolerances.ts";

/** RTN that keeps what it is given. */
function spy(seen: Map<string, LinearInput>): Method {
  const inner = rtn({ bits: 8, group: 4 });
  return {
    ...inner,
    needsHessian: true,
    quantize(linear) {
      seen.set(linear.name, linear);
      return inner.quantize(linear);
    },
  };
}

/** (2 / N) Σ x xᵀ in float64. */
function moment(rows: readonly Float64Array[], windows: number): Float64Array {
  const n = rows[0].length;
  const H = new Float64Array(n * n);
  for (const x of rows) {
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) H[i * n + j] += 2 / windows * x[i] * x[j];
  }
  return H;
}

function assertNear(found: ArrayLike<number>, wanted: Float64Array, what: string): void {
  const size = wanted.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  wanted.forEach((x, i) =>
    assert(Math.abs(found[i] - x) <= MOMENT_RELATIVE * size, `${what}: entry ${i} is ${found[i]}, wanted ${x}`)
  );
}

const config = familyConfigs["LLaDA-MoE"];

for (const [name, count, length] of [["many tokens", 8, 20], ["four tokens", 1, 4]] as const) {
  Deno.test(`each expert is calibrated on the tokens that the router sends it, or on all and says so: ${name}`, async () => {
    await using model = await tinyModel({ config });
    const a = model.architecture;
    const corpus = { windows: Array.from({ length: count }, (_, i) => randomTokens(length, 60 + i)) };
    const calibration = simulateMasks(corpus, { maskId: 22, seed: 2 });
    const seen = new Map<string, LinearInput>();
    const quantized = await quantize(model, spy(seen), { calibration, batch: 2 });
    // The first feed-forward network, behind attention as it was quantised.
    const arrays = arraysOf(model);
    const blocks = arrays.blocks.map((block, layer) =>
      layer > 0 ? block : { ...block, ...pick(arraysOf(quantized).blocks[0], ["q", "k", "v", "o"]) }
    );
    const h = calibration.windows.flatMap((w) => referencePass(a, { ...arrays, blocks }, w).inputs[0][2]);
    const router = blocks[0].router;
    const routes = h.map((x) => {
      const logits = Float64Array.from(
        { length: 6 },
        (_, e) => x.reduce((sum, v, j) => sum + v * router[e * 16 + j], 0),
      );
      return chosenExperts(a, logits).map(([e]) => e);
    });
    let starved = 0;
    for (let e = 0; e < 6; e++) {
      const own = h.filter((_, i) => routes[i].includes(e));
      const place = (linear: string) => model.family.names.block(0, `experts.${e}.${linear}`);
      const fallback = own.length < 16 / 4;
      starved += fallback ? 1 : 0;
      for (const linear of ["gate", "up"]) {
        assertNear(seen.get(place(linear))!.H!.data, moment(fallback ? h : own, count), place(linear));
        const { report } = quantized.quantized.get(place(linear))!;
        assertEquals(report.tokens, own.length);
        assertEquals(report.calibrationFallback !== undefined, fallback);
      }
      const networks = arraysOf(quantized).blocks[0];
      const active = (own.length < 12 / 4 ? h : own).map((x) => {
        const apply = (W: Float32Array) =>
          Float64Array.from({ length: 12 }, (_, i) => x.reduce((sum, v, j) => sum + v * W[i * 16 + j], 0));
        const up = apply(networks[`experts.${e}.up`]);
        return apply(networks[`experts.${e}.gate`]).map((g, i) => g / (1 + Math.exp(-g)) * up[i]);
      });
      assertNear(seen.get(place("down"))!.H!.data, moment(active, count), place("down"));
    }
    // Each of the two settings shows its side.
    assert(count === 1 ? starved > 0 : starved < 6, `${starved} of 6 experts fell back`);
    assert(quantized.quantized.get(model.family.names.block(0, "q"))!.report.tokens === undefined);
    assert(!quantized.quantized.has(model.family.names.block(0, "router")), "the router stays in full precision");
  });
}

function pick<T>(record: Readonly<Record<string, T>>, keys: readonly string[]): Record<string, T> {
  return Object.fromEntries(keys.map((key) => [key, record[key]]));
}
