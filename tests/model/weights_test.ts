import { assertEquals } from "@std/assert";
import { rtn } from "../../lib/methods/rtn.ts";
import { QuantizedSource } from "../../lib/model/weights.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { matrix } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";

Deno.test("rows of a stored matrix are those of the whole, and its stored form is looked up once for a run of chunks", async () => {
  const r = rng(1, "weights");
  const W = matrix(20, 16, Float32Array.from({ length: 320 }, () => r.normal()));
  const stored = { a: await rtn({ bits: 8, group: 8 }).quantize({ name: "a", W }) };
  const plain = { readFloat: () => Promise.reject(), readRows: () => Promise.resolve(Float32Array.of(7)) };
  const asked: string[] = [];
  const source = new QuantizedSource(plain, (name) => {
    asked.push(name);
    return stored[name as "a"];
  });
  const whole = dequantize(stored.a).data;
  for (const [from, to] of [[0, 8], [8, 16], [16, 20]]) {
    assertEquals(await source.readRows("a", from, to), whole.slice(16 * from, 16 * to));
  }
  assertEquals(asked, ["a"]);
  assertEquals(await source.readRows("b", 0, 1), Float32Array.of(7));
  assertEquals(await source.readRows("a", 3, 4), whole.slice(48, 64));
  assertEquals(asked, ["a", "b", "a"]);
});
