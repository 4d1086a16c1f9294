import { assert, assertEquals } from "@std/assert";
import { rtn } from "../../../lib/methods/rtn.ts";
import { dequantize } from "../../../lib/quant/forms/decode.ts";
import { foldRows } from "../../../lib/quant/forms/in_scale.ts";
import { distance, layer } from "../../layers.ts";

Deno.test("a row divided by a factor is that row's scales divided by it, in every group", async () => {
  const rows = 5, cols = 24, q = await rtn({ bits: 3, group: 8 }).quantize(layer(rows, cols, 1));
  const by = Float32Array.of(1, 2, 0.5, 4, 0.25); // powers of two, which fp16 divides exactly
  const folded = foldRows(q, by)!;
  assertEquals(folded.tensors.codes, q.tensors.codes);
  const wanted = dequantize(q).data.map((w, k) => w / by[Math.floor(k / cols)]);
  assert(distance(dequantize(folded).data, wanted) < 1e-7);
});
