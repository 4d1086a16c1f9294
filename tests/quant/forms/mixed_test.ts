/** Groups of their own widths: what is stored for them, and how it is read back. */
import { assertEquals } from "@std/assert";
import { type MixedGroup, readMixed, storeMixed, widthsOf } from "../../../lib/quant/forms/mixed.ts";
import { rng } from "../../../lib/tensor/rng.ts";

const rows = 3, group = 8;
const groupOf = (bits: number, b: number): MixedGroup => {
  const r = rng(b, "mixed"), one = bits === 1;
  return {
    ...{ start: b * group, width: group, bits },
    codes: Uint8Array.from({ length: rows * group }, () => r.int(2 ** bits)),
    scales: Float32Array.from({ length: rows }, (_, i) => 0.5 + i),
    zeros: Uint8Array.from({ length: one ? 0 : rows }, () => r.int(2 ** bits)),
    ...(one ? { means: Float32Array.from({ length: rows }, (_, i) => i - 1) } : {}),
  };
};
const stored = (widths: readonly number[]) => {
  const groups = widths.map(groupOf);
  return { groups, q: storeMixed("w", { rows, cols: group * widths.length, group, groups }, {}) };
};

Deno.test("a linear has zero points only where a group has several levels, and means only where one has two", () => {
  const names = (widths: readonly number[]) => Object.keys(stored(widths).q.tensors).sort();
  assertEquals(names([1, 1]), ["codes", "means", "scales", "widths"]);
  assertEquals(names([2, 3]), ["codes", "scales", "widths", "zeros"]);
  assertEquals(names([1, 2]), ["codes", "means", "scales", "widths", "zeros"]);
});

Deno.test("what is read is what was stored, for every order of widths", () => {
  for (const widths of [[1], [3], [1, 2, 3], [3, 1, 1, 2], [4, 2, 1, 1, 3]]) {
    const { groups, q } = stored(widths);
    assertEquals(widthsOf(q), widths);
    assertEquals(
      readMixed(q),
      groups.map((g) => g.bits === 1 ? { ...g, zeros: new Uint8Array(rows) } : g),
    );
  }
});
