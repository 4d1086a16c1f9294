import { assert, assertEquals } from "@std/assert";
import { daq } from "../../../lib/methods/daq/daq.ts";
import { levels } from "../../../lib/methods/daq/levels.ts";
import { profiles } from "../../../lib/methods/daq/options.ts";
import { dequantize } from "../../../lib/quant/forms/decode.ts";
import { matrix, matrix64 } from "../../../lib/tensor/matrix.ts";
import { distance, layer } from "../../layers.ts";

Deno.test("where H is of no use, groups are fitted to the weights as on inputs that are all alike", async () => {
  const { name, W } = layer(12, 24, 9), broken = matrix(24, 24, new Float32Array(24 * 24).fill(NaN));
  const alike = matrix64(24, 24);
  for (let j = 0; j < 24; j++) {
    broken.data[25 * j] = 1;
    alike.data[25 * j] = 1;
  }
  for (const make of [daq, levels]) {
    const q = await make({ bits: 2, group: 8 }).quantize({ name, W, H: broken });
    assert(String(q.report.fallback).endsWith("fitted without data"), JSON.stringify(q.report));
    const plain = make({ bits: 2, group: 8, ...profiles.official, dor: false, compensation: "none" });
    const wanted = dequantize(await plain.quantize({ name, W, H: alike }));
    assert(distance(dequantize(q).data, wanted.data) < 1e-6);
  }
});

Deno.test("the settings of the profiles are those of the paper, of its authors' code, and ours", () => {
  const of = (
    { rsr, refitRounds, refineRounds, refineSweeps }: typeof profiles.plus,
  ) => [rsr && rsr.sweeps, rsr && rsr.tolerance, refitRounds, refineRounds, refineSweeps];
  assertEquals(of(profiles.paper), [100, 1e-4, 0, 0, 0]);
  assertEquals(of(profiles.official), [15, 0, 0, 0, 0]);
  assertEquals(of(profiles.plus), [15, 1e-3, 3, 3, 2]);
  const { paper: { dor: paper }, official: { dor: official } } = profiles;
  assertEquals([paper, official], [
    { sigma: 3, weight: 4, scale: "marginal" },
    { sigma: 2, weight: 3, scale: "conditional" },
  ]);
});
