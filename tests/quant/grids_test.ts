import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { codeOf, fitGrid, fitRows, roundRows } from "../../lib/quant/grids.ts";

const weights = fc.array(fc.float({ noNaN: true, min: -8, max: 8 }), { minLength: 1, maxLength: 12 })
  .map((w) => Float32Array.from(w, (x) => Math.abs(x) < 1e-6 ? 0 : x));
const shapes = fc.record({ bits: fc.integer({ min: 1, max: 8 }), symmetric: fc.boolean(), clip: fc.boolean() });

function fitted(w: Float32Array, options: { bits: number; symmetric: boolean; clip: boolean }) {
  const grid = { scale: 0, zero: 0 };
  fitGrid(w, grid, { start: 0, end: w.length, ...options });
  return grid;
}

Deno.test("grids: by hand", () => {
  const at = (w: number[], bits: number, symmetric = false) => {
    const { scale, zero } = fitted(Float32Array.from(w), { bits, symmetric, clip: false });
    return [scale, zero];
  };
  assertEquals(at([-1, 2], 2), [1, 1]);
  assertEquals(at([0.5, 3], 2), [1, 0]); // the range is stretched to hold zero
  assertEquals(at([-3, -0.5], 2), [1, 3]);
  assertEquals(at([0, 0], 2), [Math.fround(2 / 3), 2]); // zero point 1.5, to even
  assertEquals(at([-3, 1.5], 2, true), [2, 2]);
  assertEquals(at([1.5, 3], 2, true), [1, 2]); // no negative weight: half the levels are never used
  assertEquals([-9, -1.6, -1.5, -0.5, 0, 0.5, 1.5, 9].map((w) => codeOf(w, 1, 2, 3)), [0, 0, 0, 2, 2, 2, 3, 3]);
});

Deno.test("grids: codes fit their bits, zero is exact, weights in the range move by half a step at most", () => {
  fc.assert(
    fc.property(weights, shapes, (w, { bits, symmetric }) => {
      const { scale, zero } = fitted(w, { bits, symmetric, clip: false }), levels = 2 ** bits - 1;
      assert(scale > 0 && Number.isInteger(zero) && zero >= 0 && zero <= levels);
      assertEquals(codeOf(0, scale, zero, levels), zero);
      for (const x of w) {
        const code = codeOf(x, scale, zero, levels), value = scale * (code - zero);
        assert(Number.isInteger(code) && code >= 0 && code <= levels);
        assertEquals(codeOf(value, scale, zero, levels), code);
        const inside = x >= scale * -zero && x <= scale * (levels - zero);
        if (inside) assert(Math.abs(x - value) <= scale * (0.5 + 1e-6));
      }
    }),
    { seed: 1 },
  );
});

Deno.test("grids: searching the range never makes the error larger", () => {
  const loss = (w: Float32Array, { scale, zero }: { scale: number; zero: number }, levels: number) =>
    w.reduce((sum, x) => sum + Math.abs(scale * (codeOf(x, scale, zero, levels) - zero) - x) ** 2.4, 0);
  let better = 0;
  fc.assert(
    fc.property(weights, shapes, (w, { bits, symmetric }) => {
      const whole = loss(w, fitted(w, { bits, symmetric, clip: false }), 2 ** bits - 1);
      const searched = loss(w, fitted(w, { bits, symmetric, clip: true }), 2 ** bits - 1);
      assert(searched <= whole);
      if (searched < whole) better++;
    }),
    { seed: 1, numRuns: 50 },
  );
  assert(better > 10);
});

Deno.test("grids: the row loops fit and round each group by itself, a short last one too", () => {
  const rows = 3, cols = 7, group = 3, groups = 3, bits = 2;
  const w = Float32Array.from({ length: rows * cols }, (_, k) => Math.sin(k * k));
  const scales = new Float32Array(rows * groups), zeros = new Uint8Array(rows * groups);
  const codes = new Uint8Array(rows * cols);
  fitRows.run({ w, cols, group, bits, symmetric: false, clip: false, scales, zeros }, 0, rows);
  roundRows.run({ w, cols, group, bits, scales, zeros, codes }, 0, rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      const g = Math.floor(j / group);
      const part = w.slice(i * cols + g * group, i * cols + Math.min(cols, g * group + group));
      const { scale, zero } = fitted(part, { bits, symmetric: false, clip: false });
      assertEquals([scales[i * groups + g], zeros[i * groups + g]], [scale, zero]);
      assertEquals(codes[i * cols + j], codeOf(w[i * cols + j], scale, zero, 3));
    }
  }
});
