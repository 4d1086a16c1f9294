import { assert, assertEquals, assertThrows } from "@std/assert";
import { billm, billmColumns, billmRows, billmSplits } from "../../lib/methods/billm.ts";
import { levelsOf, readTwoGroups } from "../../lib/quant/dense/two_groups.ts";
import { dequantize } from "../../lib/quant/forms/decode.ts";
import { matrix, matrix64 } from "../../lib/tensor/matrix.ts";
import { rng } from "../../lib/tensor/rng.ts";
import { damped, distance, layer, objective } from "../layers.ts";

const normals = (count: number, seed: number) => Float32Array.from({ length: count }, rng(seed, "billm").normal);

/** One row as it is stored when `salient` columns are and sizes part at `threshold`. */
function row(x: Float32Array, salient: number[], threshold: number) {
  const cols = x.length,
    args = {
      ...{ x, m: x, cols, salient: Uint8Array.from(x, (_, j) => Number(salient.includes(j))), threshold },
      ...{
        signs: new Uint8Array(cols),
        seconds: new Uint8Array(cols),
        levels: new Float32Array(8),
        q: new Float32Array(cols),
      },
    };
  billmRows.run(args, 0, 1);
  return args;
}
const squares = (x: ArrayLike<number>) => Array.from(x).reduce((sum, v) => sum + v * v, 0);
const left = (x: Float32Array, q: Float32Array) => squares(x.map((v, j) => v - q[j]));

Deno.test("billm: a binarisation takes m μ² + m α² off the square sum, and a second one takes more", () => {
  const x = normals(40, 1), all = Array.from(x.keys());
  const { levels: [, , , , mean, scale, mean2, scale2], q } = row(x, all, 0);
  const whole = squares(x), rest = whole - 40 * (mean ** 2 + scale ** 2 + mean2 ** 2 + scale2 ** 2);
  assert(Math.abs(left(x, q) - rest) < 1e-5 * whole);
  const { q: once, levels } = row(x, [], Infinity);
  assert(Math.abs(left(x, once) - (whole - 40 * (levels[0] ** 2 + levels[1] ** 2))) < 1e-5 * whole);
  assert(left(x, q) <= left(x, once));
});

Deno.test("billm: masks part the block, and two sizes lose less than one on what they were searched for", () => {
  const x = normals(64, 2), thresholds = Float64Array.of(0.5, 1, Infinity);
  const splits = { m: x, cols: 64, salient: new Uint8Array(64), thresholds, losses: new Float64Array(3) };
  billmSplits.run(splits, 0, 1);
  assert(splits.losses[1] < splits.losses[2], `${splits.losses}`);
  thresholds.forEach((threshold, t) => assert(Math.abs(left(x, row(x, [], threshold).q) - splits.losses[t]) < 1e-4));
  const order = Int32Array.from(x.keys()), columns = { m: x, cols: 64, order, limit: 49, losses: new Float64Array(49) };
  billmColumns.run(columns, 0, 1);
  // Both parts in two orders: the loss of a split into the first 3 columns and the others, by hand.
  const two = (part: Float32Array) => left(part, row(part, Array.from(part.keys()), 0).q);
  assert(Math.abs(columns.losses[2] - two(x.slice(0, 3)) - two(x.slice(3))) < 1e-4);
});

Deno.test("billm: rows alike, and rows of two levels as often one as the other, lose nothing", () => {
  assertEquals(Array.from(row(new Float32Array(8).fill(0.5), [], 0).q), new Array(8).fill(0.5));
  const levels = Float32Array.from({ length: 16 }, (_, j) => j % 2 ? 0.75 : -0.75);
  assert(left(levels, row(levels, [], Infinity).q) < 1e-10);
});

Deno.test("billm: nothing is passed on where inputs do not know of each other; the exact block step is best for what remains", async () => {
  const { name, W } = layer(12, 48, 3), H = matrix64(48, 48);
  for (let j = 0; j < 48; j++) H.data[49 * j] = 2;
  const tensors = async (compensation: "none" | "diagonal") =>
    (await billm({ group: 16, compensation }).quantize({ name, W, H })).tensors;
  assertEquals(await tensors("diagonal"), await tensors("none"));
  const linear = layer(12, 48, 4),
    loss = async (compensation: "none" | "diagonal" | "exact") =>
      objective(
        linear.W,
        dequantize(await billm({ group: 16, compensation }).quantize(linear)),
        damped(linear.H, 0.01),
      );
  assert(await loss("exact") < await loss("none"));
});

Deno.test("billm: what is stored says which levels a weight takes", async () => {
  const q = await billm({ group: 16 }).quantize(layer(6, 32, 5)), stored = readTwoGroups(q), W = dequantize(q).data;
  const salient = stored.salient.reduce((sum, bit) => sum + bit, 0);
  assertEquals(salient, q.report.salient);
  assert(salient > 0 && salient < 32);
  for (let k = 0; k < W.length; k++) {
    const terms = levelsOf(stored, k), at = Math.floor(k % 32 / 16) * 8 * 6 + Math.floor(k / 32);
    assertEquals(terms.length, stored.salient[k % 32] ? 4 : 2);
    const sum = terms.reduce((sum, [level, sign]) => sum + sign * stored.levels[at + level * 6], 0);
    assert(distance([W[k]], [sum]) < 1e-6);
  }
  assertEquals(matrix(6, 32, W).rows, 6);
});

Deno.test("billm: its name says its options; others are refused", () => {
  assertEquals(billm().name, "billm-g128");
  assertEquals(
    billm({ group: 64, metric: "magnitude", compensation: "exact", damping: 0.1 }).name,
    "billm-g64-damp0.1-magnitude-exact",
  );
  assertThrows(() => billm({ group: 1.5 }), RangeError, "group");
  assertThrows(() => billm({ metric: "size" as "magnitude" }), RangeError, "metric");
  assertThrows(() => billm({ damping: NaN }), RangeError, "damping");
});
