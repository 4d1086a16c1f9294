import { assertEquals, assertThrows } from "@std/assert";
import { gptq } from "../../../lib/methods/gptq.ts";
import { rtn } from "../../../lib/methods/rtn.ts";
import { dequantize } from "../../../lib/quant/forms/decode.ts";
import { joinRows, quantizeRowGroups, rowGroup } from "../../../lib/quant/forms/row_groups.ts";
import { matrix } from "../../../lib/tensor/matrix.ts";
import { layer } from "../../layers.ts";

Deno.test("groups of rows cut a matrix into equal runs, which share its memory", () => {
  const W = matrix(6, 2, Float32Array.from({ length: 12 }, (_, k) => k));
  assertEquals([0, 1, 2].map((k) => Array.from(rowGroup(W, k, 3).data)), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]);
  assertEquals(rowGroup(W, 1, 3).data.buffer, W.data.buffer);
  assertThrows(() => rowGroup(W, 0, 4), RangeError, "6 rows into 4 equal groups");
});

Deno.test("rows quantised group by group, each on its own moment, decode to the rows of those groups", async () => {
  const [one, two] = [layer(8, 12, 1), layer(8, 12, 2)];
  const method = gptq({ bits: 3, group: 4 }),
    moments = [one.H, two.H].map((H) => matrix(12, 12, new Float32Array(H.data)));
  const joined = dequantize(await quantizeRowGroups(method, { name: "up", W: one.W }, moments)).data;
  for (const [k, H] of moments.entries()) {
    const alone = dequantize(await method.quantize({ name: "up", W: rowGroup(one.W, k, 2), H })).data;
    assertEquals(joined.subarray(k * 48, (k + 1) * 48), alone);
  }
  const { W } = one;
  const parts = await Promise.all([2, 3].map((bits) => rtn({ bits, group: 4 }).quantize({ name: "up", W })));
  assertThrows(() => joinRows(parts), TypeError, 'Cannot join the rows of "up"');
});
