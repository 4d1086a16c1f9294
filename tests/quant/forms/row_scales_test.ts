import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { rtn } from "../../../lib/methods/rtn.ts";
import { daq } from "../../../lib/methods/daq/daq.ts";
import { levels } from "../../../lib/methods/daq/levels.ts";
import { abmp } from "../../../lib/methods/abmp.ts";
import type { QuantizedLinear } from "../../../lib/quant/method.ts";
import { rowScaleBits, rowScalesOf, scaled8, withRowScaleBits } from "../../../lib/quant/forms/row_scales.ts";
import { dequantize, storedBits } from "../../../lib/quant/forms/decode.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";
import { layer, objective } from "../../layers.ts";

/** A linear that is nothing but row scales. */
function scales(rows: number, values: number[]): QuantizedLinear {
  const bytes = new Uint8Array(Float16Array.from(values).buffer);
  const row_scale = { dtype: "F16", shape: [values.length / rows, rows], bytes } as const;
  return { name: "x", format: "levels", shape: [rows, 1], config: { group: 1 }, tensors: { row_scale }, report: {} };
}

Deno.test("8-bit row scales are within half a step of the signed root, and do not change when stored again", () => {
  const scale = fc.double({ min: -9, max: 9, noNaN: true });
  fc.assert(
    fc.property(fc.array(fc.tuple(scale, scale, scale), { minLength: 1, maxLength: 4 }), (planes) => {
      const q = scales(3, planes.flat());
      const exact = rowScalesOf(q), rounded = rowScalesOf(withRowScaleBits(q, 8));
      const root = (a: number) => Math.sign(a) * Math.sqrt(Math.abs(a));
      for (let p = 0; p < planes.length; p++) {
        const of = (all: Float32Array) => Array.from(all.subarray(3 * p, 3 * p + 3), root);
        const span = Math.max(...of(exact)) - Math.min(...of(exact));
        of(exact).forEach((t, i) => {
          // Half a step of 255, and what the fp16 ends of the range lose.
          assert(Math.abs(of(rounded)[i] - t) <= span / 510 + 3 * 2 ** -11 + 1e-6);
        });
      }
    }),
    { seed: 5 },
  );
});

Deno.test("equal scales, zeros, and the ends of the range are kept as fp16 holds their roots", () => {
  assertEquals(Array.from(rowScalesOf(withRowScaleBits(scales(3, [0.25, 0.25, 0.25, 0, 0, 0]), 8))), [
    0.25,
    0.25,
    0.25,
    0,
    0,
    0,
  ]);
  // Whose root fp16 does not hold: there is no step to count.
  assertEquals(withRowScaleBits(scales(3, [2, 2, 2]), 8).tensors.row_scale.bytes, new Uint8Array(3));
  assertEquals(Array.from(rowScalesOf(withRowScaleBits(scales(3, [-4, 0.25, 9]), 8))).filter((_, i) => i !== 1), [
    -4,
    9,
  ]);
});

for (const make of [daq, levels]) {
  Deno.test(`${make.name}: 8-bit row scales take half of what they took and cost less than 1 % of the error`, async () => {
    const { W, H, name } = layer(64, 192, 4);
    const method = make({ bits: 2, group: 64 });
    const q = await method.quantize({ name, W, H }), small = await scaled8(method).quantize({ name, W, H });
    assertEquals(small, withRowScaleBits(q, 8));
    assertEquals([rowScaleBits(q), rowScaleBits(small)], [16, 8]);
    assertStrictEquals(withRowScaleBits(small, 8), small);
    const planes = q.tensors.row_scale.shape[0];
    assertEquals(storedBits(q) - storedBits(small), 8 * planes * 64 - 32 * planes);
    const ratio = Math.sqrt(objective(W, dequantize(small), H) / objective(W, dequantize(q), H));
    assert(ratio < 1.01, `${ratio}`);
  });
}

Deno.test("the wrapper has a name of its own and passes an allocation across linears on", async () => {
  const method = scaled8(levels({ bits: abmp({ scope: "model", ratio: 0.5 }), group: 8 }));
  assertEquals(method.name, "daq-plus-levels-abmp2-r0.5-model-g8-rows8");
  const { W, H, name } = layer(6, 32, 4);
  const bound = method.across!.bind({ [name]: await method.across!.score({ name, W, H }) });
  assertEquals(bound.name, method.name);
  assertEquals(rowScaleBits(await bound.quantize({ name, W, H })), 8);
});

Deno.test("what has no row scales per block, or has lost a part, is refused", async () => {
  const uniform = await rtn({ bits: 2 }).quantize({ name: "x", W: matrix(1, 4) });
  assertThrows(() => withRowScaleBits(uniform, 8), TypeError, '"uniform", wanted binary or levels');
  assertThrows(() => withRowScaleBits(scales(1, [1]), 4 as 8), RangeError, "in 4 bits");
  const small = withRowScaleBits(scales(1, [1, 2]), 8);
  const { row_range, ...rest } = small.tensors;
  assertThrows(() => rowScalesOf({ ...small, tensors: rest }), TypeError, "row_range is missing");
  const short = { ...row_range, bytes: row_range.bytes.subarray(4) };
  assertThrows(() => rowScalesOf({ ...small, tensors: { ...rest, row_range: short } }), RangeError, "wanted 4 for 2");
});
